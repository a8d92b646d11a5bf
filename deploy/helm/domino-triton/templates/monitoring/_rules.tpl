{{/* Rules for Prometheus; call all of these with the root. What an alert means and what to do stands in docs/operations.md. */}}

{{/* Chooses the series of this release's proxies, by labels that Prometheus gives the pods it scrapes. */}}
{{- define "domino-triton.ofProxy" -}}
namespace="{{ .Release.Namespace }}",pod=~"{{ include "domino-triton.proxyName" . }}-.+"
{{- end -}}

{{/* What of a failed request is no mistake of its caller's. */}}
{{- define "domino-triton.ourFailures" -}}
outcome="failed",reason=~"aborted|data_loss|deadline_exceeded|internal|model_error|resource_exhausted|unavailable|unknown"
{{- end -}}

{{- define "domino-triton.recordingRules" -}}
{{- $of := include "domino-triton.ofProxy" . -}}
- name: triton-proxy
  rules:
    - record: namespace:triton_proxy_requests:rate5m
      expr: sum by (namespace, model) (rate(triton_proxy_requests_total{ {{- $of -}} }[5m]))
      labels: {release: {{ $.Release.Name }}}
    - record: namespace:triton_proxy_failures:ratio5m
      expr: >-
        sum by (namespace, model) (rate(triton_proxy_requests_total{ {{- $of }},{{ include "domino-triton.ourFailures" . -}} }[5m]))
        / sum by (namespace, model) (rate(triton_proxy_requests_total{ {{- $of -}} }[5m]))
      labels: {release: {{ $.Release.Name }}}
    - record: namespace:triton_proxy_request_duration_seconds:p99_5m
      expr: >-
        histogram_quantile(0.99, sum by (namespace, model, le)
        (rate(triton_proxy_request_duration_seconds_bucket{ {{- $of -}} }[5m])))
      labels: {release: {{ $.Release.Name }}}
    - record: namespace:triton_proxy_request_stage_duration_seconds:p99_5m
      expr: >-
        histogram_quantile(0.99, sum by (namespace, stage, le)
        (rate(triton_proxy_request_stage_duration_seconds_bucket{ {{- $of -}} }[5m])))
      labels: {release: {{ $.Release.Name }}}
{{- end -}}

{{- define "domino-triton.alerts" -}}
{{- $of := include "domino-triton.ofProxy" . -}}
{{- $rule := .Values.monitoring.prometheusRule -}}
{{- $resources := include "domino-triton.proxyResources" .Values.proxy | fromYaml -}}
{{- $limit := mulf 1048576 (include "domino-triton.mebibytes" $resources.limits.memory | float64) -}}
{{- $namespace := .Release.Namespace -}}
{{- $notReady := printf "triton_proxy_triton_ready{%s} == 0" $of -}}
{{- $notReadyFor := "2m" -}}
{{- if include "domino-triton.wakesTriton" . -}}
{{- /* It may sleep, and takes its time to start. */ -}}
{{- $notReady = printf "%s and on (namespace, pod) triton_proxy_triton_awaited_requests{%s} > 0" $notReady $of -}}
{{- $notReadyFor = printf "%ds" (int $rule.startSecs) -}}
{{- end -}}
{{- $alerts := list
  (list "TritonProxyDown" "critical" "5m"
    (printf "absent(triton_proxy_build_info{%s})" $of)
    "No proxy is scraped")
  (list "TritonProxyTritonNotReady" "critical" $notReadyFor
    $notReady
    "{{ $labels.pod }} hears from Triton at {{ $labels.triton }} that it is not ready, or nothing")
  (list "TritonProxyTritonEjected" "warning" "0m"
    (printf "max by (namespace, pod) (triton_proxy_triton_ejected{%s}) == 1 or sum by (namespace, pod) (increase(triton_proxy_triton_ejections_total{%s}[10m])) > 0" $of $of)
    "{{ $labels.pod }} gives one of several Tritons nothing new, or did not lately, since it was not ready")
  (list "TritonProxyFailures" "critical" "5m"
    (printf "namespace:triton_proxy_failures:ratio5m{namespace=%q,release=%q} > %v" $namespace $.Release.Name $rule.failureRatio)
    "{{ $value | humanizePercentage }} of the requests for {{ $labels.model }} fail")
  (list "TritonProxySlow" "warning" "10m"
    (printf "namespace:triton_proxy_request_duration_seconds:p99_5m{namespace=%q,release=%q} > %v" $namespace $.Release.Name $rule.latencySecs)
    "1 of 100 requests for {{ $labels.model }} takes longer than {{ $value | humanizeDuration }}")
  (list "TritonProxyQueueGrows" "warning" "5m"
    (printf "min_over_time((triton_proxy_memory_waiting_requests{%s} + triton_proxy_memory_held_back_calls{%s})[5m:30s]) > 0" $of $of)
    "{{ $value }} or more requests wait for memory in {{ $labels.pod }} at all times")
  (list "TritonProxyCallsFull" "warning" "5m"
    (printf "triton_proxy_calls_open{%s} > 0.9 * triton_proxy_calls_limit{%s}" $of $of)
    "{{ $value }} calls are open in {{ $labels.pod }}, nearly MAX_CALLS")
  (list "TritonProxyBreakerOpen" "critical" "1m"
    (printf "triton_proxy_breaker_open{%s,circuit=\"known\"} == 1" $of)
    "{{ $labels.pod }} no longer asks Domino about callers that were known, since it does not answer")
  (list "TritonProxyStaleIdentity" "warning" "0m"
    (printf "increase(triton_proxy_auth_stale_answers_total{%s}[10m]) > 0" $of)
    "{{ $labels.pod }} lets callers in by decisions that nobody can renew")
  (list "TritonProxyPolicyBroken" "critical" "1m"
    (printf "triton_proxy_file_stale{%s,file=\"access_policy\"} == 1" $of)
    "{{ $labels.pod }} can't use the access policy's file; the one before is in force")
  (list "TritonProxyCertificateBroken" "critical" "1m"
    (printf "triton_proxy_file_stale{%s,file!=\"access_policy\"} == 1" $of)
    "{{ $labels.pod }} can't use the new certificate files ({{ $labels.file }}); those before are in use")
  (list "TritonProxyCertificateEnds" "warning" "0m"
    (printf "triton_proxy_certificate_not_after_timestamp_seconds{%s} - time() < %v" $of (mul 86400 (int $rule.certificateDays)))
    "the certificate of {{ $labels.pod }} ({{ $labels.end }}) ends in {{ $value | humanizeDuration }}")
  (list "TritonProxyMemoryHigh" "warning" "5m"
    (printf "process_resident_memory_bytes{%s} > 0.9 * %.0f" $of $limit)
    "{{ $labels.pod }} has {{ $value | humanize1024 }}B, nearly its limit")
  (list "TritonProxyAuditLinesDropped" "critical" "0m"
    (printf "increase(triton_proxy_audit_lines_total{%s,result=\"dropped\"}[10m]) > 0" $of)
    "{{ $labels.pod }} dropped {{ $value }} lines of the audit log within 10 minutes") -}}
{{- if include "domino-triton.scalerEnabled" . -}}
{{- $of = printf "namespace=%q,pod=~\"%s-.+\"" $namespace (include "domino-triton.scalerName" .) -}}
{{- $alerts = concat $alerts (list
  (list "ScaleServiceDown" "warning" "5m"
    (printf "absent(scale_service_build_info{%s})" $of)
    "No scale service is scraped")
  (list "ScaleServiceNoApiServer" "critical" "5m"
    (printf "sum by (namespace, pod) (increase(scale_service_kubernetes_request_duration_seconds_count{%s,outcome=\"no_answer\"}[5m])) > 0" $of)
    "{{ $labels.pod }} gets no answer from the API server of Kubernetes")
  (list "ScaleServicePolicyBroken" "critical" "1m"
    (printf "scale_service_policy_stale{%s} == 1" $of)
    "{{ $labels.pod }} can't use the scale policy's file; the one before is in force")
  (list "ScaleServiceAuditLinesDropped" "critical" "0m"
    (printf "increase(scale_service_audit_lines_total{%s,result=\"dropped\"}[10m]) > 0" $of)
    "{{ $labels.pod }} dropped {{ $value }} lines of the audit log within 10 minutes")) -}}
{{- end -}}
{{- if include "domino-triton.idleEnabled" . -}}
{{- $alerts = concat $alerts (list
  (list "ScaleServiceCannotScale" "critical" "0m"
    (printf "sum by (namespace, pod, direction) (increase(scale_service_automatic_scalings_total{%s,outcome=\"refused\"}[10m])) > 0" $of)
    "{{ $labels.pod }} could not scale Triton {{ $labels.direction }} by itself")
  (list "ScaleServiceProxiesUnanswered" "warning" "15m"
    (printf "scale_service_proxies_unanswered{%s} > 0" $of)
    "{{ $labels.pod }} gets no metrics of {{ $value }} proxies, so that Triton stays up")) -}}
{{- end -}}
- name: triton-proxy-alerts
  rules:
    {{- range $alerts }}
    - alert: {{ index . 0 }}
      expr: {{ index . 3 | quote }}
      for: {{ index . 2 }}
      labels: {severity: {{ index . 1 }}}
      annotations:
        summary: {{ index . 4 | quote }}
        runbook: docs/operations.md#{{ index . 0 | lower }}
    {{- end }}
{{- end -}}
