{{/* Labels and annotations of a component's pods; call with (dict "root" $ "component" "proxy" "values" .Values.proxy),
     and "labels" and "annotations" that the chart has for them. */}}
{{- define "domino-triton.podMetadata" -}}
{{- $what := .component -}}
{{- range $key, $_ := .values.podLabels -}}
{{- if regexMatch (include "domino-triton.labelsOfOthers" nil) $key -}}
{{- fail (printf "%s.podLabels has the key %s: expected none by which NetworkPolicies, controllers or a mesh know pods, since they are the wall; use a key of your own, such as example.com/team" $what $key) -}}
{{- end -}}
{{- end -}}
{{- range $key, $_ := .values.podAnnotations -}}
{{- if and (regexMatch (include "domino-triton.annotationsOfOthers" nil) $key) (not (regexMatch "^sidecar\\.istio\\.io/(proxy(CPU|Memory)(Limit)?|logLevel)$" $key)) -}}
{{- fail (printf "%s.podAnnotations has the key %s: expected none that gives a pod another network, a mesh's way round its policies, a cloud's role or less confinement; leave it out, and say what the mesh should do by mesh.mode" $what $key) -}}
{{- end -}}
{{- end -}}
labels:
  {{- include "domino-triton.selector" (list .root .component) | nindent 2 }}
  {{- with merge dict (.labels | default dict) (include "domino-triton.meshLabels" . | fromYaml) (.values.podLabels | default dict) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge dict (.annotations | default dict) (include "domino-triton.meshAnnotations" . | fromYaml) (.values.podAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Keys of labels that choose pods for NetworkPolicies, here and in Domino's namespaces, for controllers and for Istio. */}}
{{- define "domino-triton.labelsOfOthers" -}}
^(app\.kubernetes\.io/(name|instance|component)|(nucleus|keycloak)-client|pod-template-hash|controller-uid|job-name|([^/]+\.)?batch\.kubernetes\.io/.*|([^/]+\.)?istio\.io/.*)$
{{- end -}}

{{/* Keys of annotations with which a pod gets one more network interface (Multus, OVN, GKE), which no NetworkPolicy
     covers; leaves the mesh's capture; gets a role's token; or runs unconfined. */}}
{{- define "domino-triton.annotationsOfOthers" -}}
^(([^/]+\.)?istio\.io/.*|k8s\.v1\.cni\.cncf\.io/.*|v1\.multus-cni\.io/.*|k8s\.ovn\.org/.*|networking\.gke\.io/.*|eks\.amazonaws\.com/skip-containers|(container\.apparmor\.security\.beta|(container\.)?seccomp\.security\.alpha)\.kubernetes\.io/.*)$
{{- end -}}

{{- define "domino-triton.imagePullSecrets" -}}
{{- with .Values.imagePullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ if kindIs "string" . }}{{ . }}{{ else }}{{ .name }}{{ end }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* Where a component's pods may run; call as domino-triton.podMetadata. A constraint that chooses no pods is about them. */}}
{{- define "domino-triton.placement" -}}
{{- $own := dict "matchLabels" (include "domino-triton.selector" (list .root .component) | fromYaml) -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml (hasKey . "labelSelector" | ternary . (merge (dict "labelSelector" $own) .)) | indent 4 | trim }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Pod Security "restricted", for a pod that runs as values.runAsUser, or as the cluster says; call as domino-triton.podMetadata. */}}
{{- define "domino-triton.podSecurity" -}}
runAsNonRoot: true
{{- with .values.runAsUser }}
{{- if eq (int64 .) 1337 }}
{{- fail (printf "%s.runAsUser is 1337: expected another, since what Istio's own user sends passes the sidecar by; use the image's user, the chart's default" $.component) }}
{{- end }}
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "domino-triton.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end -}}
