"""The admission policies as they are rendered. What they do is proven against a real API server in tests/cluster."""

import pytest

from chart import IN_PODS, MIDDLE, NEWEST, OLDEST, ON_BOTH, TOKEN_SOURCES, listening, of_kind, one, refusal, render

BETA = ("admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy",)
WHOLE, OWN_NODE = "credlet-token-request", "credlet-token-request-own-node"


def policy(objects, name=WHOLE):
    return one(objects, "ValidatingAdmissionPolicy", name)["spec"]


def binding(objects, name=WHOLE):
    return one(objects, "ValidatingAdmissionPolicyBinding", name)["spec"]


def expressions(objects, name=WHOLE):
    return [v["expression"] for v in policy(objects, name)["validations"]]


@pytest.mark.parametrize("source", TOKEN_SOURCES)
def test_there_are_policies_where_the_daemon_requests_tokens_itself(source):
    names = {o["metadata"]["name"] for o in of_kind(render({"tokenSource": source}), "ValidatingAdmissionPolicy")}
    assert names == ({WHOLE, OWN_NODE} if source in ("request", "auto") else set())


def test_they_are_bound_deny_and_fail_closed():
    objects = render()
    for name in (WHOLE, OWN_NODE):
        assert policy(objects, name)["failurePolicy"] == "Fail"
        assert binding(objects, name)["policyName"] == name
        assert binding(objects, name)["validationActions"] == ["Deny"]
        assert policy(objects, name)["matchConstraints"]["resourceRules"] == [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["serviceaccounts/token"]}]
        assert {v["reason"] for v in policy(objects, name)["validations"]} == {"Forbidden"}


def test_they_look_at_the_daemons_requests_only():
    objects = render({"serviceAccount": {"name": "aws"}}, namespace="infra")
    for name in (WHOLE, OWN_NODE):
        assert policy(objects, name)["matchConditions"] == [{
            "name": "only-the-daemon", "expression": "request.userInfo.username == 'system:serviceaccount:infra:aws'"}]
    assert "request.namespace != 'infra' || request.name != 'aws'" in expressions(objects)


def test_values_are_in_the_expressions():
    objects = render({"audience": "openshift", "extraAudiences": ["sts.amazonaws.com", "openshift"],
                      "tokenRequest": {"lifetimeSeconds": 43200}})
    said = " ".join(expressions(objects))
    assert 'in ["openshift","sts.amazonaws.com"]' in said
    assert "<= 43200" in said


def test_the_policy_on_nodes_covers_every_namespace_that_the_other_lets_through():
    labelled = render()
    assert any("labels[?'credlet.io/enabled'].orValue('') == 'true'" in e for e in expressions(labelled))
    assert binding(labelled, OWN_NODE)["matchResources"] == {
        "namespaceSelector": {"matchLabels": {"credlet.io/enabled": "true"}}}
    named = render({"tokenRequest": {"namespaces": ["a", "b"]}})
    assert 'request.namespace in ["a","b"]' in expressions(named)
    assert binding(named, OWN_NODE)["matchResources"] == {"namespaceSelector": {"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a", "b"]}]}}
    assert "matchResources" not in binding(labelled) and "matchResources" not in binding(named)


def test_the_policy_on_nodes_has_the_namespaces_pods_as_parameters():
    objects = render()
    assert policy(objects, OWN_NODE)["paramKind"] == {"apiVersion": "v1", "kind": "Pod"}
    assert binding(objects, OWN_NODE)["paramRef"] == {"selector": {}, "parameterNotFoundAction": "Allow"}


def test_the_daemon_recognises_the_refusal_that_may_pass():
    """metadata/kubernetes/token_request.cpp looks for these words."""
    assert policy(render(), OWN_NODE)["validations"][0]["message"] == "the bound pod is not on the caller's node"


# Injection


def inject(values=None, **how):
    objects = render({"injection": {"enabled": True, **(values or {})}}, **how)
    return one(objects, "MutatingAdmissionPolicy"), of_kind(objects, "MutatingAdmissionPolicyBinding")


def test_injection_is_asked_for():
    assert not of_kind(render(), "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")


@pytest.mark.parametrize("kube", [OLDEST, MIDDLE, "1.35.9"])
def test_injection_is_refused_where_kubernetes_does_not_have_it(kube):
    assert "injection.enabled needs MutatingAdmissionPolicy" in refusal({"injection": {"enabled": True}}, kube=kube)


def test_injection_is_v1_or_what_the_cluster_serves():
    assert inject()[0]["apiVersion"] == "admissionregistration.k8s.io/v1"
    made, bindings = inject(kube=MIDDLE, served=BETA)
    assert {o["apiVersion"] for o in [made, *bindings]} == {"admissionregistration.k8s.io/v1beta1"}
    assert inject(kube=NEWEST, served=BETA)[0]["apiVersion"] == "admissionregistration.k8s.io/v1"


def test_injection_is_for_labelled_pods_and_for_labelled_namespaces():
    made, bindings = inject()
    assert {b["spec"]["policyName"] for b in bindings} == {made["metadata"]["name"]}
    assert {b["metadata"]["name"]: b["spec"]["matchResources"] for b in bindings} == {
        "credlet-inject-pods": {"objectSelector": {"matchLabels": {"credlet.io/inject": "true"}}},
        "credlet-inject-namespaces": {
            "namespaceSelector": {"matchLabels": {"credlet.io/inject": "true"}},
            "objectSelector": {"matchExpressions": [
                {"key": "credlet.io/inject", "operator": "NotIn", "values": ["true", "false"]}]}}}


@pytest.mark.parametrize("failure", ["Ignore", "Fail"])
def test_injection_fails_as_it_is_told(failure):
    spec = inject({"failurePolicy": failure})[0]["spec"]
    assert spec["failurePolicy"] == failure and spec["reinvocationPolicy"] == "IfNeeded"
    assert {c["name"] for c in spec["matchConditions"]} == {"not-host-network", "not-windows"}


@pytest.mark.parametrize("token", [True, False])
def test_injection_of_the_uri_with_or_without_a_token(token):
    mutations = inject({"token": {"enabled": token, "expirationSeconds": 600}})[0]["spec"]["mutations"]
    applied = [m["applyConfiguration"]["expression"] for m in mutations if m["patchType"] == "ApplyConfiguration"]
    patched = [m["jsonPatch"]["expression"] for m in mutations if m["patchType"] == "JSONPatch"]
    assert len(applied) == 2 and len(patched) == (1 if token else 0)
    for expression, containers in zip(applied, ("containers", "initContainers")):
        assert f"Object.spec.{containers}{{" in expression
        assert "'http://169.254.170.23/v1/credentials'" in expression
        assert ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" in expression) == token
    if token:
        assert "expirationSeconds: 600" in patched[0] and "audience: 'sts.amazonaws.com'" in patched[0]


@pytest.mark.parametrize("values, told", [({}, True), ({"disableNodeMetadata": False}, False)])
def test_injection_tells_pods_not_to_ask_the_node(values, told):
    for mutation in inject(values)[0]["spec"]["mutations"][:2]:
        expression = mutation["applyConfiguration"]["expression"]
        assert ("name: 'AWS_EC2_METADATA_DISABLED', value: 'true'" in expression) == told
        assert ("name: 'AWS_REGION', value: 'eu-west-1'" in expression) == told


@pytest.mark.parametrize("values, uri", [
    ({}, "http://169.254.170.23/v1/credentials"),
    ({"listener": {"addresses": ["fd00:ec2::23"]}}, "http://[fd00:ec2::23]/v1/credentials"),
    ({"listener": {"addresses": ["169.254.170.2", "169.254.170.23"], "port": 8080}},
     "http://169.254.170.2:8080/v1/credentials"),
    ({"injection": {"uri": "http://127.0.0.1:8080/v1/credentials"}}, "http://127.0.0.1:8080/v1/credentials"),
    (listening(IN_PODS), "http://127.0.0.1:9799/v1/credentials"),
    (listening(ON_BOTH), "http://127.0.0.1:9799/v1/credentials"),
    (listening(IN_PODS, pod={"addresses": ["::1", "127.0.0.1"], "port": 1080}), "http://[::1]:1080/v1/credentials"),
    ({**listening(ON_BOTH), "injection": {"uri": "http://169.254.170.23/v1/credentials"}},
     "http://169.254.170.23/v1/credentials"),
])
def test_the_uri_is_where_the_daemon_listens(values, uri):
    injection = {"enabled": True, **values.get("injection", {})}
    made = one(render({**values, "injection": injection}), "MutatingAdmissionPolicy")
    assert f"value: '{uri}'" in made["spec"]["mutations"][0]["applyConfiguration"]["expression"]
