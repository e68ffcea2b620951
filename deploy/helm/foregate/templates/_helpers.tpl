{{- define "foregate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "foregate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "foregate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "foregate.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "foregate.selector" -}}
app.kubernetes.io/name: {{ include "foregate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "foregate.serverSelector" -}}
{{ include "foregate.selector" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "foregate.labels" -}}
{{ include "foregate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "foregate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "foregate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "foregate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "foregate.modelsClaim" -}}
{{- if eq .Values.model.volume.type "create" -}}
{{ include "foregate.fullname" . }}-models
{{- else -}}
{{ required "model.volume.claim: the name of a PersistentVolumeClaim" .Values.model.volume.claim }}
{{- end -}}
{{- end -}}

{{- /* What is served: the model itself, or what it is packed to. */ -}}
{{- define "foregate.served" -}}
{{- if eq .Values.pack.mode "init" -}}
/packed/{{ base .Values.model.path }}-{{ .Values.pack.quantization }}
{{- else if eq .Values.pack.mode "job" -}}
{{ trimSuffix "/" .Values.model.path }}.packed-{{ .Values.pack.quantization }}
{{- else -}}
{{ .Values.model.path }}
{{- end -}}
{{- end -}}

{{- define "foregate.packArguments" -}}
- pack
- {{ .Values.model.path | quote }}
- {{ include "foregate.served" . | quote }}
{{- if ne .Values.pack.quantization "none" }}
- --quantization
- {{ .Values.pack.quantization }}
{{- end }}
{{- end -}}

{{- define "foregate.modelsVolume" -}}
{{- $volume := .Values.model.volume -}}
{{- if eq $volume.type "hostPath" }}
- name: models
  hostPath:
    path: {{ required "model.volume.hostPath: a folder of the node" $volume.hostPath | quote }}
    type: Directory
{{- else if ne $volume.type "image" }}
- name: models
  persistentVolumeClaim:
    claimName: {{ include "foregate.modelsClaim" . }}
{{- end }}
{{- end -}}

{{- define "foregate.cacheVolume" -}}
{{- $cache := .Values.pack.cache -}}
- name: packed
{{- if eq $cache.type "hostPath" }}
  hostPath:
    path: {{ required "pack.cache.hostPath: a folder of the node" $cache.hostPath | quote }}
    type: Directory
{{- else if eq $cache.type "ephemeral" }}
  ephemeral:
    volumeClaimTemplate:
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $cache.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ $cache.size }}
{{- else }}
  emptyDir:
    sizeLimit: {{ $cache.size }}
{{- end }}
{{- end -}}

{{- /* Where a probe asks: (list . path). It believes any certificate. */ -}}
{{- define "foregate.probe" -}}
{{- if (index . 0).Values.tls.secret -}}
{path: {{ index . 1 }}, port: http, scheme: HTTPS}
{{- else -}}
{path: {{ index . 1 }}, port: http}
{{- end -}}
{{- end -}}

{{- define "foregate.config" -}}
{{- $config := deepCopy .Values.options -}}
{{- $_ := set $config "model" (include "foregate.served" .) -}}
{{- $_ := set $config "served_model_name" (default (base .Values.model.path) .Values.model.name) -}}
{{- $_ := set $config "host" "0.0.0.0" -}}
{{- $_ := set $config "port" 8000 -}}
{{- $_ := set $config "grpc" .Values.grpc.enabled -}}
{{- $_ := set $config "grpc_port" 50051 -}}
{{- $_ := set $config "device" .Values.device -}}
{{- if .Values.tls.secret -}}
{{- $_ := set $config "ssl_certfile" (printf "/etc/foregate-tls/%s" .Values.tls.certKey) -}}
{{- $_ := set $config "ssl_keyfile" (printf "/etc/foregate-tls/%s" .Values.tls.keyKey) -}}
{{- end -}}
{{- $_ := set $config "shutdown_timeout" .Values.shutdown.timeoutSeconds -}}
{{ toYaml $config }}
{{- end -}}

{{- define "foregate.scaled" -}}
{{- if gt (int .Values.ranks.size) 1 -}}
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
{{- else -}}
apiVersion: apps/v1
kind: Deployment
{{- end -}}
{{- end -}}
