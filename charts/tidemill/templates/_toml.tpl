{{/*
A map as TOML. Helm's own toToml writes every whole number of values.yaml as a float (2.0), which
settings of whole numbers refuse, so this does it.
Arguments: table, and the path of its header ("" at the top).
*/}}
{{- define "tidemill.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .table -}}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ $key | toJson }} = {{ include "tidemill.tomlValue" $value }}
{{- end -}}
{{- end -}}
{{- range $key, $value := .table -}}
{{- if kindIs "map" $value }}
{{- $header := ternary ($key | toJson) (printf "%s.%s" $path ($key | toJson)) (eq $path "") }}

[{{ $header }}]
{{- include "tidemill.toml" (dict "table" $value "path" $header) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tidemill.tomlValue" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- printf "%d" (int64 .) -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}

{{/* The settings file: what the user set, and what follows from the chart. */}}
{{- define "tidemill.settings" -}}
{{- $chart := dict
    "http" (dict "bind" (printf "0.0.0.0:%d" (int .Values.port)))
    "state" (dict "dir" "/var/lib/tidemill")
-}}
{{- include "tidemill.toml" (dict "table" (mergeOverwrite (deepCopy .Values.settings) $chart) "path" "") | trim -}}
{{- end -}}
