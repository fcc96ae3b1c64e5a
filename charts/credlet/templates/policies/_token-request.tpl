{{/*
What both policies on token requests have in common.
*/}}

{{- define "credlet.tokenRequest.rule" -}}
- apiGroups: [""]
  apiVersions: [v1]
  operations: [CREATE]
  resources: [serviceaccounts/token]
{{- end -}}

{{/* Nobody else's token requests are looked at: not the kubelets', not those of kubectl create token. */}}
{{- define "credlet.tokenRequest.onlyTheDaemon" -}}
- name: only-the-daemon
  expression: request.userInfo.username == {{ printf "system:serviceaccount:%s:%s" .Release.Namespace (include "credlet.serviceAccountName" .) | squote }}
{{- end -}}

{{/* Kubernetes puts the node of the pod that a token is bound to into the token (1.30 and later). */}}
{{- define "credlet.tokenRequest.variables" -}}
- name: callerNode
  expression: request.userInfo.?extra[?'authentication.kubernetes.io/node-name'][?0].orValue('')
- name: boundUid
  expression: object.spec.?boundObjectRef.?uid.orValue('')
{{- end -}}
