{{/*
What your own chart includes. Call each with the context of your template:
  include "token-sidecar.initContainer" .
With an alias for the dependency, give its context: .Subcharts.alias
*/}}

{{/* A native sidecar, for initContainers. Kubernetes 1.29 or newer. */}}
{{- define "token-sidecar.initContainer" -}}
{{- $root := get (default dict .Subcharts) "token-sidecar" | default . }}
{{- if semverCompare "<1.29.0-0" $root.Capabilities.KubeVersion.Version }}
{{- fail "token-sidecar: native sidecars need Kubernetes 1.29; include token-sidecar.container among containers" }}
{{- end }}
{{- include "token-sidecar.spec" (dict "root" $root "form" "native") }}
{{- end }}

{{/* The same as a classic container, for containers. */}}
{{- define "token-sidecar.container" -}}
{{- $root := get (default dict .Subcharts) "token-sidecar" | default . }}
{{- include "token-sidecar.spec" (dict "root" $root "form" "classic") }}
{{- end }}

{{/* Its volumes. */}}
{{- define "token-sidecar.volumes" -}}
{{- $root := get (default dict .Subcharts) "token-sidecar" | default . }}
{{- $plan := include "token-sidecar.plan" $root | fromYaml }}
{{- $sources := dict }}
{{- range $plan.files }}
{{- $object := printf "%s %s" .kind .name }}
{{- $_ := set $sources $object (append (get $sources $object | default list) .) }}
{{- end -}}
- name: token-sidecar
  {{- if $sources }}
  projected:
    # Not group or owner only: what user the pod's files belong to is up to the pod.
    defaultMode: 0444
    sources:
      {{- range $object := keys $sources | sortAlpha }}
      {{- $files := get $sources $object }}
      - {{ (first $files).kind }}:
          name: {{ (first $files).name }}
          items:
            {{- range $files }}
            - key: {{ .key | quote }}
              path: {{ .path }}
            {{- end }}
      {{- end }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end }}

{{/* Annotations of the pod: a change of settings restarts it. */}}
{{- define "token-sidecar.annotations" -}}
{{- $root := get (default dict .Subcharts) "token-sidecar" | default . -}}
{{- $plan := include "token-sidecar.plan" $root | fromYaml -}}
checksum/token-sidecar: {{ merge $plan.start $plan.configMap | toJson | sha256sum }}
{{- if $root.Values.scrapeAnnotations }}
{{- include "token-sidecar.needsExposure" (dict "root" $root "what" "scrapeAnnotations") }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ $root.Values.admin.port | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- end }}

{{/* Refuses two ways to scrape each pod. */}}
{{- define "token-sidecar.scrapedOnce" -}}
{{- $ways := list }}
{{- range $way, $on := dict "podMonitor" .Values.podMonitor.enabled "serviceMonitor" .Values.serviceMonitor.enabled "scrapeAnnotations" .Values.scrapeAnnotations }}
{{- if $on }}{{ $ways = append $ways $way }}{{ end }}
{{- end }}
{{- if gt (len $ways) 1 }}
{{- fail (printf "token-sidecar: every pod would be scraped %d times, by %s; choose one of them" (len $ways) (join " and " $ways)) }}
{{- end }}
{{- end }}

{{- define "token-sidecar.needsExposure" -}}
{{- if not .root.Values.admin.expose }}{{ fail (printf "token-sidecar: %s needs admin.expose=true" .what) }}{{ end }}
{{- end }}

{{/*
The container. Called with (dict "root" . "form" f), where f is
  native    a native sidecar among the init containers of a template
  classic   a container beside the app's
  injected  a native sidecar that an admission policy adds: in namespaces without the chart's
            ConfigMap, so its settings are variables
*/}}
{{- define "token-sidecar.spec" -}}
{{- $values := .root.Values }}
{{- $plan := include "token-sidecar.plan" .root | fromYaml }}
{{- if not (or (include "token-sidecar.hasAPI" .root) (include "token-sidecar.exampleProvider" .root)) }}
{{- fail "token-sidecar: no API is configured; give the credential of one in settingsFrom, see docs/kubernetes.md" }}
{{- end -}}
- name: token-sidecar
  image: {{ include "token-sidecar.image" .root }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  {{- if ne .form "classic" }}
  restartPolicy: Always
  {{- end }}
  {{- if and $plan.configMap (ne .form "injected") }}
  envFrom:
    - configMapRef:
        name: {{ include "token-sidecar.fullname" .root }}
  {{- end }}
  env:
    - name: SIDECAR_ADMIN_LISTEN
      value: "{{ if not $values.admin.expose }}127.0.0.1{{ end }}:{{ $values.admin.port }}"
    {{- if and $values.admin.expose (not (hasKey $values.settings "EXPOSE")) }}
    - name: SIDECAR_EXPOSE
      value: admin
    {{- end }}
    {{- with include "token-sidecar.drain" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $plan.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- if eq .form "injected" }}
    {{- /* In a variable's value the kubelet takes $ for the beginning of a reference; in a ConfigMap's it does not. */}}
    {{- range $name, $value := $plan.configMap }}
    - name: {{ $name }}
      value: {{ $value | replace "$" "$$" | quote }}
    {{- end }}
    {{- end }}
    {{- with include "token-sidecar.goMemoryLimit" $values.resources }}
    - name: GOMEMLIMIT
      value: {{ . }}
    {{- end }}
  {{- if $values.admin.expose }}
  ports:
    - name: sidecar-admin
      containerPort: {{ $values.admin.port }}
      protocol: TCP
  {{- end }}
  {{- /* None of them depends on a provider or on Redis. */}}
  startupProbe:
    {{- include "token-sidecar.probe" (dict "values" $values "path" "/readyz" "argument" "ready") | nindent 4 }}
    periodSeconds: 1
    timeoutSeconds: 3
    failureThreshold: 30
  livenessProbe:
    {{- include "token-sidecar.probe" (dict "values" $values "path" "/livez" "argument" "") | nindent 4 }}
    periodSeconds: 10
    timeoutSeconds: 3
    failureThreshold: 3
  readinessProbe:
    {{- include "token-sidecar.probe" (dict "values" $values "path" "/readyz" "argument" "ready") | nindent 4 }}
    periodSeconds: 5
    timeoutSeconds: 3
    failureThreshold: 2
  {{- with $values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml $values.securityContext | nindent 4 }}
  volumeMounts:
    # A whole directory: mounts of single files do not follow a rotation.
    - name: token-sidecar
      mountPath: /etc/token-sidecar
      readOnly: true
    {{- with $values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "token-sidecar.probe" -}}
{{- if .values.admin.expose -}}
httpGet:
  path: {{ .path }}
  port: sidecar-admin
{{- else -}}
exec:
  command: [/token-sidecar, healthcheck{{ with .argument }}, {{ . }}{{ end }}]
{{- end }}
{{- end }}

{{/* Nine tenths of a memory limit in Mi or Gi: the collector works harder before the kernel kills. */}}
{{- define "token-sidecar.goMemoryLimit" -}}
{{- $limit := dig "limits" "memory" "" . | toString }}
{{- if regexMatch "^[0-9]+[MG]i$" $limit }}{{ div (mul (regexFind "^[0-9]+" $limit | int) (ternary 1024 1 (hasSuffix "Gi" $limit)) 9) 10 }}MiB{{ end }}
{{- end }}
