{{/* Peers of a NetworkPolicy. Nothing that is left out may mean "all": the schema wants a namespace for each. */}}
{{- define "domino-triton.peers" -}}
{{- range . }}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ required "a peer of networkPolicy has no namespace" .namespace }}
  {{- with .podLabels }}
  podSelector:
    matchLabels:
      {{- toYaml . | nindent 6 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* A rule of egress, or nothing where there is nobody to go to; call with (dict "to" .Values.networkPolicy.dns "protocols" (list "UDP" "TCP")). */}}
{{- define "domino-triton.egressRule" -}}
{{- if or .to.peers .to.cidrs }}
- to:
    {{- with include "domino-triton.peers" .to.peers | trim }}
    {{- nindent 4 . }}
    {{- end }}
    {{- range .to.cidrs }}
    - ipBlock:
        cidr: {{ . }}
    {{- end }}
  ports:
    {{- $protocols := .protocols }}
    {{- range $port := required "a rule of networkPolicy has no ports" .to.ports }}
    {{- range $protocols }}
    - protocol: {{ . }}
      port: {{ $port }}
    {{- end }}
    {{- end }}
{{- end }}
{{- end -}}
