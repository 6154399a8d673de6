{{/* The secrets that a part may need, by the names of their variables; a test compares them with the settings. */}}
{{- define "idp.databaseSecrets" -}}
DATABASE_URL DATABASE_DIRECT_URL
{{- end -}}

{{- define "idp.serveSecrets" -}}
IDP_SECRET_KEY IDP_PREVIOUS_SECRET_KEYS AUTH_JWT_SECRET_KEY JWT_SECRET_KEY AUTH_JWT_PREVIOUS_SECRET_KEYS ADMIN_TOKEN INTERNAL_API_TOKEN METRICS_TOKEN VALKEY_URL SMTP_HOST SMTP_USERNAME SMTP_PASSWORD FROM_EMAIL CLERK_WEBHOOK_SECRET CLERK_SECRET_KEY IDP_TRACING__HEADERS
{{- end -}}

{{- define "idp.kafkaSecrets" -}}
KAFKA_SASL_USERNAME KAFKA_SASL_PASSWORD
{{- end -}}

{{/* One variable from a Secret, or nothing. Argument: a dict of root and name. */}}
{{- define "idp.secret" -}}
{{- $values := .root.Values -}}
{{- $reference := get $values.secretRefs .name -}}
{{- if $reference }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ $reference.name }}
      key: {{ $reference.key }}
      {{- if $reference.optional }}
      optional: true
      {{- end }}
{{- else if and $values.existingSecret (not (hasKey $values.env .name)) (not (and (eq .name "VALKEY_URL") (or $values.valkey.enabled $values.valkey.url))) }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ $values.existingSecret }}
      key: {{ .name }}
      {{- if not (has .name (list "DATABASE_URL" "IDP_SECRET_KEY")) }}
      optional: true
      {{- end }}
{{- end }}
{{- end -}}

{{/* Argument: a dict of root and names, separated by blanks. */}}
{{- define "idp.secrets" -}}
{{- range splitList " " .names }}
{{- include "idp.secret" (dict "root" $.root "name" .) }}
{{- end }}
{{- end -}}

{{- define "idp.plainEnvironment" -}}
{{- range $name, $value := .Values.env }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "idp.serveEnvironment" -}}
- name: PORT
  value: {{ .Values.containerPort | quote }}
- name: IDP_PUBLIC_URL
  value: {{ .Values.publicUrl | quote }}
{{- if .Values.metrics.enabled }}
- name: IDP_METRICS_PORT
  value: {{ .Values.metrics.port | quote }}
{{- end }}
{{- if .Values.valkey.enabled }}
- name: VALKEY_URL
  value: valkey://{{ include "idp.part" (dict "root" . "part" "valkey") }}:6379/0
{{- else if .Values.valkey.url }}
- name: VALKEY_URL
  value: {{ .Values.valkey.url | quote }}
{{- end }}
{{- if .Values.relay.enabled }}
- name: IDP_KAFKA__RELAY_IN_SERVE
  value: "false"
{{- end }}
{{- include "idp.secrets" (dict "root" . "names" (printf "%s %s %s" (include "idp.databaseSecrets" .) (include "idp.serveSecrets" .) (include "idp.kafkaSecrets" .))) }}
{{- include "idp.plainEnvironment" . }}
{{- end -}}

{{/* The migration may have an owner role of its own, whose URL no other container is given. */}}
{{- define "idp.migrateEnvironment" -}}
{{- include "idp.secrets" (dict "root" . "names" (printf "%s DATABASE_MIGRATION_URL" (include "idp.databaseSecrets" .))) | trim }}
{{- include "idp.plainEnvironment" . }}
{{- end -}}

{{- define "idp.relayEnvironment" -}}
{{- include "idp.secrets" (dict "root" . "names" (printf "%s %s" (include "idp.databaseSecrets" .) (include "idp.kafkaSecrets" .))) | trim }}
{{- include "idp.plainEnvironment" . }}
{{- end -}}

{{- define "idp.backupEnvironment" -}}
{{- include "idp.secrets" (dict "root" . "names" (printf "%s IDP_SECRET_KEY AUTH_JWT_SECRET_KEY JWT_SECRET_KEY BACKUP_VERIFY_URL" (include "idp.databaseSecrets" .))) | trim }}
{{- include "idp.plainEnvironment" . }}
{{- end -}}
