"""Kubernetes objects as tests need them, made through the API with the names of the field. No kubelet runs: who makes
a pod says on which node it is and how it is."""

IMAGE = "registry.example/app:1"


def namespace(api, name, labels=None):
    return api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels or {}}})


def node(api, name, address="10.0.0.1"):
    made = api.create("/api/v1/nodes", {"metadata": {"name": name, "labels": {
        "kubernetes.io/os": "linux", "kubernetes.io/hostname": name}}})
    api.patch(f"/api/v1/nodes/{name}/status", {"status": {
        "addresses": [{"type": "InternalIP", "address": address}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": "as a test says"}]}})
    return made


def service_account(api, namespace_name, name, annotations=None):
    return api.create(f"/api/v1/namespaces/{namespace_name}/serviceaccounts",
                      {"metadata": {"name": name, "annotations": annotations or {}}})


def annotate_service_account(api, namespace_name, name, **annotations):
    """Under credlet.io/, with `_` for `-`; None removes."""
    named = {f"credlet.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return api.patch(f"/api/v1/namespaces/{namespace_name}/serviceaccounts/{name}",
                     {"metadata": {"annotations": named}})


def token_volume(audience="sts.amazonaws.com", seconds=3600, name="credlet-token"):
    return {"name": name, "projected": {"sources": [{"serviceAccountToken": {
        "audience": audience, "expirationSeconds": seconds, "path": "token"}}]}}


def pod_body(name, account="default", node_name=None, host_network=False, labels=None, annotations=None, **spec):
    """Further fields of the spec as they are: volumes, initContainers, ..."""
    body = {"metadata": {"name": name, "labels": labels or {}, "annotations": annotations or {}},
            "spec": {"serviceAccountName": account, "containers": [{"name": "app", "image": IMAGE}],
                     "terminationGracePeriodSeconds": 30, **spec}}
    if node_name:
        body["spec"]["nodeName"] = node_name
    if host_network:
        body["spec"]["hostNetwork"] = True
    return body


def pod(api, namespace_name, name, account="default", node_name=None, ips=(), phase="Running", **how):
    """As it is once the kubelet has said so; without a node or addresses: as it is before."""
    made = api.create(f"/api/v1/namespaces/{namespace_name}/pods", pod_body(name, account, node_name, **how))
    if node_name and (ips or phase != "Pending"):
        made = pod_status(api, namespace_name, name, ips, phase)
    return made


def pod_status(api, namespace_name, name, ips=None, phase=None):
    status = {"hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}]}
    if phase is not None:
        status["phase"] = phase
    if ips is not None:
        status["podIP"] = ips[0] if ips else None
        status["podIPs"] = [{"ip": ip} for ip in ips]
    return api.patch(f"/api/v1/namespaces/{namespace_name}/pods/{name}/status", {"status": status})


def delete_pod(api, namespace_name, name, grace=0):
    return api.delete(f"/api/v1/namespaces/{namespace_name}/pods/{name}", grace)


def token_request(audiences=None, seconds=3600, bound_to=None, kind="Pod"):
    """The body of a TokenRequest. bound_to: an object, or its name and uid."""
    spec = {"expirationSeconds": seconds}
    if audiences is not None:
        spec["audiences"] = list(audiences)
    if bound_to is not None:
        if isinstance(bound_to, dict):
            bound_to = bound_to["metadata"]["name"], bound_to["metadata"]["uid"]
        name, uid = bound_to
        spec["boundObjectRef"] = {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}


def token_path(namespace_name, account):
    return f"/api/v1/namespaces/{namespace_name}/serviceaccounts/{account}/token"


def token(api, namespace_name, account, audiences=None, seconds=3600, bound_to=None):
    """A service account's token; without audiences, one for the API server itself."""
    made = api.create(token_path(namespace_name, account), token_request(audiences, seconds, bound_to))
    return made["status"]["token"]
