{{/*
Variables that make the drain fit into terminationGracePeriodSeconds. Called with
(dict "root" . "classic" bool). DRAIN_DELAY and DRAIN_TIMEOUT among the settings win, and are
refused if they do not fit: the kubelet would cut the requests that the drain waits for.
*/}}
{{- define "token-sidecar.drain" -}}
{{- $values := .root.Values }}
{{- $grace := int $values.terminationGracePeriodSeconds }}
{{- /* For closing the listeners and flushing the log. */}}
{{- $margin := 3 }}
{{- $delay := ternary (int $values.classicDrainDelaySeconds) 0 .classic }}
{{- with get $values.settings "DRAIN_DELAY" }}{{ $delay = include "token-sidecar.seconds" . | int }}{{ end }}
{{- $timeout := sub (sub $grace $delay) (add $margin 2) | int }}
{{- with get $values.settings "DRAIN_TIMEOUT" }}{{ $timeout = include "token-sidecar.seconds" . | int }}{{ end }}
{{- if or (lt $timeout 1) (gt (add $delay $timeout $margin | int) $grace) }}
{{- fail (printf "token-sidecar: a drain delay of %ds and a drain timeout of %ds do not fit into terminationGracePeriodSeconds (%d) with %ds to spare" $delay $timeout $grace $margin) }}
{{- end }}
{{- if not (hasKey $values.settings "DRAIN_DELAY") }}
- name: SIDECAR_DRAIN_DELAY
  value: {{ $delay }}s
{{- end }}
{{- if not (hasKey $values.settings "DRAIN_TIMEOUT") }}
- name: SIDECAR_DRAIN_TIMEOUT
  value: {{ $timeout }}s
{{- end }}
{{- end }}

{{/* Whole seconds of a duration such as 1m30s, rounded up. */}}
{{- define "token-sidecar.seconds" -}}
{{- $left := regexReplaceAll "[0-9.]+(ms|us|µs|ns)" . "" }}
{{- $sum := ternary 0.0 1.0 (eq $left .) }}
{{- range $unit, $seconds := dict "h" 3600 "m" 60 "s" 1 }}
{{- with regexFind (printf "[0-9.]+%s" $unit) $left }}{{ $sum = addf $sum (mulf (trimSuffix $unit . | float64) $seconds) }}{{ end }}
{{- end }}
{{- ceil $sum | int }}
{{- end }}
