{{/* What Istio does with a component's pods; call with (dict "root" $ "component" "proxy"). Triton is in no mesh: what runs in
     its pod is a model's code, and a sidecar or ztunnel would be a way out for it. */}}
{{- define "domino-triton.meshMode" -}}
{{- eq .component "triton" | ternary "disabled" .root.Values.mesh.mode -}}
{{- end -}}

{{/* Labels by which Istio knows, whatever the namespace says. */}}
{{- define "domino-triton.meshLabels" -}}
{{- $mode := include "domino-triton.meshMode" . -}}
istio.io/dataplane-mode: {{ eq $mode "ambient" | ternary "ambient" "none" }}
sidecar.istio.io/inject: {{ eq $mode "sidecar" | quote }}
{{- end -}}

{{/* A native sidecar ends after the pod's own container: a Job comes to its end, and a proxy can drain. */}}
{{- define "domino-triton.meshAnnotations" -}}
{{- if eq (include "domino-triton.meshMode" .) "sidecar" -}}
sidecar.istio.io/nativeSidecar: "true"
sidecar.istio.io/rewriteAppHTTPProbers: "true"
{{- else -}}
sidecar.istio.io/inject: "false"
{{- end -}}
{{- end -}}

{{/* A label of Services: no waypoint stands between, which no NetworkPolicy here would let through. */}}
{{- define "domino-triton.meshServiceLabels" -}}
{{- if eq .Values.mesh.mode "ambient" -}}
istio.io/use-waypoint: none
{{- end -}}
{{- end -}}

{{/* The port on which the proxy's callers arrive: in an ambient mesh HBONE's, and the AuthorizationPolicy holds the inner one. */}}
{{- define "domino-triton.callersPort" -}}
{{- eq .Values.mesh.mode "ambient" | ternary "15008" "50051" -}}
{{- end -}}

{{/* Rules of egress to where the values say, through HBONE too where these are pods and the mesh is ambient; call with
     (dict "root" $ "to" .Values.networkPolicy.domino). */}}
{{- define "domino-triton.meshedEgress" -}}
{{- include "domino-triton.egressRule" (dict "to" .to "protocols" (list "TCP")) }}
{{- if eq .root.Values.mesh.mode "ambient" }}
{{- include "domino-triton.egressRule" (dict "to" (dict "peers" .to.peers "ports" (list 15008)) "protocols" (list "TCP")) }}
{{- end }}
{{- end -}}

{{/* A sidecar gets its certificate and what it knows of the mesh from istiod. */}}
{{- define "domino-triton.istiodEgress" -}}
{{- if eq .Values.mesh.mode "sidecar" }}
{{- include "domino-triton.egressRule" (dict "to" .Values.networkPolicy.istiod "protocols" (list "TCP")) }}
{{- end }}
{{- end -}}
