{{/* The settings of values, checked for former names, which the schema lets through so that a refusal names the new one. */}}
{{- define "domino-triton.proxySettings" -}}
{{- range $old, $new := dict "MAX_STREAMS" "MAX_CALLS" -}}
{{- if hasKey $ $old -}}
{{- fail (printf "proxy.settings.%s is set: it is %s now; set that instead" $old $new) -}}
{{- end -}}
{{- end -}}
{{- end -}}
