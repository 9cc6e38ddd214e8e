{{/*
Variables that make the drain fit into the pod's grace period. Called with (dict "root" . "form" f),
see token-sidecar.spec. DRAIN_DELAY and DRAIN_TIMEOUT among the settings win, and are refused if
they do not fit: the kubelet would cut the requests that the drain waits for. In an injected
container the timeout follows the grace period of the pod at hand.
*/}}
{{- define "token-sidecar.drain" -}}
{{- $settings := .root.Values.settings }}
{{- $drain := include "token-sidecar.drainSeconds" . | fromYaml }}
{{- if and (ne .form "injected") (gt (int $drain.needs) (int $drain.grace)) }}
{{- fail (printf "token-sidecar: a drain delay of %ds and a drain timeout of %ds do not fit into terminationGracePeriodSeconds (%d) with %ds to spare" (int $drain.delay) (int $drain.timeout) (int $drain.grace) (int $drain.margin)) }}
{{- end }}
{{- if not (hasKey $settings "DRAIN_DELAY") }}
- name: SIDECAR_DRAIN_DELAY
  value: {{ $drain.delay }}s
{{- end }}
{{- if not (hasKey $settings "DRAIN_TIMEOUT") }}
- name: SIDECAR_DRAIN_TIMEOUT
  {{- if eq .form "injected" }}
  {{- $left := printf "%s - %d" (include "token-sidecar.podGrace" .) (add $drain.delay $drain.margin 2) }}
  value: {$cel: 'string({{ $left }} > 600 ? 600 : {{ $left }}) + "s"'}
  {{- else }}
  value: {{ $drain.timeout }}s
  {{- end }}
{{- end }}
{{- end }}

{{/* Seconds of the drain: its delay and timeout, and the grace period that they need. */}}
{{- define "token-sidecar.drainSeconds" -}}
{{- $values := .root.Values }}
{{- $grace := int $values.terminationGracePeriodSeconds }}
{{- /* For closing the listeners and flushing the log. */}}
{{- $margin := 3 }}
{{- $delay := ternary (int $values.classicDrainDelaySeconds) 0 (eq .form "classic") }}
{{- with get $values.settings "DRAIN_DELAY" }}{{ $delay = include "token-sidecar.seconds" . | int }}{{ end }}
{{- /* 600 s is the most that the program takes. */}}
{{- $timeout := sub (sub $grace $delay) (add $margin 2) | min 600 | int }}
{{- /* The least that a pod may leave for requests in flight. */}}
{{- $least := ternary 5 1 (eq .form "injected") }}
{{- $needs := add $delay $least $margin 2 | int }}
{{- with get $values.settings "DRAIN_TIMEOUT" }}
{{- $timeout = include "token-sidecar.seconds" . | int }}
{{- $needs = add $delay (max $timeout 1) $margin | int }}
{{- end }}
{{- dict "grace" $grace "margin" $margin "delay" $delay "timeout" $timeout "needs" $needs | toYaml }}
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
