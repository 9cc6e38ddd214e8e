{{/* What the annotation token-sidecar.dev/inject says to get the sidecar of this release. */}}
{{- define "token-sidecar.profile" -}}
{{- .Values.inject.profile | default (include "token-sidecar.fullname" .) }}
{{- end }}

{{/* The label of injected pods. */}}
{{- define "token-sidecar.profileLabel" -}}
token-sidecar.dev/profile: {{ include "token-sidecar.profile" . | quote }}
{{- end }}

{{/* Policies belong to the whole cluster, so their name says whose they are. */}}
{{- define "token-sidecar.policyName" -}}
{{ include "token-sidecar.fullname" . }}.{{ .Release.Namespace }}.token-sidecar.dev
{{- end }}

{{/* What both policies look at: pods on their creation, in the namespaces of this release. */}}
{{- define "token-sidecar.matchConstraints" -}}
namespaceSelector:
  {{- if .Values.inject.namespaceSelector }}
  {{- toYaml .Values.inject.namespaceSelector | nindent 2 }}
  {{- else }}
  matchLabels:
    kubernetes.io/metadata.name: {{ .Release.Namespace }}
  {{- end }}
resourceRules:
  - apiGroups: [""]
    apiVersions: [v1]
    operations: [CREATE]
    resources: [pods]
{{- end }}

{{/*
What a pod must be like to be injected, as CEL by name. The mutating policy leaves other pods
alone, and the validating one says why.
*/}}
{{- define "token-sidecar.injectable" -}}
{{- $drain := include "token-sidecar.drainSeconds" (dict "root" . "form" "injected") | fromYaml -}}
noSidecarYet: >-
  !(object.spec.containers + object.spec.?initContainers.orValue([])).exists(c, c.name == "token-sidecar")
ownNetwork: >-
  !object.spec.?hostNetwork.orValue(false)
linux: >-
  object.spec.?os.name.orValue("linux") == "linux" &&
  object.spec.?nodeSelector[?"kubernetes.io/os"].orValue("linux") == "linux"
freeVolume: >-
  !object.spec.?volumes.orValue([]).exists(v, v.name == "token-sidecar")
timeToDrain: >-
  {{ include "token-sidecar.podGrace" . }} >= {{ $drain.needs }}
{{- end }}

{{/* Grace period of the pod at hand, as CEL. The API server has set its default by then. */}}
{{- define "token-sidecar.podGrace" -}}
object.spec.?terminationGracePeriodSeconds.orValue(30)
{{- end }}

{{/* Profile that the pod at hand asks for, as CEL. */}}
{{- define "token-sidecar.podProfile" -}}
object.metadata.?annotations[?"token-sidecar.dev/inject"].orValue("")
{{- end }}

{{/* Faults of values that would make pods that do not work. */}}
{{- define "token-sidecar.checkInject" -}}
{{- if semverCompare "<1.36.0-0" .Capabilities.KubeVersion.Version }}
{{- fail "token-sidecar: inject.enabled needs Kubernetes 1.36, the first whose MutatingAdmissionPolicy is on by default; below that put the three lines into your own chart, see docs/kubernetes.md, \"In your own chart\"" }}
{{- end }}
{{- if not (include "token-sidecar.hasAPI" .) }}
{{- fail "token-sidecar: inject.enabled, but no API is configured; give the credential of one in settingsFrom, see docs/kubernetes.md" }}
{{- end }}
{{- if and .Values.secrets .Values.inject.namespaceSelector }}
{{- fail "token-sidecar: the Secret of values under secrets is in the release's namespace only; with inject.namespaceSelector name a Secret in settingsFrom that each namespace has" }}
{{- end }}
{{- $url := get .Values.inject.env "TOKEN_SIDECAR_URL" | default "" }}
{{- if eq $url "http://127.0.0.1:8080" }}
{{- $moved := "" }}
{{- if or (hasKey .Values.settingsFrom "LISTEN") (not (has (get .Values.settings "LISTEN" | default "127.0.0.1:8080") (list "127.0.0.1:8080" "localhost:8080"))) }}
{{- $moved = "LISTEN" }}
{{- else if or (hasKey .Values.settingsFrom "TLS_CERT") (hasKey .Values.secrets "TLS_CERT") (get .Values.settings "TLS_CERT") }}
{{- $moved = "TLS_CERT" }}
{{- end }}
{{- if $moved }}
{{- fail (printf "token-sidecar: %s is set, so apps do not reach the sidecar at %s; set inject.env.TOKEN_SIDECAR_URL to where they do, or to null" $moved $url) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
A value as a CEL expression. Called with (dict "of" value "indent" n). Every part is wrapped in
dyn(), since a literal of mixed types does not compile. JSON's strings and numbers are CEL's, too.
A map whose only key is $cel stands for the expression that it holds.
*/}}
{{- define "token-sidecar.cel" -}}
{{- $of := .of }}{{ $inner := add .indent 2 | int }}
{{- if and (kindIs "map" $of) (hasKey $of "$cel") -}}
dyn({{ get $of "$cel" }})
{{- else if and (kindIs "map" $of) $of -}}
dyn({
{{- range $i, $key := keys $of | sortAlpha }}
{{- if $i }},{{ end }}{{ printf "\n%s" (repeat $inner " ") }}{{ toJson $key }}: {{ include "token-sidecar.cel" (dict "of" (get $of $key) "indent" $inner) }}
{{- end }}})
{{- else if and (kindIs "slice" $of) $of -}}
dyn([
{{- range $i, $item := $of }}
{{- if $i }},{{ end }}{{ printf "\n%s" (repeat $inner " ") }}{{ include "token-sidecar.cel" (dict "of" $item "indent" $inner) }}
{{- end }}])
{{- else -}}
dyn({{ toJson $of }})
{{- end }}
{{- end }}
