{{/* What scales at set times: its ServiceAccount, Role and so on. */}}
{{- define "domino-triton.scheduleName" -}}
{{ .Values.name }}-schedule
{{- end -}}

{{/* "true" where there is a schedule, once its values are checked. */}}
{{- define "domino-triton.scheduleEnabled" -}}
{{- if .Values.scaler.schedule -}}
{{- include "domino-triton.needsApiServer" (list . "scaler.schedule is set") -}}
true
{{- end -}}
{{- end -}}

{{/* Name of the Deployment that callers call inference-server or proxy; call with (list . "proxy"). */}}
{{- define "domino-triton.deploymentName" -}}
{{- $root := index . 0 -}}
{{ eq (index . 1) "proxy" | ternary (include "domino-triton.proxyName" $root) $root.Values.name }}
{{- end -}}

{{/* A pod that scales once and ends; call with (list . entry). */}}
{{- define "domino-triton.schedulePod" -}}
{{- $root := index . 0 -}}
{{- $entry := index . 1 -}}
{{- $scaler := $root.Values.scaler -}}
{{- $name := include "domino-triton.scheduleName" $root -}}
{{- $pod := dict "root" $root "component" "schedule" "values" $scaler -}}
metadata:
  {{- include "domino-triton.podMetadata" $pod | nindent 2 }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ $name }}
  # It asks the API server, as the account that may set replicas and nothing else.
  automountServiceAccountToken: true
  enableServiceLinks: false
  {{- with include "domino-triton.imagePullSecrets" $root }}
  {{- nindent 2 . }}
  {{- end }}
  securityContext:
    {{- include "domino-triton.podSecurity" $pod | nindent 4 }}
  {{- with include "domino-triton.placement" $pod | trim }}
  {{- nindent 2 . }}
  {{- end }}
  containers:
    - name: schedule
      image: {{ include "domino-triton.image" (list $root $scaler.image "scaler") }}
      imagePullPolicy: {{ $scaler.image.pullPolicy }}
      command: [/usr/bin/python3.11, -I, -m, scale_service.set_replicas]
      args:
        - --namespace={{ $root.Release.Namespace }}
        - --deployment={{ include "domino-triton.deploymentName" (list $root $entry.deployment) }}
        - --replicas={{ int $entry.replicas }}
        - {{ printf "--reason=schedule %s, %s" $entry.cron $entry.timeZone | quote }}
      resources:
        requests: {cpu: 100m, memory: 128Mi}
        limits: {memory: 256Mi}
      securityContext:
        {{- include "domino-triton.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 16Mi}
{{- end -}}
