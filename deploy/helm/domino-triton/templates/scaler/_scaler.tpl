{{/* The scale service's Deployment, Service, ServiceAccount and so on. */}}
{{- define "domino-triton.scalerName" -}}
{{ .Values.name }}-admin
{{- end -}}

{{/* "true" where it is installed, once its values are checked. */}}
{{- define "domino-triton.scalerEnabled" -}}
{{- if .Values.scaler.enabled -}}
{{- include "domino-triton.needsApiServer" (list . "scaler.enabled is true") -}}
true
{{- end -}}
{{- end -}}

{{/* Refuses values with which a pod here can't ask the API server; call with (list . "scaler.enabled is true"). */}}
{{- define "domino-triton.needsApiServer" -}}
{{- $root := index . 0 -}}
{{- $why := index . 1 -}}
{{- if ne $root.Values.mesh.mode "disabled" -}}
{{- fail (printf "%s with mesh.mode %s: expected mesh.mode disabled, since the scale service was not made for a mesh; install it without, or leave it out" $why $root.Values.mesh.mode) -}}
{{- end -}}
{{- $server := $root.Values.networkPolicy.apiServer -}}
{{- if not (or $server.peers $server.cidrs) -}}
{{- fail (printf "networkPolicy.apiServer names nobody: expected the addresses of the API server, since %s; `kubectl get endpointslices -n default -l kubernetes.io/service-name=kubernetes` shows them, such as cidrs: [10.0.0.10/32]" $why) -}}
{{- end -}}
{{- end -}}

{{/* "true" where the scale service scales Triton to zero and back, once its values are checked. */}}
{{- define "domino-triton.idleEnabled" -}}
{{- if .Values.scaler.idle.enabled -}}
{{- if not .Values.scaler.enabled -}}
{{- fail "scaler.idle.enabled is true and scaler.enabled is not: expected scaler.enabled true, since the scale service does it; turn it on" -}}
{{- end -}}
{{- if eq (include "domino-triton.autoscaled" (list . "triton")) "keda" -}}
{{- fail "scaler.idle.enabled and autoscaling.triton with autoscaling.provider keda are both set: expected one of them, since KEDA takes back what the scale service does; use autoscaling.triton.minReplicas 0, or provider prometheus-adapter" -}}
{{- end -}}
true
{{- end -}}
{{- end -}}
