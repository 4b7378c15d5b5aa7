{{- define "twinway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "twinway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "twinway.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "twinway.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels of all objects. Argument: list of root and component. */}}
{{- define "twinway.labels" -}}
{{- $root := index . 0 -}}
{{ include "twinway.selector" . }}
app.kubernetes.io/version: {{ $root.Values.image.tag | default $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: twinway
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- with $root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "twinway.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "twinway.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Image reference. Argument: list of root and image values. The tag defaults to that of the server. */}}
{{- define "twinway.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if get $image "digest" -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "twinway.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "twinway.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities: {drop: [ALL]}
{{- end -}}

{{/* URL of Redis in the ConfigMap; empty if the URL is in a Secret. */}}
{{- define "twinway.redisUrl" -}}
{{- if .Values.redis.bundled -}}
redis://{{ include "twinway.fullname" . }}-redis:{{ .Values.redis.port }}
{{- else -}}
{{ .Values.redis.url }}
{{- end -}}
{{- end -}}

{{- define "twinway.redisPasswordSecret" -}}
{{- if .Values.redis.passwordSecret.name -}}
{{ .Values.redis.passwordSecret.name }}
{{- else if .Values.redis.bundled -}}
{{ include "twinway.fullname" . }}-redis
{{- end -}}
{{- end -}}

{{/* Parameters of the template, `name=value,name=value`. */}}
{{- define "twinway.templateParameters" -}}
{{- $pairs := list -}}
{{- range $name, $value := .Values.functions.parameters -}}
{{- $pairs = append $pairs (printf "%s=%v" $name $value) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end -}}

{{/* Secrets as files: a projected volume at /run/secrets/twinway. */}}
{{- define "twinway.secretSources" -}}
{{- $v := .Values -}}
{{- if not $v.functions.enabled }}
- secret:
    name: {{ $v.auth.secretName }}
    items:
      - {key: {{ $v.auth.secretKey }}, path: auth-secret}
      {{- with $v.auth.previousSecretsKey }}
      - {key: {{ . }}, path: previous-secrets}
      {{- end }}
      {{- with $v.auth.apiKeysKey }}
      - {key: {{ . }}, path: api-keys}
      {{- end }}
{{- end }}
{{- with $v.redis.urlSecret }}{{- if .name }}
- secret: {name: {{ .name }}, items: [{key: {{ .key }}, path: redis-url}]}
{{- end }}{{- end }}
{{- with include "twinway.redisPasswordSecret" . }}
- secret: {name: {{ . }}, items: [{key: {{ $v.redis.passwordSecret.key }}, path: redis-password}]}
{{- end }}
{{- with $v.redis.caSecret }}{{- if .name }}
- secret: {name: {{ .name }}, items: [{key: {{ .key }}, path: redis-ca.crt}]}
{{- end }}{{- end }}
{{- if $v.postgres.enabled }}
- secret: {name: {{ required "postgres.urlSecret.name is required with postgres.enabled" $v.postgres.urlSecret.name }}, items: [{key: {{ $v.postgres.urlSecret.key }}, path: database-url}]}
{{- with $v.postgres.passwordSecret }}{{- if .name }}
- secret: {name: {{ .name }}, items: [{key: {{ .key }}, path: postgres-password}]}
{{- end }}{{- end }}
{{- with $v.postgres.caSecret }}{{- if .name }}
- secret: {name: {{ .name }}, items: [{key: {{ .key }}, path: postgres-ca.crt}]}
{{- end }}{{- end }}
{{- end }}
{{- if $v.functions.enabled }}
{{- with $v.functions.environmentSecret }}{{- if .name }}
- secret: {name: {{ .name }}, items: [{key: {{ .key }}, path: functions-environment}]}
{{- end }}{{- end }}
{{- with $v.functions.parametersSecret }}{{- if .name }}
- secret: {name: {{ .name }}, items: [{key: {{ .key }}, path: parameters}]}
{{- end }}{{- end }}
{{- end }}
{{- end -}}

{{/* Stops the rendering when values of functions contradict each other. */}}
{{- define "twinway.validateFunctions" -}}
{{- $f := .Values.functions -}}
{{- if and $f.parameters $f.parametersSecret.name -}}
{{- fail "set functions.parameters or functions.parametersSecret.name, not both" -}}
{{- end -}}
{{- if and (or $f.parameters $f.parametersSecret.name) (not $f.template) -}}
{{- fail "functions.parameters are those of a template: set functions.template" -}}
{{- end -}}
{{- if .Values.postgres.enabled -}}
{{- fail "postgres stores the messages of the messaging application; functions have none: set postgres.enabled to false" -}}
{{- end -}}
{{- end -}}

{{/* Stops the rendering with the reason when values contradict each other. */}}
{{- define "twinway.validate" -}}
{{- $v := .Values -}}
{{- $least := add $v.preStopSeconds $v.drain.delaySeconds $v.drain.graceSeconds 4 -}}
{{- if lt (int $v.terminationGracePeriodSeconds) (int $least) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d; preStopSeconds, drain.delaySeconds, drain.graceSeconds and 4 s for the end of the process need at least %d" (int $v.terminationGracePeriodSeconds) (int $least)) -}}
{{- end -}}
{{- $sources := 0 -}}
{{- if $v.redis.bundled -}}{{- $sources = add1 $sources -}}{{- end -}}
{{- if $v.redis.url -}}{{- $sources = add1 $sources -}}{{- end -}}
{{- if $v.redis.urlSecret.name -}}{{- $sources = add1 $sources -}}{{- end -}}
{{- if ne (int $sources) 1 -}}
{{- fail "set exactly one of redis.bundled, redis.url and redis.urlSecret.name" -}}
{{- end -}}
{{- if and $v.redis.bundled (ne $v.redis.topology "single") -}}
{{- fail "redis.bundled is a single server; set redis.topology to single, or use an external Redis" -}}
{{- end -}}
{{- if contains "@" $v.redis.url -}}
{{- fail "redis.url contains a password or user; use redis.urlSecret, because a ConfigMap is not private" -}}
{{- end -}}
{{- if $v.functions.enabled -}}{{- include "twinway.validateFunctions" . -}}{{- end -}}
{{- if and (eq $v.image.tag "latest") (not $v.image.digest) -}}
{{- fail "image.tag must be a version, not latest: a rollback would not know which image ran" -}}
{{- end -}}
{{- if and $v.gateway.enabled (not $v.gateway.create) (not $v.gateway.name) -}}
{{- fail "gateway.enabled needs gateway.name of an existing Gateway, or gateway.create" -}}
{{- end -}}
{{- if and $v.certificate.enabled (not $v.certificate.issuerName) -}}
{{- fail "certificate.enabled needs certificate.issuerName" -}}
{{- end -}}
{{- if and (eq $v.autoscaling.kind "keda") (eq (int $v.autoscaling.connectionsPerPod) 0) -}}
{{- fail "autoscaling.kind keda needs autoscaling.connectionsPerPod" -}}
{{- end -}}
{{- end -}}
