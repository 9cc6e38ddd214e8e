{{/*
The plan says where each setting of the program comes from. All other templates follow it:
  configMap  variable: value, for the ConfigMap
  start      setting: value, of those in secret that the program reads at its start only
  secret     setting: value, for the chart's own Secret
  env        variables of the container
  files      what is mounted, as {kind, name, key, path}
*/}}
{{- define "token-sidecar.plan" -}}
{{- $kinds := (.Files.Get "files/settings.yaml" | fromYaml).files }}
{{- $configMap := dict }}{{ $secret := dict }}{{ $start := dict }}{{ $env := list }}{{ $files := list }}
{{- $settings := .Values.settings }}{{ $secrets := .Values.secrets }}
{{- if include "token-sidecar.exampleProvider" . }}
{{- range concat (keys $settings) (keys $secrets) (keys .Values.settingsFrom) }}
{{- if hasPrefix "OAUTH2_0_" . }}{{ fail (printf "token-sidecar: %s is given and OAUTH2_0_NAME is not; the example would take its place" .) }}{{ end }}
{{- end }}
{{- $settings = merge (.Files.Get "files/example-settings.yaml" | fromYaml) $settings }}
{{- $secrets = merge (dict "OAUTH2_0_CLIENT_SECRET" "example") $secrets }}
{{- end }}
{{- range $name, $value := $settings }}
{{- $_ := set $configMap (printf "SIDECAR_%s" $name) (include "token-sidecar.text" $value) }}
{{- end }}
{{- range $name, $value := $secrets }}
{{- $_ := set $secret $name (include "token-sidecar.text" $value) }}
{{- end }}
{{- $from := dict }}
{{- range $name := keys $secret }}
{{- $_ := set $from $name (dict "secret" (include "token-sidecar.fullname" $)) }}
{{- end }}
{{- range $name, $source := .Values.settingsFrom }}
{{- if hasKey $from $name }}{{ fail (printf "token-sidecar: %s is in settingsFrom and in secrets" $name) }}{{ end }}
{{- $_ := set $from $name $source }}
{{- end }}
{{- range $name := keys $from | sortAlpha }}
{{- if hasKey $settings $name }}{{ fail (printf "token-sidecar: %s is in settings and comes from a Secret or ConfigMap too" $name) }}{{ end }}
{{- $source := get $from $name }}
{{- $kind := ternary "configMap" "secret" (hasKey $source "configMap") }}
{{- $object := get $source $kind | default $.Values.existingSecret }}
{{- if not $object }}{{ fail (printf "token-sidecar: settingsFrom.%s names no secret and no configMap, and existingSecret is not set" $name) }}{{ end }}
{{- $key := get $source "key" | default $name }}
{{- $file := get $kinds (regexReplaceAll "^OAUTH2_[0-9]+_" $name "OAUTH2_n_") }}
{{- if and $file (ne (get $source "as") "env") }}
{{- if and (hasKey $secret $name) (ne $file "rotates") }}{{ $_ := set $start $name (get $secret $name) }}{{ end }}
{{- $files = append $files (dict "kind" $kind "name" $object "key" $key "path" $name) }}
{{- $variable := printf "SIDECAR_%s%s" $name (ternary "" "_FILE" (eq $file "path")) }}
{{- $env = append $env (dict "name" $variable "value" (printf "/etc/token-sidecar/%s" $name)) }}
{{- else if eq $file "path" }}
{{- fail (printf "token-sidecar: %s is the path of a file and cannot come as a variable" $name) }}
{{- else }}
{{- $env = append $env (dict "name" (printf "SIDECAR_%s" $name) "valueFrom" (dict (printf "%sKeyRef" $kind) (dict "name" $object "key" $key))) }}
{{- end }}
{{- end }}
{{- dict "configMap" $configMap "start" $start "secret" $secret "env" $env "files" $files | toYaml }}
{{- end }}

{{/* A value as the program reads it. YAML makes floats of numbers, which print as 1e+07 and have no more than 15 digits for sure. */}}
{{- define "token-sidecar.text" -}}
{{- if and (kindIs "float64" .) (ge . 1e15) }}{{ fail "token-sidecar: a number of more than 15 digits loses some of them; write it in quotes" }}{{ end }}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ printf "%.0f" . }}{{ else }}{{ toString . }}{{ end }}
{{- end }}

{{/* Whether the credential of any API is given. */}}
{{- define "token-sidecar.hasAPI" -}}
{{- range (.Files.Get "files/settings.yaml" | fromYaml).apis }}
{{- if or (hasKey $.Values.settings .) (hasKey $.Values.settings (printf "%s_FILE" .)) (hasKey $.Values.settingsFrom .) (hasKey $.Values.secrets .) }}true{{ end }}
{{- end }}
{{- end }}

{{/* The example plays an API itself if none is configured. */}}
{{- define "token-sidecar.exampleProvider" -}}
{{- if and .Values.example.enabled (not (include "token-sidecar.hasAPI" .)) }}true{{ end }}
{{- end }}
