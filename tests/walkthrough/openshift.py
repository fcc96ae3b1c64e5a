"""What OpenShift has besides Kubernetes, as far as the page and the chart touch it."""

from simulator import wait_until

NAMES = {"config.openshift.io": ("Authentication", "authentications"),
         "security.openshift.io": ("SecurityContextConstraints", "securitycontextconstraints")}


def make(admin, issuer):
    """The resources, and the cluster's own answer to who its issuer is."""
    for group, (kind, plural) in NAMES.items():
        admin.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {"group": group, "scope": "Cluster", "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                     "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                         "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}})
    for group, (_, plural) in NAMES.items():
        path = f"/apis/{group}/v1/{plural}"
        wait_until(lambda path=path: admin.ask("GET", path).status == 200, 30, path)
    admin.create("/apis/config.openshift.io/v1/authentications", {
        "apiVersion": "config.openshift.io/v1", "kind": "Authentication", "metadata": {"name": "cluster"},
        "spec": {"serviceAccountIssuer": issuer}})
