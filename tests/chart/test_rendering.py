"""Whatever the version of Kubernetes and the values, the objects are well-formed and theirs."""

import itertools
import json

import pytest

from chart import CHART, MIDDLE, NEWEST, OLDEST, TOKEN_SOURCES, VERSIONS, merged, of_kind, one, pod_spec, refusal, render

EXTRAS = {
    "plain": {},
    "openshift": {"openshift": {"enabled": True}},
    "pod monitor": {"metrics": {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True},
                                "dashboard": {"enabled": True}}},
    "service monitor": {"metrics": {"serviceMonitor": {"enabled": True}}},
    "in pods": {"listener": {"mode": "pod"}, "openshift": {"enabled": True},
                "metrics": {"podMonitor": {"enabled": True}}},
    "everything": {
        "listener": {"mode": "both"},
        "commonLabels": {"team": "platform"}, "openshift": {"enabled": True}, "flowSchema": {"enabled": True},
        "metrics": {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}},
        "networkPolicy": {"enabled": True, "namespaces": ["a", "b"]}, "rbac": {"issuerDiscovery": True},
        "rolePolicy": {"rules": [{"namespaces": ["*"], "roles": ["arn:aws:iam::123456789012:role/*"]}]},
        "imds": {"zoneFromNode": True}, "imagePullSecrets": [{"name": "pull"}],
        "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "{{ include \"credlet.fullname\" . }}-extra", "namespace": "{{ .Release.Namespace }}"}}],
    },
}
CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "FlowSchema", "MutatingAdmissionPolicy",
                  "MutatingAdmissionPolicyBinding", "SecurityContextConstraints", "ValidatingAdmissionPolicy",
                  "ValidatingAdmissionPolicyBinding"}
# Since when Kubernetes has them.
VERSIONED = {
    "v1": 0, "apps/v1": 0, "rbac.authorization.k8s.io/v1": 0, "networking.k8s.io/v1": 0,
    "flowcontrol.apiserver.k8s.io/v1": 29,
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"): 30,
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"): 30,
    ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy"): 36,
    ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding"): 36,
    "monitoring.coreos.com/v1": 0, "security.openshift.io/v1": 0, "cilium.io/v2": 0,
}


def possible(kube, source):
    return source != "impersonate" or kube == NEWEST


MATRIX = [(kube, source, extra) for kube, source, extra in itertools.product(VERSIONS, TOKEN_SOURCES, EXTRAS)
          if possible(kube, source)]


@pytest.mark.parametrize("kube, source, extra", MATRIX, ids=" ".join)
def test_objects_are_well_formed(kube, source, extra):
    values = merged(EXTRAS[extra], {"tokenSource": source, "injection": {"enabled": kube == NEWEST}})
    objects = render(values, kube=kube)
    seen = set()
    for thing in objects:
        kind, metadata = thing["kind"], thing["metadata"]
        since = VERSIONED.get(thing["apiVersion"], VERSIONED.get((thing["apiVersion"], kind)))
        assert since is not None and int(kube.split(".")[1]) >= since, (thing["apiVersion"], kind)
        assert len(metadata["name"]) <= 63
        assert ("namespace" in metadata) == (kind not in CLUSTER_SCOPED), kind
        identity = (kind, metadata.get("namespace"), metadata["name"])
        assert identity not in seen
        seen.add(identity)
        if metadata["name"] != "credlet-extra":
            labels = metadata["labels"]
            assert labels["app.kubernetes.io/instance"] == "credlet"
            assert labels["app.kubernetes.io/managed-by"] == "Helm"
            assert {"app.kubernetes.io/name", "app.kubernetes.io/version", "app.kubernetes.io/component",
                    "app.kubernetes.io/part-of", "helm.sh/chart"} <= set(labels)
            assert labels.get("team") == values.get("commonLabels", {}).get("team")


def every_name(objects):
    for thing in objects:
        yield thing["metadata"]["name"]
        yield from thing["metadata"].get("labels", {}).values()
        if "roleRef" in thing:
            yield thing["roleRef"]["name"]


def test_names_fit_whatever_the_release_is_called():
    everything = merged(EXTRAS["everything"], {"injection": {"enabled": True}})
    for values, release in (({}, "a" * 53), ({"nameOverride": "b" * 63}, "a" * 53), ({"fullnameOverride": "c" * 63}, "d")):
        objects = render(merged(everything, values), release=release)
        names = list(every_name(objects))
        assert max(map(len, names)) <= 63
        assert not [name for name in names if name.endswith("-")]


def test_names_follow_the_overrides():
    assert one(render(release="prod"), "DaemonSet")["metadata"]["name"] == "prod-credlet"
    assert one(render({"nameOverride": "aws"}, release="prod"), "DaemonSet")["metadata"]["name"] == "prod-aws"
    assert one(render({"fullnameOverride": "aws"}, release="prod"), "DaemonSet")["metadata"]["name"] == "aws"


def strings(thing):
    if isinstance(thing, dict):
        return all(isinstance(key, str) and strings(value) for key, value in thing.items())
    return isinstance(thing, str)


@pytest.mark.parametrize("word", ["y", "on", "null", "123", "1e3", "0x1f"])
def test_names_that_yaml_takes_for_something_else_stay_names(word):
    values = merged(EXTRAS["everything"], {
        "fullnameOverride": word, "serviceAccount": {"name": word}, "priorityClassName": word,
        "image": {"repository": word, "tag": word}, "test": {"serviceAccountName": word},
        "tokenRequest": {"namespaces": [word]}, "networkPolicy": {"namespaces": [word]},
        "commonLabels": {"team": word}, "flowSchema": {"priorityLevel": word},
        "rolePolicy": {"rules": [], "existingConfigMap": word}, "injection": {"enabled": True}})
    objects = render(values, release=word, namespace=word)
    for thing in objects:
        assert strings(thing["metadata"]), thing["metadata"]
        assert strings(thing.get("roleRef", {})) and all(map(strings, thing.get("subjects", [])))
    for pod in (pod_spec(objects), one(objects, "Pod")["spec"]):
        assert all(strings(pod.get(key, "")) for key in ("serviceAccountName", "priorityClassName", "nodeSelector"))
        assert all(strings(c["image"]) for c in pod["containers"])
    assert one(objects, "DaemonSet")["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] == word
    assert [v["configMap"]["name"] for v in pod_spec(objects)["volumes"] if v["name"] == "role-policy"] == [word]
    for kind in ("ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicyBinding"):
        assert all(strings(binding["spec"]["policyName"]) for binding in of_kind(objects, kind))


@pytest.mark.parametrize("image, reference", [
    ({}, "credlet:0.1.0"),
    ({"registry": "registry.example:5000"}, "registry.example:5000/credlet:0.1.0"),
    ({"repository": "a/b", "tag": "c"}, "a/b:c"),
    ({"tag": "c", "digest": "sha256:" + "1" * 64}, "credlet@sha256:" + "1" * 64),
])
def test_all_containers_have_the_image(image, reference):
    objects = render({"image": {**image, "pullPolicy": "Always"}})
    pods = [pod_spec(objects), one(objects, "Pod")["spec"]]
    containers = [c for pod in pods for c in pod["containers"] + pod.get("initContainers", [])]
    assert len(containers) == 3
    assert {(c["image"], c["imagePullPolicy"]) for c in containers} == {(reference, "Always")}


def test_kubernetes_older_than_1_30_is_refused():
    assert "chart requires kubeVersion: >=1.30.0-0" in refusal(kube="1.29.9")


@pytest.mark.parametrize("kube", [OLDEST, MIDDLE, "1.35.9"])
def test_constrained_impersonation_is_refused_where_there_is_none(kube):
    assert "needs the constrained impersonation of Kubernetes 1.36" in refusal({"tokenSource": "impersonate"}, kube=kube)


@pytest.mark.parametrize("kube", ["1.30.4-eks-1234567", "v1.34.1-gke.100", "1.36.0-rc.1"])
def test_versions_as_vendors_write_them_are_understood(kube):
    assert render(kube=kube)


def test_the_dashboard_and_the_alerts_are_the_files():
    objects = render(EXTRAS["pod monitor"])
    data = one(objects, "ConfigMap", "credlet-dashboard")["data"]
    assert json.loads(data["credlet.json"]) == json.loads((CHART / "files/dashboard.json").read_text())
    assert one(objects, "ConfigMap", "credlet-dashboard")["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_without_a_namespace_of_their_own_monitors_are_in_the_releases():
    for kind, key in (("PodMonitor", "podMonitor"), ("ServiceMonitor", "serviceMonitor"),
                      ("PrometheusRule", "prometheusRule")):
        for given, expected in (("", "credlet"), ("monitoring", "monitoring")):
            made = one(render({"metrics": {key: {"enabled": True, "namespace": given,
                                                 "additionalLabels": {"release": "prometheus"}}}}), kind)
            assert made["metadata"]["namespace"] == expected
            assert made["metadata"]["labels"]["release"] == "prometheus"


def test_nothing_that_was_not_asked_for():
    assert {thing["kind"] for thing in render(kube=OLDEST)} == {
        "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "DaemonSet", "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding", "Pod"}
    assert one(render(kube=OLDEST), "Pod")["metadata"]["annotations"]["helm.sh/hook"] == "test"


def test_without_service_account_and_rbac_none_is_made():
    objects = render({"serviceAccount": {"create": False, "name": "mine"}, "rbac": {"create": False}})
    assert not of_kind(objects, "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    assert pod_spec(objects)["serviceAccountName"] == "mine"
