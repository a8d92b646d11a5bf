{{/* The scale service's Deployment, Service, ServiceAccount and so on. */}}
{{- define "domino-triton.scalerName" -}}
{{ .Values.name }}-admin
{{- end -}}

{{/* "true" where it is installed, once its values are checked. */}}
{{- define "domino-triton.scalerEnabled" -}}
{{- if .Values.scaler.enabled -}}
{{- if ne .Values.mesh.mode "disabled" -}}
{{- fail (printf "scaler.enabled is true with mesh.mode %s: expected mesh.mode disabled, since the scale service was not made for a mesh; install it without, or leave it out" .Values.mesh.mode) -}}
{{- end -}}
{{- $server := .Values.networkPolicy.apiServer -}}
{{- if not (or $server.peers $server.cidrs) -}}
{{- fail "networkPolicy.apiServer names nobody: expected the addresses of the API server, since scaler.enabled is true; `kubectl get endpointslices -n default -l kubernetes.io/service-name=kubernetes` shows them, such as cidrs: [10.0.0.10/32]" -}}
{{- end -}}
true
{{- end -}}
{{- end -}}
