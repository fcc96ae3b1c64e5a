{{/*
What values.schema.json cannot say, or not clearly: values that contradict each other or the cluster. An installation
that would not work, or would be open where nobody expects it, is refused.
*/}}

{{- define "credlet.check" -}}
{{- $kube := .Capabilities.KubeVersion.Version -}}

{{- if and (include "credlet.requestsTokens" .) .Values.rbac.create (not .Values.tokenRequest.namespaces) (not .Values.tokenRequest.policy.enabled) (not .Values.tokenRequest.acknowledgeUnconfined) -}}
{{- fail (printf "tokenSource %s grants create on serviceaccounts/token in all namespaces; without an admission policy that is as good as cluster-admin from any one node. Leave tokenRequest.policy.enabled on, or name tokenRequest.namespaces, or choose another tokenSource. If something else confines these requests, say so with tokenRequest.acknowledgeUnconfined." .Values.tokenSource) -}}
{{- end -}}
{{- if and (eq .Values.tokenSource "impersonate") (not (semverCompare ">=1.36.0-0" $kube)) -}}
{{- fail (printf "tokenSource impersonate needs the constrained impersonation of Kubernetes 1.36; this is %s. Choose request, caller or auto." $kube) -}}
{{- end -}}

{{- if and .Values.injection.enabled (not (include "credlet.mutatingPolicyAPI" .)) -}}
{{- fail (printf "injection.enabled needs MutatingAdmissionPolicy, which Kubernetes has since 1.36 (or as v1beta1 in 1.34 and 1.35, where its feature gate and API are switched on); this is %s. Set the variable in the pods themselves; the notes of the chart show how." $kube) -}}
{{- end -}}

{{- if and .Values.metrics.enabled (include "credlet.listensOnNode" .) (eq (int .Values.metrics.port) (int .Values.listener.port)) -}}
{{- fail "metrics.port is listener.port: pods must not reach the metrics where they ask for credentials." -}}
{{- end -}}

{{- if not (include "credlet.listensOnNode" .) -}}
{{- if and .Values.metrics.enabled (contains "HOST_IP" .Values.metrics.bindAddress) -}}
{{- fail "metrics.bindAddress is the node's address, which the daemon does not have with listener.mode pod: it is not on the host's network. Use $(POD_IP), which is right for every mode." -}}
{{- end -}}
{{- if .Values.networkPolicy.enabled -}}
{{- fail "networkPolicy.enabled is for listener.mode node and both. With pod, pods ask on their own loopback, which no policy forbids." -}}
{{- end -}}
{{- end -}}

{{- if and .Values.rolePolicy.rules .Values.rolePolicy.existingConfigMap -}}
{{- fail "rolePolicy.rules and rolePolicy.existingConfigMap exclude each other." -}}
{{- end -}}
{{- if and .Values.imds.availabilityZone .Values.imds.zoneFromNode -}}
{{- fail "imds.availabilityZone and imds.zoneFromNode exclude each other." -}}
{{- end -}}
{{- if gt (int .Values.limits.connectionsPerPod) (int .Values.limits.connections) -}}
{{- fail "limits.connectionsPerPod is above limits.connections." -}}
{{- end -}}
{{- end -}}
