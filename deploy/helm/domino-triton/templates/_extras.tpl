{{/* Variables of triton.extraEnv. The restricted protocols' key, and what moves Triton to other ports, are not theirs. */}}
{{- define "domino-triton.extraEnv" -}}
{{- range .Values.triton.extraEnv }}
{{- if regexMatch "^(TRITON_ADMIN_KEY|HOME|NVIDIA_VISIBLE_DEVICES|AIP_.*)$" .name }}
{{- fail (printf "triton.extraEnv sets %s: expected a variable that the chart does not set and that gives Triton no other ports; leave it out, and ask for GPUs by triton.resources" .name) }}
{{- end }}
- {{ toYaml . | indent 2 | trim }}
{{- end }}
{{- end -}}

{{/* Volumes of triton.extraVolumes; a claim is read-only, so that a model can leave nothing there for a pod elsewhere. */}}
{{- define "domino-triton.extraVolumes" -}}
{{- range .Values.triton.extraVolumes }}
{{- if has .name (list "models" "tmp" "shm" "tls") }}
{{- fail (printf "triton.extraVolumes has a volume %s: expected a name that the chart does not use itself; rename it" .name) }}
{{- end }}
{{- $volume := . }}
{{- with .persistentVolumeClaim }}
{{- $volume = dict "name" $volume.name "persistentVolumeClaim" (merge (dict "readOnly" true) .) }}
{{- end }}
- {{ toYaml $volume | indent 2 | trim }}
{{- end }}
{{- end -}}

{{/* Mounts of them: outside of the chart's own, and read-only but for an emptyDir. */}}
{{- define "domino-triton.extraVolumeMounts" -}}
{{- $volumes := dict }}
{{- range .Values.triton.extraVolumes }}{{- $_ := set $volumes .name . }}{{- end }}
{{- range $mount := .Values.triton.extraVolumeMounts }}
{{- if not (hasKey $volumes .name) }}
{{- fail (printf "triton.extraVolumeMounts names the volume %s: expected one of triton.extraVolumes; add it there" .name) }}
{{- end }}
{{- range list "/models" "/tmp" "/dev" "/proc" "/sys" "/etc/triton" "/var/run/secrets" "/run/secrets" }}
{{- if or (eq . $mount.mountPath) (hasPrefix (printf "%s/" .) $mount.mountPath) (hasPrefix (printf "%s/" $mount.mountPath) .) }}
{{- fail (printf "triton.extraVolumeMounts mounts %s at %s: expected a folder that neither holds %s nor lies in it, since that one is the chart's or the system's; use another, such as /opt/%s" $mount.name $mount.mountPath . $mount.name) }}
{{- end }}
{{- end }}
- {{ toYaml (merge dict . (dict "readOnly" (not (hasKey (get $volumes .name) "emptyDir")))) | indent 2 | trim }}
{{- end }}
{{- end -}}
