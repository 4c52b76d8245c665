{{/* Labels that select the pods of one program. Takes (dict "root" $ "role" "web"). */}}
{{- define "segue.selector" -}}
app.kubernetes.io/name: segue
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "segue.labels" -}}
{{ include "segue.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* How many workers the queue's duration assumes while none is live: the setting WORKERS. */}}
{{- define "segue.planned" -}}
{{ ternary .Values.worker.keda.maxReplicas (max 1 .Values.worker.replicas) .Values.worker.keda.enabled }}
{{- end }}

{{/* Settings of a container. Later ones win. Takes (dict "root" $ "env" (dict …)). */}}
{{- define "segue.env" -}}
{{- $env := dict "METRICS_PORT" "9400" "METRICS_BIND" "0.0.0.0" "WORKERS" (include "segue.planned" .root) }}
{{- range $name, $value := merge (dict) .env .root.Values.settings $env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{/* The pod of a role. Takes (dict "root" $ "role" … "container" … "program" values "command" list "env" dict
     "mounts" (dict path (dict "name" … "size" …)) "more" "YAML of the container" "grace" seconds). */}}
{{- define "segue.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .grace }}
securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .program.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .program.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
containers:
  - name: {{ .container }}
    image: {{ .root.Values.images.prefix }}{{ .program.image }}{{ with .root.Values.images.tag }}:{{ . }}{{ end }}
    imagePullPolicy: {{ .root.Values.images.pullPolicy }}
    command: {{ toJson .command }}
    envFrom: [{secretRef: {name: {{ get .root.Values.secrets .role }}}}]
    env:
      {{- include "segue.env" (dict "root" .root "env" .env) | trim | nindent 6 }}
    resources: {{ toJson .program.resources }}
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    {{- with .more }}
    {{- . | nindent 4 }}
    {{- end }}
    volumeMounts:
      {{- range $path, $volume := .mounts }}
      - {name: {{ $volume.name }}, mountPath: {{ $path }}}
      {{- end }}
      {{- if .root.Values.authorities }}
      - {name: authorities, mountPath: /etc/segue/authorities, readOnly: true}
      {{- end }}
volumes:
  {{- range $path, $volume := .mounts }}
  - {name: {{ $volume.name }}, emptyDir: {sizeLimit: {{ $volume.size }}}}
  {{- end }}
  {{- with .root.Values.authorities }}
  - {name: authorities, configMap: {name: {{ . }}}}
  {{- end }}
{{- end }}

{{/* Takes what segue.pod takes, and "scaled": whether something else sets the number of replicas. */}}
{{- define "segue.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .root.Release.Name }}-{{ .role }}
  labels:
    {{- include "segue.labels" . | nindent 4 }}
spec:
  {{- if not .scaled }}
  replicas: {{ .program.replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "segue.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "segue.selector" . | nindent 8 }}
        segue-metrics: "true"
    spec:
      {{- if eq .role "web" "worker" }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "segue.selector" . | nindent 14 }}
      {{- end }}
      {{- include "segue.pod" . | nindent 6 }}
{{- end }}

{{/* worker/alive.py needs Redis. Without it, a worker is not ready, but is not restarted either: a restart would not end
     the outage. A worker that makes no progress while tickets wait exits by itself (worker/watch.py). */}}
{{- define "segue.worker" -}}
ports: [{name: metrics, containerPort: 9400}]
startupProbe: {exec: {command: [python, -m, worker.alive, worker]}, periodSeconds: 10, timeoutSeconds: 10, failureThreshold: 30}
readinessProbe: {exec: {command: [python, -m, worker.alive, worker]}, periodSeconds: 30, timeoutSeconds: 10}
livenessProbe: {exec: {command: [python, -m, worker.alive, worker, --restarts]}, periodSeconds: 60, timeoutSeconds: 20, failureThreshold: 5}
{{- end }}

{{/* The liveness probe asks for the metrics port only: after a loss of Redis, a housekeeper rebuilds it before it sweeps
     again. A restart would begin that anew. */}}
{{- define "segue.housekeeper" -}}
ports: [{name: metrics, containerPort: 9400}]
startupProbe: {tcpSocket: {port: metrics}, periodSeconds: 5, failureThreshold: 60}
readinessProbe: {exec: {command: [python, -m, worker.alive, housekeeper]}, periodSeconds: 30, timeoutSeconds: 10}
livenessProbe: {tcpSocket: {port: metrics}, periodSeconds: 20, timeoutSeconds: 5, failureThreshold: 6}
{{- end }}

{{/* A training may take hours; its lease shows whether it makes progress. */}}
{{- define "segue.trainer" -}}
ports: [{name: metrics, containerPort: 9400}]
startupProbe: {tcpSocket: {port: metrics}, periodSeconds: 5, failureThreshold: 60}
livenessProbe: {tcpSocket: {port: metrics}, periodSeconds: 20, timeoutSeconds: 5, failureThreshold: 6}
{{- end }}
