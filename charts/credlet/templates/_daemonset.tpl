{{/*
Parts of the DaemonSet.
*/}}

{{/* Of one container: (list $ context). The values' securityContext has the last word on all that is not in it. */}}
{{- define "credlet.securityContext" -}}
{{- toYaml (merge (index . 1) (index . 0).Values.securityContext) -}}
{{- end -}}

{{/* The daemon's own, as JSON. */}}
{{- define "credlet.daemonSecurityContext" -}}
{{- $capabilities := dict "drop" (list "ALL") -}}
{{- with include "credlet.capabilities" . | fromJsonArray }}{{ $_ := set $capabilities "add" . }}{{ end -}}
{{- $context := dict "capabilities" $capabilities -}}
{{- if or (eq .Values.tokenSource "projected") (include "credlet.listensInPods" .) -}}
{{- /* The kubelet's files, and other containers' processes, have labels that keep containers apart. */ -}}
{{- $_ := set $context "seLinuxOptions" (dict "type" "spc_t") -}}
{{- end -}}
{{- if include "credlet.listensInPods" . -}}
{{- /* Nodes without AppArmor accept this too. */ -}}
{{- $_ := set $context "appArmorProfile" (dict "type" "Unconfined") -}}
{{- end -}}
{{- toJson $context -}}
{{- end -}}

{{/*
What the daemon cannot do without, as JSON. Spelt without CAP_: the API server refuses allowPrivilegeEscalation: false
beside CAP_SYS_ADMIN, and knows no other spelling. It says that no program gets more rights than it was started with,
which holds for this one.
*/}}
{{- define "credlet.capabilities" -}}
{{- $needed := list -}}
{{- if and (include "credlet.listensOnNode" .) (lt (int .Values.listener.port) 1024) -}}
{{- $needed = append $needed "NET_BIND_SERVICE" -}}
{{- end -}}
{{- if include "credlet.listensInPods" . -}}
{{- /* To enter network namespaces, and to see which one another user's process is in. */ -}}
{{- $needed = concat $needed (list "SYS_ADMIN" "SYS_PTRACE") -}}
{{- end -}}
{{- if eq .Values.tokenSource "projected" -}}
{{- /* Tokens of pods that run as somebody are readable for that user alone. */ -}}
{{- $needed = append $needed "DAC_READ_SEARCH" -}}
{{- end -}}
{{- toJson $needed -}}
{{- end -}}

{{- define "credlet.rolePolicyConfigMap" -}}
{{- if .Values.rolePolicy.existingConfigMap -}}
{{- .Values.rolePolicy.existingConfigMap -}}
{{- else if .Values.rolePolicy.rules -}}
{{- include "credlet.fullname" . }}-role-policy
{{- end -}}
{{- end -}}

{{/* Every setting is an environment variable, so that kubectl exec … credlet explain is told the same. */}}
{{- define "credlet.env" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: HOST_IP
  valueFrom:
    fieldRef:
      fieldPath: status.hostIP
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- if include "credlet.listensOnNode" . }}
- name: CREDLET_LISTEN
  value: {{ include "credlet.endpoints" .Values.listener | quote }}
{{- end }}
{{- if include "credlet.listensInPods" . }}
- name: CREDLET_POD_LISTEN
  value: {{ include "credlet.endpoints" .Values.listener.pod | quote }}
- name: CREDLET_POD_LISTEN_FOR
  value: {{ .Values.listener.pod.for }}
- name: CREDLET_MAX_POD_NAMESPACES
  value: {{ .Values.listener.pod.maxNamespaces | toJson | quote }}
- name: CREDLET_CGROUP_DIR
  value: /host/sys/fs/cgroup
{{- end }}
- name: CREDLET_ADMIN_LISTEN
  value: unix:/run/credlet/admin.sock
{{- if .Values.metrics.enabled }}
- name: CREDLET_METRICS_LISTEN
  value: {{ printf "%s:%d" .Values.metrics.bindAddress (int .Values.metrics.port) | quote }}
{{- end }}
- name: CREDLET_REGION
  value: {{ required "region is needed: STS is called in it, and its partition is that of the roles" .Values.region | quote }}
- name: CREDLET_TOKEN_SOURCE
  value: {{ .Values.tokenSource }}
- name: CREDLET_IDENTITY
  value: {{ .Values.identity }}
- name: CREDLET_AUDIENCE
  value: {{ .Values.audience | quote }}
- name: CREDLET_TOKEN_LIFETIME
  value: {{ printf "%ds" (int .Values.tokenRequest.lifetimeSeconds) }}
- name: CREDLET_ANNOTATION_PREFIX
  value: {{ join "," .Values.annotationPrefixes | quote }}
- name: CREDLET_SESSION_SCOPE
  value: {{ .Values.sessionScope }}
- name: CREDLET_STS_REGIONAL_ENDPOINTS
  value: {{ .Values.sts.regionalEndpoints }}
- name: CREDLET_STS_RATE
  value: {{ .Values.sts.rate | toJson | quote }}
- name: CREDLET_STS_BURST
  value: {{ .Values.sts.burst | toJson | quote }}
- name: CREDLET_STS_MAX_IN_FLIGHT
  value: {{ .Values.sts.maxInFlight | toJson | quote }}
- name: CREDLET_MAX_CONNECTIONS
  value: {{ .Values.limits.connections | toJson | quote }}
- name: CREDLET_MAX_CONNECTIONS_PER_POD
  value: {{ .Values.limits.connectionsPerPod | toJson | quote }}
- name: CREDLET_POD_REQUEST_RATE
  value: {{ .Values.limits.requestRatePerPod | toJson | quote }}
- name: CREDLET_POD_REQUEST_BURST
  value: {{ .Values.limits.requestBurstPerPod | toJson | quote }}
- name: CREDLET_DRAIN_TIMEOUT
  value: {{ printf "%ds" (int .Values.drainTimeoutSeconds) }}
- name: CREDLET_LOG_LEVEL
  value: {{ .Values.logLevel }}
- name: CREDLET_LOG_FORMAT
  value: {{ .Values.logFormat }}
{{- range $variable, $value := dict
      "CREDLET_ALLOWED_HOST" (join "," .Values.listener.allowedHosts)
      "CREDLET_AVAILABILITY_ZONE" .Values.imds.availabilityZone
      "CREDLET_CALLER_AUDIENCE" (join "," .Values.callerAudiences)
      "CREDLET_IMDS_V1" (.Values.imds.v1 | ternary "true" "")
      "CREDLET_KUBE_API" .Values.kubeAPI
      "CREDLET_ROLE_ARN_BASE" .Values.roleARNBase
      "CREDLET_STS_CA_FILE" .Values.sts.caFile
      "CREDLET_STS_DUALSTACK" (.Values.sts.dualstack | ternary "true" "")
      "CREDLET_STS_ENDPOINT" .Values.sts.endpoint
      "CREDLET_STS_FIPS" (.Values.sts.fips | ternary "true" "")
      "CREDLET_TOKEN_ISSUER" .Values.tokenIssuer
}}
{{- if $value }}
- name: {{ $variable }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- if .Values.imds.zoneFromNode }}
# Kubernetes gives pods their node's zone as a label (1.35 and later). Without one the variable is empty: not set.
- name: CREDLET_AVAILABILITY_ZONE
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['topology.kubernetes.io/zone']
{{- end }}
{{- if include "credlet.rolePolicyConfigMap" . }}
- name: CREDLET_ROLE_POLICY_FILE
  value: /etc/credlet/role-policy.json
{{- end }}
{{- if eq .Values.tokenSource "projected" }}
- name: CREDLET_KUBELET_PODS_DIR
  value: {{ .Values.kubeletPath }}/pods
{{- end }}
{{- end -}}
