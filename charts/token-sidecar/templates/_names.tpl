{{- define "token-sidecar.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) }}
{{- include "token-sidecar.shortened" (list $full 63) }}
{{- end }}

{{/* A name of so many characters at most. Of longer ones the end is a hash, so that two that begin alike differ. */}}
{{- define "token-sidecar.shortened" -}}
{{- $name := first . }}{{ $most := last . }}
{{- if le (len $name) $most }}{{ $name }}{{ else }}{{ printf "%s-%s" (trunc (int (sub $most 9)) $name | trimSuffix "-") (sha256sum $name | trunc 8) }}{{ end }}
{{- end }}

{{- define "token-sidecar.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "token-sidecar.podSelector" -}}
{{- if .Values.podSelector }}
{{- toYaml .Values.podSelector }}
{{- else if .Values.inject.enabled -}}
matchLabels:
  {{ include "token-sidecar.profileLabel" . }}
{{- else -}}
matchLabels:
  app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- end }}

{{- define "token-sidecar.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}
