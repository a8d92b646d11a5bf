{{/* The autoscaling provider of triton or proxy, once the values are checked, and nothing where there is none; call with
     (list . "triton"). */}}
{{- define "domino-triton.autoscaled" -}}
{{- $root := index . 0 -}}
{{- $what := index . 1 -}}
{{- $autoscaling := $root.Values.autoscaling -}}
{{- $own := index $autoscaling $what -}}
{{- if and $autoscaling.provider $own.enabled -}}
{{- if and (eq $what "proxy") $root.Values.proxy.autoscaling.enabled -}}
{{- fail "proxy.autoscaling.enabled and autoscaling.proxy.enabled are both true: expected one of them, since two HPAs of one Deployment work against each other; turn one off" -}}
{{- end -}}
{{- if gt (int $own.minReplicas) (int $own.maxReplicas) -}}
{{- fail (printf "autoscaling.%s.minReplicas is above maxReplicas: expected min ≤ max; correct them" $what) -}}
{{- end -}}
{{- if and (eq (int $own.minReplicas) 0) (ne $autoscaling.provider "keda") -}}
{{- fail (printf "autoscaling.%s.minReplicas is 0 with provider %s: expected 1 or more, since an HPA has no 0; use scaler.idle, or provider keda" $what $autoscaling.provider) -}}
{{- end -}}
{{- if not $root.Values.networkPolicy.monitoring -}}
{{- fail "autoscaling.provider is set and networkPolicy.monitoring is empty: expected the namespace of Prometheus there, since nobody else reads the metrics; name it" -}}
{{- end -}}
{{ $autoscaling.provider }}
{{- end -}}
{{- end -}}

{{/* "true" where a request without a Triton has one started. */}}
{{- define "domino-triton.wakesTriton" -}}
{{- $byKeda := and (eq (include "domino-triton.autoscaled" (list . "triton")) "keda") (eq (int .Values.autoscaling.triton.minReplicas) 0) -}}
{{- if or (include "domino-triton.idleEnabled" .) $byKeda -}}
true
{{- end -}}
{{- end -}}

{{/* Chooses the series of this release's Tritons, by labels that Prometheus gives the pods it scrapes. */}}
{{- define "domino-triton.ofTriton" -}}
namespace="{{ .Release.Namespace }}",pod=~"{{ .Values.name }}-[a-z0-9]+-[a-z0-9]{5}"
{{- end -}}

{{/* An HPA by a metric of each pod, as prometheus-adapter serves it; call with (list . "proxy" NAME METRIC TARGET). */}}
{{- define "domino-triton.podsAutoscaler" -}}
{{- $root := index . 0 -}}
{{- $what := index . 1 -}}
{{- $own := index $root.Values.autoscaling $what -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ index . 2 }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "domino-triton.labels" (list $root $what) | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ index . 2 }}
  minReplicas: {{ $own.minReplicas }}
  maxReplicas: {{ $own.maxReplicas }}
  metrics:
    - type: Pods
      pods:
        metric: {name: {{ index . 3 }}}
        target: {type: AverageValue, averageValue: {{ index . 4 | quote }}}
  behavior:
    {{- include "domino-triton.scaleBehavior" $root | nindent 4 }}
{{- end -}}

{{/* Up at once, down one by one: what goes ends streams, or loaded models. */}}
{{- define "domino-triton.scaleBehavior" -}}
scaleDown:
  stabilizationWindowSeconds: 600
  policies:
    - {type: Pods, value: 1, periodSeconds: 60}
{{- end -}}

{{/* KEDA's object; call with (list . "proxy" NAME TRIGGERS), each trigger a dict of query, threshold and type. */}}
{{- define "domino-triton.scaledObject" -}}
{{- $root := index . 0 -}}
{{- $what := index . 1 -}}
{{- $autoscaling := $root.Values.autoscaling -}}
{{- $own := index $autoscaling $what -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ index . 2 }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "domino-triton.labels" (list $root $what) | nindent 4 }}
spec:
  scaleTargetRef: {name: {{ index . 2 }}}
  pollingInterval: {{ $autoscaling.keda.pollingInterval }}
  cooldownPeriod: {{ $autoscaling.keda.cooldownPeriod }}
  minReplicaCount: {{ $own.minReplicas }}
  maxReplicaCount: {{ $own.maxReplicas }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- include "domino-triton.scaleBehavior" $root | nindent 8 }}
  triggers:
    {{- range index . 3 }}
    - type: prometheus
      metricType: {{ .type }}
      metadata:
        serverAddress: {{ $autoscaling.keda.serverAddress | quote }}
        query: {{ .query | quote }}
        threshold: {{ .threshold | quote }}
        activationThreshold: "0"
    {{- end }}
{{- end -}}
