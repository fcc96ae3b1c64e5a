"""A control plane, an STS that trusts it, and the chart in it."""

import pathlib

import objects
from control_plane import ControlPlane
from in_force import Marker
from simulator import Simulator

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "credlet"
REGION = "eu-west-1"
WORKLOADS = "prod"


def start_cluster(directory, **how):
    """A control plane that publishes its issuer's keys, as a cluster with an issuer of its own does, and has a
    namespace for workloads."""
    plane = ControlPlane(directory, **how)
    plane.admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
        "metadata": {"name": "published-issuer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                    "name": "system:service-account-issuer-discovery"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"}]})
    objects.namespace(plane.admin, WORKLOADS, {"credlet.io/enabled": "true"})
    return plane


def start_sts(directory, plane):
    """Fetches the keys of the cluster's issuer where the API server publishes them."""
    return Simulator(directory, {"settings": {
        "issuer": plane.issuer, "region": REGION, "provider": {"url": plane.url, "ca_file": plane.ca_file}}})


def install(plane, name, source, *values):
    """The chart, by Helm, for one token source, its policies in force. The release, its namespace and its service
    account have one name."""
    plane.helm("upgrade", "--install", name, CHART, "--namespace", name, "--create-namespace",
               "--set", f"fullnameOverride={name},region={REGION},tokenSource={source}", *values)
    marker = Marker(plane.admin, "Validating")
    marker.await_all()
    marker.remove()
    return name
