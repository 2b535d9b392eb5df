{{- define "caddy-tigergraph.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.Release.Name | trunc 23 | trimSuffix "-") .Chart.Name -}}
{{- end -}}
{{- end -}}

{{- define "caddy-tigergraph.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: edge
{{- end -}}

{{- define "caddy-tigergraph.labels" -}}
{{ include "caddy-tigergraph.selector" . }}
{{ include "caddy-tigergraph.release" . }}
{{- end -}}

{{- define "caddy-tigergraph.release" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "caddy-tigergraph.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The ports that nodes are dialled at, each once. */}}
{{- define "caddy-tigergraph.ports" -}}
{{- $ports := list -}}
{{- $nodes := .Values.tigergraph.nodes -}}
{{- if not $nodes -}}{{- $ports = append $ports "14240" -}}{{- end -}}
{{- range .Values.tigergraph.standby -}}{{- $nodes = concat $nodes .nodes -}}{{- end -}}
{{- range $nodes -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default "14240") -}}
{{- end -}}
{{- $ports | uniq | join " " -}}
{{- end -}}

{{/* Something, unless the site is one of plain HTTP, for which Caddy takes no certificate. */}}
{{- define "caddy-tigergraph.tls" -}}
{{- if not (hasPrefix "http://" .Values.site) -}}yes{{- end -}}
{{- end -}}
