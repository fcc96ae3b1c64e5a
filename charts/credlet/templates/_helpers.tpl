{{/*
Names and labels.

The labels that select pods never depend on a value, for a DaemonSet's selector is immutable: whatever values are
changed, an upgrade is possible.
*/}}

{{/* 40 characters leave room for the longest suffix within the 63 of a label. */}}
{{- define "credlet.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "credlet.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "credlet.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/component: node-daemon
{{ include "credlet.sharedLabels" . }}
{{- end -}}

{{/* The pod of helm test is none of those that are selected. */}}
{{- define "credlet.testLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-test
app.kubernetes.io/component: test
{{ include "credlet.sharedLabels" . }}
{{- end -}}

{{- define "credlet.sharedLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "credlet.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "credlet.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "credlet.image" -}}
{{- $path := .Values.image.repository -}}
{{- with .Values.image.registry }}{{ $path = printf "%s/%s" . $path }}{{ end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $path .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $path (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What the kinds of token source have in common. Each answers "true" or nothing. */}}
{{- define "credlet.requestsTokens" -}}
{{- if has .Values.tokenSource (list "request" "auto") }}true{{ end -}}
{{- end -}}

{{/* Constrained impersonation is on by default since Kubernetes 1.36; before, its verbs mean nothing. */}}
{{- define "credlet.impersonates" -}}
{{- if eq .Values.tokenSource "impersonate" -}}
true
{{- else if and (eq .Values.tokenSource "auto") (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version) -}}
true
{{- end -}}
{{- end -}}

{{/* The API that MutatingAdmissionPolicies are to be written in; nothing where there is none. */}}
{{- define "credlet.mutatingPolicyAPI" -}}
{{- if semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version -}}
admissionregistration.k8s.io/v1
{{- else if .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy" -}}
admissionregistration.k8s.io/v1beta1
{{- end -}}
{{- end -}}

{{/* Audiences that a token for STS may have, as JSON. */}}
{{- define "credlet.audiences" -}}
{{- concat (list .Values.audience) .Values.extraAudiences | uniq | toJson -}}
{{- end -}}

{{/* Where the daemon listens: each answers "true" or nothing. */}}
{{- define "credlet.listensOnNode" -}}
{{- if ne .Values.listener.mode "pod" }}true{{ end -}}
{{- end -}}

{{- define "credlet.listensInPods" -}}
{{- if ne .Values.listener.mode "node" }}true{{ end -}}
{{- end -}}

{{/* Of a listener (listener, or listener.pod): 169.254.170.23:80,[fd00:ec2::23]:80 */}}
{{- define "credlet.endpoints" -}}
{{- $all := list -}}
{{- $port := int .port -}}
{{- range .addresses -}}
{{- $all = append $all (printf "%s:%d" (include "credlet.host" .) $port) -}}
{{- end -}}
{{- join "," $all -}}
{{- end -}}

{{/* An address as it stands in a URL. */}}
{{- define "credlet.host" -}}
{{- if contains ":" . }}[{{ . }}]{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{- define "credlet.cidr" -}}
{{- . }}/{{ if contains ":" . }}128{{ else }}32{{ end -}}
{{- end -}}

{{/*
What AWS_CONTAINER_CREDENTIALS_FULL_URI is set to. Where the daemon listens on both, new pods are told of their own
listener, while those that were told of the node's still find that one.
*/}}
{{- define "credlet.uri" -}}
{{- if .Values.injection.uri -}}
{{- .Values.injection.uri -}}
{{- else -}}
{{- $listener := include "credlet.listensInPods" . | eq "true" | ternary .Values.listener.pod .Values.listener -}}
{{- $port := int $listener.port -}}
http://{{ include "credlet.host" (first $listener.addresses) }}{{ if ne $port 80 }}:{{ $port }}{{ end }}/v1/credentials
{{- end -}}
{{- end -}}
