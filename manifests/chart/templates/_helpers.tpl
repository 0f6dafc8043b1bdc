{{- define "kcp.selector" -}}
app.kubernetes.io/name: kcp
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "kcp.labels" -}}
{{ include "kcp.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
