"""The chart and a real API server: what it renders is valid there, without a warning; Helm installs it, changes it and
takes it away again."""

import json

import pytest
import yaml

import crds
import mutants
import objects
from clusters import CHART, REGION
from simulator import wait_until

SOURCES = ["caller", "request", "impersonate", "projected", "auto"]
EVERYTHING = {
    "injection": {"enabled": True},
    "metrics": {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}},
    "networkPolicy": {"enabled": True, "namespaces": ["prod"]}, "flowSchema": {"enabled": True},
    "openshift": {"enabled": True}, "rbac": {"issuerDiscovery": True},
    "rolePolicy": {"rules": [{"namespaces": ["prod"], "roles": ["arn:aws:iam::123456789012:role/*"]}]}}
VALUES = {
    **{f"source {source}": {"tokenSource": source} for source in SOURCES},
    **{f"everything, source {source}": {"tokenSource": source, **EVERYTHING} for source in SOURCES},
    **{f"listening in pods, source {source}": {"tokenSource": source, "listener": {"mode": "pod"}} for source in SOURCES},
    "listening in pods on OpenShift, injected": {
        "listener": {"mode": "pod"}, "openshift": {"enabled": True}, "injection": {"enabled": True}},
    "listening on both, everything": {"listener": {"mode": "both"}, **EVERYTHING},
    "named namespaces": {"tokenSource": "request", "tokenRequest": {"namespaces": ["prod", "default"]}},
    "no token injected": {"injection": {"enabled": True, "token": {"enabled": False}}},
    "IPv6": {"listener": {"addresses": ["169.254.170.23", "fd00:ec2::23"]}, **EVERYTHING},
    "Cilium": {"networkPolicy": {"enabled": True, "namespaces": ["prod"], "flavor": "cilium"}},
    "a ServiceMonitor": {"metrics": {"serviceMonitor": {"enabled": True}}},
    "no link, no metrics": {"listener": {"link": {"create": False}}, "metrics": {"enabled": False}},
    "zones": {"imds": {"zoneFromNode": True}},
    "a port above 1024": {"listener": {"port": 8080}},
}


@pytest.fixture(scope="module")
def cluster(plane):
    """With the definitions that the chart's objects for others are of."""
    crds.install(plane)
    objects.namespace(plane.admin, "dry", {"pod-security.kubernetes.io/enforce": "privileged"})
    objects.service_account(plane.admin, "dry", "default")
    return plane


@pytest.fixture
def values_file(tmp_path):
    def write(values):
        (tmp_path / "values.json").write_text(json.dumps({"region": REGION, **values}))
        return tmp_path / "values.json"
    return write


@pytest.mark.parametrize("name", VALUES)
def test_all_that_is_rendered_is_valid_and_raises_no_warning(cluster, values_file, name):
    version = cluster.admin.get("/version")["gitVersion"]
    rendered = cluster.helm("template", "credlet", CHART, "--namespace", "dry", "--kube-version", version,
                            "--values", values_file(VALUES[name]))
    for body in yaml.safe_load_all(rendered.stdout):
        reply = cluster.admin.apply(body, dry_run=True)
        assert reply.status in (200, 201) and reply.warnings == [], (body["kind"], reply, reply.warnings)


def test_helm_installs_changes_and_uninstalls_it(cluster, values_file):
    """All of it, and nothing remains."""
    where = ("whole", "--namespace", "whole")

    def run(*command):
        done = cluster.helm(*command)
        assert "WARN" not in done.stderr.upper(), done.stderr
        return done.stdout
    run("install", where[0], CHART, *where[1:], "--create-namespace", "--values",
        values_file({"tokenSource": "auto", **EVERYTHING}))
    before = kinds(cluster, "whole")
    assert before == {"ClusterRole": 4, "ClusterRoleBinding": 5, "MutatingAdmissionPolicy": 1,
                      "MutatingAdmissionPolicyBinding": 2, "Role": 1, "RoleBinding": 1,
                      "ValidatingAdmissionPolicy": 2, "ValidatingAdmissionPolicyBinding": 2}
    run("upgrade", where[0], CHART, *where[1:], "--values", values_file({"tokenSource": "impersonate"}))
    assert kinds(cluster, "whole") == {"ClusterRole": 3, "ClusterRoleBinding": 3}
    run("rollback", *where)
    assert kinds(cluster, "whole") == before
    run("uninstall", *where)
    assert kinds(cluster, "whole") == {}
    others = ("daemonsets", "serviceaccounts", "configmaps", "roles", "rolebindings", "podmonitors", "prometheusrules",
              "networkpolicies", "securitycontextconstraints", "flowschemas")
    left = cluster.kubectl("get", ",".join(others), "--all-namespaces", "--output", "name", "--selector",
                           "app.kubernetes.io/instance=whole")
    assert left.stdout == ""


def kinds(cluster, release):
    found = [body["kind"] for _, body in mutants.objects_of(cluster.admin, release)]
    return {kind: found.count(kind) for kind in sorted(set(found))}


MODES = ("node", "pod", "both")


def test_the_daemon_set_is_admitted_and_makes_pods(cluster):
    """With its controller running: a pod on each node, of the critical priority, past all admission; in every
    listener.mode."""
    objects.node(cluster.admin, "roll-1")
    objects.node(cluster.admin, "roll-2")
    for mode in MODES:
        objects.namespace(cluster.admin, f"rolled-{mode}", {"pod-security.kubernetes.io/enforce": "privileged"})
        cluster.helm("install", f"rolled-{mode}", CHART, "--namespace", f"rolled-{mode}", "--set",
                     f"region={REGION},tokenSource=caller,listener.mode={mode}")

    def pods(mode):
        found = cluster.admin.get(f"/api/v1/namespaces/rolled-{mode}/pods")["items"]
        return {pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
                ["nodeSelectorTerms"][0]["matchFields"][0]["values"][0]: pod["spec"] for pod in found}
    controllers = cluster.start_controller_manager("--controllers=daemonset-controller")
    try:
        wait_until(lambda: all({"roll-1", "roll-2"} <= set(pods(mode)) for mode in MODES), 30, "the daemon sets' pods")
    finally:
        cluster.stop_program(controllers)
    for mode in MODES:
        pod = pods(mode)["roll-1"]
        assert (pod.get("hostNetwork", False), pod.get("hostPID", False)) == (mode != "pod", mode != "node")
        assert pod["priority"] == 2000001000 and pod["priorityClassName"] == "system-node-critical"
        assert not any(port for one in pod["containers"] for port in one.get("ports", []))


@pytest.mark.parametrize("mode", ["pod", "both"])
def test_what_listeners_in_pods_take_is_stored_as_it_is_rendered(cluster, values_file, mode):
    """And not dropped, as a field that this Kubernetes does not know would be. Only the short name of the capability may
    stand beside allowPrivilegeEscalation: false."""
    version = cluster.admin.get("/version")["gitVersion"]
    rendered = cluster.helm("template", "credlet", CHART, "--namespace", "dry", "--kube-version", version,
                            "--values", values_file({"listener": {"mode": mode}}))
    body = next(one for one in yaml.safe_load_all(rendered.stdout) if one["kind"] == "DaemonSet")

    def container(daemon_set):
        return daemon_set["spec"]["template"]["spec"]["containers"][0]
    stored = container(cluster.admin.apply(body, dry_run=True).json)
    assert stored["securityContext"] == container(body)["securityContext"]
    assert stored["securityContext"]["allowPrivilegeEscalation"] is False
    assert stored["volumeMounts"] == container(body)["volumeMounts"]
    added = container(body)["securityContext"]["capabilities"]["add"]
    added[added.index("SYS_ADMIN")] = "CAP_SYS_ADMIN"
    refused = cluster.admin.apply(body, dry_run=True)
    assert refused.status == 422 and "cannot set `allowPrivilegeEscalation` to false" in refused.message


@pytest.mark.parametrize("mode", MODES)
def test_only_a_privileged_namespace_admits_the_daemon(cluster, values_file, mode):
    """Which the README and the notes say; the API server warns where a DaemonSet's pods would be refused."""
    objects.namespace(cluster.admin, f"baseline-{mode}", {"pod-security.kubernetes.io/warn": "baseline"})
    version = cluster.admin.get("/version")["gitVersion"]
    rendered = cluster.helm("template", "credlet", CHART, "--namespace", f"baseline-{mode}", "--kube-version", version,
                            "--values", values_file({"listener": {"mode": mode}}))
    body = next(one for one in yaml.safe_load_all(rendered.stdout) if one["kind"] == "DaemonSet")
    warning, = cluster.admin.apply(body, dry_run=True).warnings
    assert "would violate PodSecurity" in warning
    for why in (["hostNetwork=true"] if mode != "pod" else []) + (
            ["hostPID=true", "SYS_ADMIN", "hostPath volumes", "spc_t", "AppArmor"] if mode != "node" else []):
        assert why.lower() in warning.lower(), warning
