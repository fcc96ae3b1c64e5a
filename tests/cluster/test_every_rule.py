"""Nothing in the chart's rights and policies is there for nothing: with any right, rule, expression or part of one
missing, something is allowed that should not be, or the other way round. And what it grants is enough.

What is missing is made from the objects that the chart installs, so that a new rule needs a new case here or in
token_policy.py, injection.py or rights.py: without one, a test fails and names the rule."""

import pytest

import crds
import injection
import mutants
import rights
import token_policy
from api import Refused
from in_force import Marker
from simulator import wait_until

SOURCES = ["caller", "request", "impersonate", "projected", "auto"]


def unnoticed_rights(admin, mutated, outcomes):
    """Those mutants that make no difference to the outcomes within some seconds."""
    usual, found = outcomes(), []
    for path, body in mutated:
        for mutant in mutants.mutants_of(path, body):
            mutant.apply(admin)
            try:
                wait_until(lambda: outcomes() != usual, 4, "a difference", 0.02)
            except AssertionError:
                found.append(str(mutant))
            finally:
                mutant.undo(admin)
            wait_until(lambda: outcomes() == usual, 10, f"an undone change ({mutant})", 0.02)
    return found


def unnoticed_policies(admin, mutated, outcomes, marker, known=()):
    """Those mutants that make no difference to the outcomes when they are in force. Those of known entries are left
    out."""
    marker.await_all()
    usual, found = outcomes(), []
    for path, body in mutated:
        for mutant in mutants.mutants_of(path, body):
            if mutant.entry in known:
                continue
            try:
                mutant.apply(admin)
            except Refused as refusal:
                assert refusal.status == 422  # the API server itself notices
                continue
            try:
                marker.await_all()
                if outcomes() == usual:
                    found.append(str(mutant))
            finally:
                mutant.undo(admin)
    marker.await_all()
    assert outcomes() == usual
    return found


def of_kind(ground, *kinds):
    found = [(path, body) for path, body in mutants.objects_of(ground.admin, "credlet") if body["kind"] in kinds]
    assert {body["kind"] for _, body in found} == set(kinds)
    return found


RIGHTS = ("ClusterRole", "ClusterRoleBinding")
ONE_NAMED = ("--set", "tokenRequest.namespaces={enabled}")
ALL_NAMED = ("--set", "tokenRequest.namespaces={enabled,podless,credlet}")


def statuses(requests):
    return {what: api.status(method, path, body) for what, api, method, path, body in requests}


@pytest.mark.parametrize("source, values, kinds", [
    *((source, (), RIGHTS) for source in SOURCES), ("request", ONE_NAMED, (*RIGHTS, "RoleBinding"))])
def test_rights_are_enough_and_no_more_and_each_is_needed(ground, token_world, as_installed, source, values, kinds):
    as_installed(source, *values)
    token_world.replace_daemon()
    wait_until(lambda: set(statuses(rights.forbidden(token_world, source)).values()) == {403}, 10, "refusals", 0.1)

    def allowed():
        return {what: status < 300 for what, status in statuses(rights.needed(token_world, source)).items()}
    wait_until(lambda: all(allowed().values()), 10, "all that is needed", 0.1)
    assert unnoticed_rights(ground.admin, of_kind(ground, *kinds), allowed) == []


def test_on_openshift_the_daemon_alone_may_use_its_constraint(ground, as_installed):
    crds.install(ground)
    as_installed("caller", "--set", "openshift.enabled=true")

    def may_use(account):
        """OpenShift's admission asks this for a pod's service account."""
        review = ground.admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {
            "user": f"system:serviceaccount:credlet:{account}",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:credlet", "system:authenticated"],
            "resourceAttributes": {"verb": "use", "group": "security.openshift.io", "name": "credlet",
                                   "resource": "securitycontextconstraints", "namespace": "credlet"}}})
        return review["status"]["allowed"]

    def who_may():
        return {account: may_use(account) for account in ("credlet", "other")}
    wait_until(lambda: who_may() == {"credlet": True, "other": False}, 5, "the right")
    assert unnoticed_rights(ground.admin, of_kind(ground, "Role", "RoleBinding"), who_may) == []


@pytest.fixture
def marker(ground, request):
    made = Marker(ground.admin, request.param)
    yield made
    made.remove()


@pytest.fixture
def allowed_everywhere(ground):
    """Rights that somebody has given the daemon besides the chart's: the policies must hold all the same."""
    path = f"{mutants.RBAC}/clusterrolebindings"
    ground.admin.create(path, {
        "metadata": {"name": "too-much"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "credlet-token-request"},
        "subjects": [{"kind": "ServiceAccount", "name": "credlet", "namespace": "credlet"}]})
    yield
    ground.admin.delete(f"{path}/too-much")


@pytest.mark.parametrize("marker", ["Validating"], indirect=True)
@pytest.mark.parametrize("values", [(), ALL_NAMED], ids=["labelled namespaces", "named namespaces"])
@pytest.mark.parametrize("policy", ["credlet-token-request", "credlet-token-request-own-node"])
def test_each_part_of_the_policies_on_token_requests_matters(ground, token_world, as_installed, allowed_everywhere,
                                                             policy, values, marker):
    """Each policy by itself: where both refuse, one of them hides what the other lacks. With other values, what these
    change."""
    as_installed("auto")
    usual = of_kind(ground, "ValidatingAdmissionPolicy")
    as_installed("auto", *values)
    known = [entry for _, body in usual for field in ("matchConditions", "validations")
             for entry in body["spec"][field]]
    both = of_kind(ground, "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    this = [(path, body) for path, body in both if path.endswith("/" + policy)]
    others = [mutants.Mutant(path, "gone", None, body) for path, body in both
              if body["kind"].endswith("Binding") and (path, body) not in this]
    assert len(this) == 2 and len(others) == 1
    cases = [make(token_world) for make in token_policy.CASES.values()]

    def outcomes():
        return [token_policy.outcome(case.ask()) for case in cases]
    for other in others:
        other.apply(ground.admin)
    try:
        assert unnoticed_policies(ground.admin, this, outcomes, marker, known if values else ()) == []
    finally:
        for other in others:
            other.undo(ground.admin)
        marker.await_all()


@pytest.mark.parametrize("marker", ["Mutating"], indirect=True)
def test_each_part_of_the_injection_matters(ground, injecting, marker):
    def outcomes():
        return [injection.outcome(injection.create(ground.admin, name)) for name in injection.CASES]
    chart = of_kind(ground, "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
    assert unnoticed_policies(ground.admin, chart, outcomes, marker) == []
