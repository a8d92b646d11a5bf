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
    {{- include "domino-triton.ipBlock" . | trim | nindent 4 }}
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

{{/* Rules for DNS: its pods and networks, and a cache on the node, of which nothing but DNS may be asked. */}}
{{- define "domino-triton.dnsRules" -}}
{{- include "domino-triton.egressRule" (dict "to" .Values.networkPolicy.dns "protocols" (list "UDP" "TCP")) }}
{{- with .Values.networkPolicy.dns.nodeLocalCache }}
- to:
    {{- range . }}
    {{- $cidr := printf "%s/%s" . (contains ":" . | ternary "128" "32") }}
    {{- include "domino-triton.checkCidr" $cidr }}
    - ipBlock:
        cidr: {{ $cidr }}
    {{- end }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}
{{- end -}}

{{/* A network, without those in it where clouds hand out credentials. */}}
{{- define "domino-triton.ipBlock" -}}
{{- $cidr := . }}
{{- include "domino-triton.checkCidr" $cidr }}
{{- $except := list }}
{{- range $network, $what := include "domino-triton.forbiddenNetworks" nil | fromYaml }}
{{- if include "domino-triton.within" (list $cidr $network) }}
{{- fail (printf "networkPolicy or publisher.egress has the network %s: expected none of %s, %s; name the networks that are called, and a node's DNS cache by networkPolicy.dns.nodeLocalCache" $cidr $network $what) }}
{{- end }}
{{- if include "domino-triton.within" (list $network $cidr) }}
{{- $except = append $except $network }}
{{- end }}
{{- end }}
- ipBlock:
    cidr: {{ $cidr }}
    {{- with $except }}
    except:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end -}}

{{/* Where a call brings back credentials of the node or of a cloud. */}}
{{- define "domino-triton.forbiddenNetworks" -}}
169.254.0.0/16: link-local, where most clouds have their metadata services
100.100.100.200/32: Alibaba Cloud's metadata service
168.63.129.16/32: Azure's WireServer
fe80::/10: link-local
fd00:ec2::/32: AWS's metadata service and Pod Identity agent
fd20:ce::/32: Google Cloud's metadata service
64:ff9b::a9fe:0/112: link-local behind NAT64
::ffff:0:0/96: IPv4 in the clothes of IPv6
{{- end -}}

{{/* Refuses what is no network, which the API server might take for another one. */}}
{{- define "domino-triton.checkCidr" -}}
{{- $bits := splitList "/" . | last | int }}
{{- $good := false }}
{{- $groups := include "domino-triton.groups" . | fromJsonArray }}
{{- if has (len $groups) (list 2 8) }}
{{- $good = true }}
{{- range $i, $group := $groups }}
{{- if mod (int64 $group) (include "domino-triton.unit" (sub $bits (mul 16 $i)) | int64) }}
{{- $good = false }}
{{- end }}
{{- end }}
{{- end }}
{{- if not $good }}
{{- fail (printf "networkPolicy or publisher.egress has the network %s: expected an address and the number of its leading bits that count, all others being 0, such as 10.20.0.0/16 or 2001:db8::/32; correct it" .) }}
{{- end }}
{{- end -}}

{{/* "true" where the first network lies in the second, both being what checkCidr lets pass. */}}
{{- define "domino-triton.within" -}}
{{- $inner := index . 0 }}
{{- $outer := index . 1 }}
{{- $bits := splitList "/" $outer | last | int }}
{{- $own := include "domino-triton.groups" $inner | fromJsonArray }}
{{- $others := include "domino-triton.groups" $outer | fromJsonArray }}
{{- $within := and (eq (len $own) (len $others)) (ge (splitList "/" $inner | last | int) $bits) }}
{{- range $i, $group := $own }}
{{- if $within }}
{{- $unit := include "domino-triton.unit" (sub $bits (mul 16 $i)) | int64 }}
{{- $within = eq (div (int64 $group) $unit) (div (index $others $i | int64) $unit) }}
{{- end }}
{{- end }}
{{- $within | ternary "true" "" }}
{{- end -}}

{{/* What the last of a group's leading bits is worth, of which there are so many: 65536 for none, 1 for all sixteen. */}}
{{- define "domino-triton.unit" -}}
{{- index (list 65536 32768 16384 8192 4096 2048 1024 512 256 128 64 32 16 8 4 2 1) (max 0 (min 16 .) | int) -}}
{{- end -}}

{{/* A network's address as a list of 16-bit numbers in JSON: two for IPv4, eight for IPv6, none for what is no address. */}}
{{- define "domino-triton.groups" -}}
{{- $address := splitList "/" . | first }}
{{- $groups := list }}
{{- if contains ":" $address }}
{{- $halves := splitList "::" $address }}
{{- $left := splitList ":" (first $halves) }}
{{- $right := list }}
{{- $gap := 0 }}
{{- if gt (len $halves) 1 }}
{{- $left = ternary $left list (ne (first $halves) "") }}
{{- $right = ternary (splitList ":" (last $halves)) list (ne (last $halves) "") }}
{{- $gap = sub 8 (add (len $left) (len $right)) }}
{{- end }}
{{- $parts := $left }}
{{- range until (max 0 $gap | int) }}{{- $parts = append $parts "0" }}{{- end }}
{{- $parts = concat $parts $right }}
{{- if and (le (len $halves) 2) (eq (len $parts) 8) (not (has "" $parts)) }}
{{- range $parts }}{{- $groups = append $groups (printf "0x%s" . | int64) }}{{- end }}
{{- end }}
{{- else }}
{{- $octets := splitList "." $address }}
{{- if eq (len $octets) 4 }}
{{- range list 0 2 }}
{{- $groups = append $groups (add (mul 256 (index $octets . | int64)) (index $octets (add1 . | int) | int64)) }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $groups }}
{{- end -}}
