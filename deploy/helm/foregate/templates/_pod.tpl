{{- /* The pod that serves: (list . role). Role server stands alone; leader and worker are ranks of one group: the first has the
   clients and rank 0, the others have what both need and wait to be given a rank. */ -}}
{{- define "foregate.pod" -}}
{{- $role := index . 1 -}}
{{- $root := index . 0 -}}
{{- with $root -}}
metadata:
  annotations:
    checksum/config: {{ include "foregate.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "foregate.labels" . | nindent 4 }}
    app.kubernetes.io/component: server
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "foregate.serviceAccount" . }}
  automountServiceAccountToken: false
  # Kubernetes would set FOREGATE_PORT=tcp://... for a service of that name, and the server would take it for its own.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add .Values.shutdown.preStopSeconds .Values.shutdown.timeoutSeconds 10 }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- if ne .Values.pack.mode "none" }}
  initContainers:
    {{- if eq .Values.pack.mode "init" }}
    # Goes on where it stopped when it is started again, and has nothing to do when the model is there.
    - name: pack
      image: {{ include "foregate.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        {{- include "foregate.packArguments" . | nindent 8 }}
    {{- else }}
    - name: wait-for-pack
      image: {{ include "foregate.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [sh, -c, 'until [ -f "$0/model.fgw.index.json" ]; do sleep 2; done']
      args:
        - {{ include "foregate.served" . | quote }}
    {{- end }}
      {{- with .Values.pack.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        {{- if ne .Values.model.volume.type "image" }}
        - name: models
          mountPath: /models
          readOnly: true
        {{- end }}
        {{- if eq .Values.pack.mode "init" }}
        - name: packed
          mountPath: /packed
        {{- end }}
  {{- end }}
  containers:
    - name: foregate
      image: {{ include "foregate.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      {{- if eq $role "server" }}
      args: [serve, --config, /etc/foregate/foregate.yaml]
      {{- else if eq $role "leader" }}
      command: [serve_ranks]
      args: [run, --config, /etc/foregate/foregate.yaml]
      {{- else }}
      command: [serve_ranks]
      args: [host]
      {{- end }}
      env:
        - name: FOREGATE_HOST
          value: 0.0.0.0
        {{- if ne $role "worker" }}
        {{- with .Values.apiKeys.secret }}
        - name: FOREGATE_API_KEY
          valueFrom:
            secretKeyRef:
              name: {{ . }}
              key: {{ $root.Values.apiKeys.key }}
        {{- end }}
        {{- with .Values.adminKey.secret }}
        - name: FOREGATE_ADMIN_API_KEY
          valueFrom:
            secretKeyRef:
              name: {{ . }}
              key: {{ $root.Values.adminKey.key }}
        {{- end }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if eq $role "worker" }}
      ports:
        - name: ssh
          containerPort: 2222
      readinessProbe:
        tcpSocket: {port: ssh}
        {{- toYaml .Values.probes.readiness | nindent 8 }}
      {{- else }}
      ports:
        - name: http
          containerPort: 8000
        {{- if .Values.grpc.enabled }}
        - name: grpc
          containerPort: 50051
        {{- end }}
      startupProbe:
        httpGet: {{ include "foregate.probe" (list . "/health") }}
        {{- toYaml .Values.probes.startup | nindent 8 }}
      readinessProbe:
        httpGet: {{ include "foregate.probe" (list . "/health") }}
        {{- toYaml .Values.probes.readiness | nindent 8 }}
      livenessProbe:
        httpGet: {{ include "foregate.probe" (list . "/health/live") }}
        {{- toYaml .Values.probes.liveness | nindent 8 }}
      {{- if .Values.shutdown.preStopSeconds }}
      lifecycle:
        preStop:
          exec:
            command: [sleep, {{ .Values.shutdown.preStopSeconds | quote }}]
      {{- end }}
      {{- end }}
      resources:
        {{- $resources := deepCopy .Values.resources }}
        {{- if eq .Values.device "cuda" }}
        {{- $limits := default dict $resources.limits }}
        {{- $_ := set $limits "nvidia.com/gpu" .Values.gpus }}
        {{- $_ := set $resources "limits" $limits }}
        {{- end }}
        {{- toYaml $resources | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/foregate
          readOnly: true
        {{- if ne $role "server" }}
        - name: ranks
          mountPath: /etc/foregate-ranks
          readOnly: true
        - name: tmp
          mountPath: /tmp
        {{- end }}
        {{- if and .Values.tls.secret (ne $role "worker") }}
        - name: tls
          mountPath: /etc/foregate-tls
          readOnly: true
        {{- end }}
        {{- if ne .Values.model.volume.type "image" }}
        - name: models
          mountPath: /models
          readOnly: {{ .Values.model.volume.readOnly }}
        {{- end }}
        {{- if eq .Values.pack.mode "init" }}
        - name: packed
          mountPath: /packed
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "foregate.fullname" . }}
    {{- if ne $role "server" }}
    # Not readable by others, or ssh does not take it.
    - name: ranks
      secret:
        secretName: {{ required "ranks.secret: a Secret of type kubernetes.io/ssh-auth that the pods of a group share" .Values.ranks.secret }}
        defaultMode: 0400
    - name: tmp
      emptyDir: {}
    {{- end }}
    {{- with .Values.tls.secret }}
    # Not by subPath: such files never change under a pod that runs.
    - name: tls
      secret:
        secretName: {{ . }}
    {{- end }}
    {{- include "foregate.modelsVolume" . | nindent 4 }}
    {{- if eq .Values.pack.mode "init" }}
    {{- include "foregate.cacheVolume" . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.affinity }}
  affinity:
    {{- toYaml .Values.affinity | nindent 4 }}
  {{- else if and (eq .Values.pack.mode "init") (eq .Values.pack.cache.type "hostPath") }}
  # Two pods must not pack into one folder of a node.
  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "foregate.serverSelector" . | nindent 14 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}
