{{/* What the proxy holds at most, in MiB: the formula of triton_proxy/admission/budget.py. Call with .Values.proxy, as all of these. */}}
{{- define "domino-triton.proxyMemory" -}}
{{- $settings := .settings -}}
{{- $largest := int (default 64 $settings.MAX_MESSAGE_MB) -}}
{{- range $name := tuple "largestPacketMB" "largestAnswerMB" -}}
{{- if gt (int (get $.memory $name)) $largest -}}
{{- fail (printf "proxy.memory.%s is %v: expected %d or less, as no message is larger than MAX_MESSAGE_MB; raise that, on clients too, or lower this" $name (get $.memory $name) $largest) -}}
{{- end -}}
{{- end -}}
{{- $call := add (int .memory.largestPacketMB) (mul 2 (int .memory.largestAnswerMB)) 8 -}}
{{- $usual := mul (int $settings.MAX_CALLS) $call -}}
{{/* One principal, each of whose calls has the largest packet on its way and never ends it. */}}
{{- $hostile := mul (min (int $settings.MAX_CALLS) (int (default 80 $settings.MAX_CALLS_PER_PRINCIPAL))) (add $largest 8) -}}
{{ add (include "domino-triton.proxyBaseMemory" .) (max $usual $hostile) }}
{{- end -}}

{{/* The same without any call: of each worker an idle process, its budget, and what the allocator can't use; and what
     supervises several. */}}
{{- define "domino-triton.proxyBaseMemory" -}}
{{- $workers := int .workers -}}
{{ add (mul $workers (add 250 (int .settings.MAX_MB_IN_FLIGHT))) (ternary 100 0 (gt $workers 1)) }}
{{- end -}}

{{/* The values' resources, with memory by the formula where they say nothing. Less than the formula is refused: the settings
     would let callers fill what the kernel then takes the proxy down for. */}}
{{- define "domino-triton.proxyResources" -}}
{{- $needed := include "domino-triton.proxyMemory" . -}}
{{- $memory := dict
  "requests" (dict "cpu" (printf "%dm" (mul 500 (int .workers))) "memory" (printf "%sMi" (include "domino-triton.proxyBaseMemory" .)))
  "limits" (dict "memory" (printf "%sMi" $needed)) -}}
{{- $resources := mergeOverwrite $memory .resources -}}
{{- $limit := $resources.limits.memory -}}
{{- if lt (include "domino-triton.mebibytes" $limit | float64) (float64 $needed) -}}
{{- fail (printf "proxy.resources.limits.memory is %v: expected %sMi or more, which the proxy may hold by proxy.settings and proxy.memory; leave it out, or lower MAX_CALLS, MAX_CALLS_PER_PRINCIPAL, MAX_MESSAGE_MB, MAX_MB_IN_FLIGHT, proxy.workers or proxy.memory" $limit $needed) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* MiB of a quantity, as Kubernetes reads it. */}}
{{- define "domino-triton.mebibytes" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9.]+([eE][-+]?[0-9]+)?" $text -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
  "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- divf (mulf (float64 $number) (get $units (trimPrefix $number $text))) 1048576.0 -}}
{{- end -}}
