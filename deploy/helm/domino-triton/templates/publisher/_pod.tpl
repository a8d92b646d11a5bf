{{/* The pod of the publisher's Job. */}}
{{- define "domino-triton.publisherPod" -}}
{{- $pod := dict "root" . "component" "publisher" "values" .Values.publisher -}}
{{- with .Values.publisher -}}
metadata:
  {{- include "domino-triton.podMetadata" $pod | nindent 2 }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ $.Values.name }}-publisher
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with include "domino-triton.imagePullSecrets" $ }}
  {{- nindent 2 . }}
  {{- end }}
  securityContext:
    {{- include "domino-triton.podSecurity" $pod | nindent 4 }}
  {{- with include "domino-triton.placement" $pod | trim }}
  {{- nindent 2 . }}
  {{- end }}
  containers:
    - name: publisher
      image: {{ include "domino-triton.image" (list $ .image "publisher") }}
      imagePullPolicy: {{ .image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      env:
        - name: HOME
          value: /tmp
        - name: MM_ADDR
          value: {{ include "domino-triton.proxyName" $ }}:50051
        {{- if $.Values.proxy.tls.secretName }}
        - name: MM_TLS
          value: "true"
        {{- end }}
        {{- if .caConfigMap }}
        - name: MM_CA_BUNDLE
          value: /etc/mm-publish/ca/ca.crt
        {{- end }}
        {{- range $key, $value := .env }}
        - name: {{ $key }}
          value: {{ $value | quote }}
        {{- end }}
      {{- with .envSecretName }}
      envFrom:
        - secretRef:
            name: {{ . }}
      {{- end }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        {{- include "domino-triton.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if .caConfigMap }}
        - {name: ca, mountPath: /etc/mm-publish/ca, readOnly: true}
        {{- end }}
        {{- if .claim }}
        - {name: models, mountPath: /models}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- with .caConfigMap }}
    - name: ca
      configMap: {name: {{ . }}}
    {{- end }}
    {{- with .claim }}
    - name: models
      persistentVolumeClaim:
        claimName: {{ . }}
    {{- end }}
{{- end }}
{{- end -}}
