{{- define "shoal.labels" -}}
app.kubernetes.io/name: shoal
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "shoal.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* The registry that an image name means, as containerd understands it. */ -}}
{{- define "shoal.imageRegistry" -}}
{{- $first := first (splitList "/" .Values.image.repository) -}}
{{- if and (contains "/" .Values.image.repository) (or (contains "." $first) (contains ":" $first) (eq $first "localhost")) }}{{ $first }}{{ else }}docker.io{{ end }}
{{- end }}

{{- define "shoal.least" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- with .Values.seLinuxOptions }}
seLinuxOptions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Where the node has containerd's configuration. The daemon's container has it at the same
place, for it names folders; the one that writes it has it below /host. */ -}}
{{- define "shoal.configDir" -}}
{{- if eq .Values.platform "talos" }}/etc/cri/conf.d/hosts
{{- else if eq .Values.platform "containerd" }}/etc/containerd
{{- else }}/var/lib/rancher/{{ .Values.platform }}/agent/etc/containerd
{{- end }}
{{- end }}

{{- /* What tells "shoal containerd check" the same as the daemon. */ -}}
{{- define "shoal.checkFlags" -}}
{{- if eq .Values.platform "talos" }} --hosts-dir {{ include "shoal.configDir" . }}{{ end }}
{{- with .Values.mirror.containerdVersion }} --containerd-version {{ . }}{{ end }}
{{- end }}

{{- define "shoal.containerdVolume" -}}
- name: containerd
  hostPath:
    path: {{ include "shoal.configDir" . }}
    type: Directory
{{- end }}

{{- define "shoal.contentDir" -}}
{{- if has .Values.platform (list "k3s" "rke2") }}/var/lib/rancher/{{ .Values.platform }}/agent/containerd/io.containerd.content.v1.content
{{- else }}/var/lib/containerd/io.containerd.content.v1.content
{{- end }}
{{- end }}

{{- define "shoal.socketDir" -}}
{{ has .Values.platform (list "k3s" "rke2") | ternary "/run/k3s/containerd" "/run/containerd" }}
{{- end }}

{{- define "shoal.secretName" -}}
{{ .Values.secret.existing | default "shoal" }}
{{- end }}

{{- /* 85 % of the memory limit, for Go's runtime. */ -}}
{{- define "shoal.goMemory" -}}
{{- $limit := .Values.resources.limits.memory -}}
{{- $mebi := trimSuffix "Mi" $limit | atoi -}}
{{- if hasSuffix "Gi" $limit }}{{ $mebi = mul 1024 (trimSuffix "Gi" $limit | atoi) }}{{ end -}}
{{ div (mul $mebi 85) 100 }}MiB
{{- end }}

{{- /* The settings of the daemons, as their file. */ -}}
{{- define "shoal.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if not (hasKey $config "p2p-bootstrap") }}{{ $_ := set $config "p2p-bootstrap" (list "shoal:6051") }}{{ end -}}
{{- toYaml $config }}
{{- end }}
