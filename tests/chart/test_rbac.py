"""For each token source exactly the rights that the requests of metadata/kubernetes/ need."""

import pytest

from chart import (IN_PODS, MODES, NEWEST, OLDEST, ON_NODE, TOKEN_SOURCES, listening, of_kind, one, pod_spec, refusal,
                   render)

DAEMON = "system:serviceaccount:credlet:credlet"
NODES = "system:nodes"
READ_ACCOUNTS = {(DAEMON, "*", "", "serviceaccounts", verb) for verb in ("get", "list", "watch")}
READ_PODS = {(DAEMON, "*", "", "pods", verb) for verb in ("get", "list", "watch")}
CREATE_TOKENS = {(DAEMON, "*", "", "serviceaccounts/token", "create")}
ACT_AS_NODE = {(DAEMON, "*", "authentication.k8s.io", "nodes", "impersonate:associated-node"),
               (DAEMON, "*", "", "serviceaccounts/token", "impersonate-on:associated-node:create")}
READ_PODS_AS_NODE = {(DAEMON, "*", "", "pods", f"impersonate-on:associated-node:{verb}")
                     for verb in ("get", "list", "watch")}
NODE_AUDIENCE = {(NODES, "*", "", "sts.amazonaws.com", "request-serviceaccounts-token-audience")}

EXPECTED = {
    ("caller", OLDEST): READ_ACCOUNTS | READ_PODS,
    ("caller", NEWEST): READ_ACCOUNTS | READ_PODS,
    ("projected", OLDEST): READ_ACCOUNTS | READ_PODS,
    ("projected", NEWEST): READ_ACCOUNTS | READ_PODS,
    ("request", OLDEST): READ_ACCOUNTS | READ_PODS | CREATE_TOKENS,
    ("request", NEWEST): READ_ACCOUNTS | READ_PODS | CREATE_TOKENS,
    ("impersonate", NEWEST): READ_ACCOUNTS | ACT_AS_NODE | READ_PODS_AS_NODE | NODE_AUDIENCE,
    ("auto", OLDEST): READ_ACCOUNTS | READ_PODS | CREATE_TOKENS,
    ("auto", NEWEST): READ_ACCOUNTS | READ_PODS | CREATE_TOKENS | ACT_AS_NODE | NODE_AUDIENCE,
}


def subject(of):
    return f"system:serviceaccount:{of['namespace']}:{of['name']}" if of["kind"] == "ServiceAccount" else of["name"]


def rights(objects):
    """(subject, namespace or *, API group, resource, verb) for each right that is granted, and nothing else there is."""
    roles = {(r["kind"], r["metadata"]["name"]): r["rules"] for r in of_kind(objects, "ClusterRole", "Role")}
    used, granted = set(), set()
    for binding in of_kind(objects, "ClusterRoleBinding", "RoleBinding"):
        role = (binding["roleRef"]["kind"], binding["roleRef"]["name"])
        used.add(role)
        for rule in roles[role]:
            assert set(rule) <= {"apiGroups", "resources", "verbs"}, rule
            granted |= {(subject(of), binding["metadata"].get("namespace", "*"), group, resource, verb)
                        for of in binding["subjects"] for group in rule["apiGroups"]
                        for resource in rule["resources"] for verb in rule["verbs"]}
    assert used == set(roles), "a role that nobody has"
    return granted


@pytest.mark.parametrize("source, kube", EXPECTED, ids=" ".join)
def test_the_rights_of_a_token_source(source, kube):
    assert rights(render({"tokenSource": source}, kube=kube)) == EXPECTED[source, kube]


@pytest.mark.parametrize("source", TOKEN_SOURCES)
def test_nothing_that_makes_an_administrator(source):
    for _, _, group, resource, verb in rights(render({"tokenSource": source})):
        assert "*" not in (group, resource, verb)
        assert verb not in ("escalate", "bind", "impersonate", "update", "patch", "delete", "deletecollection", "approve")
        assert resource not in ("secrets", "nodes/proxy", "pods/exec", "pods/attach", "configmaps")


def test_the_daemon_has_the_name_and_namespace_of_the_release():
    objects = render({"tokenSource": "impersonate", "serviceAccount": {"name": "aws"}}, namespace="infra")
    assert {who for who, *_ in rights(objects)} == {"system:serviceaccount:infra:aws", NODES}


def test_named_namespaces_bound_the_right_to_create_tokens():
    objects = render({"tokenSource": "request", "tokenRequest": {"namespaces": ["a", "b"]}})
    assert rights(objects) == READ_ACCOUNTS | READ_PODS | {
        (DAEMON, namespace, "", "serviceaccounts/token", "create") for namespace in ("a", "b")}


def test_nodes_may_request_each_audience_that_is_named():
    objects = render({"tokenSource": "impersonate", "audience": "openshift", "extraAudiences": ["sts.amazonaws.com"]})
    audiences = {resource for who, _, _, resource, _ in rights(objects) if who == NODES}
    assert audiences == {"openshift", "sts.amazonaws.com"}


@pytest.mark.parametrize("source", ["request", "auto"])
def test_tokens_of_all_namespaces_need_a_policy_or_an_acknowledgement(source):
    def values(**request):
        return {"tokenSource": source, "tokenRequest": {"policy": {"enabled": False}, **request}}
    assert "as good as cluster-admin" in refusal(values())
    for confined in (values(namespaces=["a"]), values(acknowledgeUnconfined=True)):
        assert not of_kind(render(confined), "ValidatingAdmissionPolicy")


def test_issuer_discovery_is_bound_where_asked_for():
    binding = one(render({"rbac": {"issuerDiscovery": True}}), "ClusterRoleBinding", "credlet-issuer-discovery")
    assert binding["roleRef"]["name"] == "system:service-account-issuer-discovery"
    assert [subject(of) for of in binding["subjects"]] == [DAEMON]


def test_openshift_lets_only_the_daemon_use_the_constraints():
    objects = render({"openshift": {"enabled": True}})
    role = one(objects, "Role", "credlet-scc")
    assert role["rules"] == [{"apiGroups": ["security.openshift.io"], "resources": ["securitycontextconstraints"],
                              "resourceNames": ["credlet"], "verbs": ["use"]}]
    binding = one(objects, "RoleBinding", "credlet-scc")
    assert binding["roleRef"]["name"] == "credlet-scc" and [subject(of) for of in binding["subjects"]] == [DAEMON]
    scc = one(objects, "SecurityContextConstraints")
    assert not scc.get("users") and not scc.get("groups") and scc["priority"] == 0
    pod = one(objects, "DaemonSet")["spec"]["template"]
    assert pod["metadata"]["annotations"]["openshift.io/required-scc"] == scc["metadata"]["name"]


@pytest.mark.parametrize("mode", MODES)
def test_the_rights_do_not_depend_on_where_the_daemon_listens(mode):
    for source, kube in EXPECTED:
        assert rights(render({"tokenSource": source, **listening(mode)}, kube=kube)) == EXPECTED[source, kube]


@pytest.mark.parametrize("source", TOKEN_SOURCES)
@pytest.mark.parametrize("mode, listener", [
    *((mode, {}) for mode in MODES), (ON_NODE, {"port": 8080}), (ON_NODE, {"link": {"create": False}})], ids=str)
def test_openshifts_constraints_allow_what_the_daemonset_has_and_no_more(source, mode, listener):
    objects = render({"openshift": {"enabled": True}, "tokenSource": source, **listening(mode, **listener)})
    scc = one(objects, "SecurityContextConstraints")
    pod = pod_spec(objects)
    containers = pod["containers"] + pod.get("initContainers", [])
    added = {name for c in containers for name in c["securityContext"]["capabilities"].get("add", [])}
    assert set(scc["allowedCapabilities"]) == added
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    assert kinds <= set(scc["volumes"]) <= kinds | {"configMap", "secret"}
    assert scc["allowHostDirVolumePlugin"] == ("hostPath" in kinds)
    custom_label = any("seLinuxOptions" in c["securityContext"] for c in containers)
    assert (scc["seLinuxContext"]["type"] == "RunAsAny") == custom_label
    assert scc["allowHostNetwork"] == scc["allowHostPorts"] == pod.get("hostNetwork", False) == (mode != IN_PODS)
    assert scc["allowHostPID"] == pod.get("hostPID", False) == (mode != ON_NODE)
    assert scc["requiredDropCapabilities"] == ["ALL"]
    for never in ("allowHostIPC", "allowPrivilegedContainer", "allowPrivilegeEscalation"):
        assert scc[never] is False
    assert scc["readOnlyRootFilesystem"] is True and scc["seccompProfiles"] == ["runtime/default"]
