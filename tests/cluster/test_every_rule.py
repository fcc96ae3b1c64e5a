"""Nothing in the chart's rights and policies is there for nothing: with any right, rule, expression or part of one
missing, something is allowed that should not be, or the other way round. And what it grants is enough.

What is missing is made from the objects that the chart installs, so that a new rule needs a new case here or in
token_policy.py, injection.py or rights.py: without one, a test fails and names the rule."""

import pytest

import injection
import mutants
import rights
import token_policy
from api import Refused
from conftest import install
from in_force import Marker
from simulator import wait_until

SOURCES = ["caller", "request", "impersonate", "projected", "auto"]


@pytest.fixture
def as_installed(ground):
    """Installs the release anew for a token source; afterwards it is as the other tests expect it."""
    def for_source(source):
        install(ground, "credlet", source, "--set", "injection.enabled=true", "--force-conflicts")
    yield for_source
    for_source("auto")


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


def unnoticed_policies(admin, mutated, outcomes, marker):
    """Those mutants that make no difference to the outcomes when they are in force."""
    marker.await_all()
    usual, found = outcomes(), []
    for path, body in mutated:
        for mutant in mutants.mutants_of(path, body):
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


def statuses(requests):
    return {what: api.status(method, path, body) for what, api, method, path, body in requests}


@pytest.mark.parametrize("source", SOURCES)
def test_rights_are_sufficient_and_each_is_necessary(ground, token_world, as_installed, source):
    as_installed(source)

    def allowed():
        return {what: status < 300 for what, status in statuses(rights.needed(token_world, source)).items()}
    wait_until(lambda: all(allowed().values()), 5, "all that is needed")
    assert unnoticed_rights(ground.admin, of_kind(ground, "ClusterRole", "ClusterRoleBinding"), allowed) == []


@pytest.mark.parametrize("source", SOURCES)
def test_rights_are_no_more_than_needed(ground, token_world, as_installed, source):
    as_installed(source)
    token_world.replace_daemon()
    requests = list(rights.forbidden(token_world, source))
    wait_until(lambda: set(statuses(requests).values()) == {403}, 5, "refusals")


@pytest.fixture
def marker(ground, request):
    made = Marker(ground.admin, request.param)
    yield made
    made.remove()


@pytest.mark.parametrize("marker", ["Validating"], indirect=True)
@pytest.mark.parametrize("policy", ["credlet-token-request", "credlet-token-request-own-node"])
def test_each_part_of_the_policies_on_token_requests_matters(ground, token_world, policy, marker):
    """Each policy by itself: where both refuse, one of them hides what the other lacks."""
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
        assert unnoticed_policies(ground.admin, this, outcomes, marker) == []
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
