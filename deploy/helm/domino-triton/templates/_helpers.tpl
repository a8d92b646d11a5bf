{{/* Labels that choose a component's pods; call with (list . "proxy"). They are what the NetworkPolicies look at. */}}
{{- define "domino-triton.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "domino-triton.labels" -}}
{{- $root := index . 0 -}}
{{ include "domino-triton.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ $root.Chart.Name }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{- define "domino-triton.proxyName" -}}
{{ .Values.name }}-proxy
{{- end -}}

{{/* Reference of an image; call with (list . .Values.proxy.image "proxy"). */}}
{{- define "domino-triton.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $what := index . 2 -}}
{{- $repository := required (printf "%s.image.repository is empty: expected where its image was pushed, REGISTRY/NAME; ./bazelw run //deploy/images:%s_push -- REGISTRY pushes it" $what $what) $image.repository -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "domino-triton.modelsClaim" -}}
{{- if eq .Values.models.source "existingClaim" -}}
{{- required "models.existingClaim is empty: expected the name of a PersistentVolumeClaim, since models.source is existingClaim" .Values.models.existingClaim -}}
{{- else -}}
{{ .Values.name }}-models
{{- end -}}
{{- end -}}

{{/* A PersistentVolume belongs to no namespace, so its name has to tell whose it is. */}}
{{- define "domino-triton.modelsVolume" -}}
{{ .Release.Namespace }}-{{ .Values.name }}-models
{{- end -}}

{{- define "domino-triton.modelsPrefix" -}}
triton/{{ .Release.Namespace }}/{{ .Values.name }}/models/
{{- end -}}

{{- define "domino-triton.bucket" -}}
{{- required "models.s3.bucket is empty: expected the bucket's name, or models.source existingClaim or hostPath" .Values.models.s3.bucket -}}
{{- end -}}

{{- define "domino-triton.region" -}}
{{- required "models.s3.region is empty: expected the bucket's region, such as us-west-2" .Values.models.s3.region -}}
{{- end -}}
