"""Nothing in the chart's rights and policies is there for nothing: with any right, rule, expression or part of one
missing, something is allowed that should not be, or the other way round. And what it grants is enough.

What is missing is made from the objects that the chart installs, so that a new rule needs a new case here or in
token_policy.py, injection.py or rights.py: without one, a test fails and names the rule."""

import pytest

import injection
import mutants
import objects
import rights
import token_policy
from api import Refused
from conftest import install
from simulator import wait_until

SOURCES = ["caller", "request", "impersonate", "projected", "auto"]


@pytest.fixture
def as_installed(ground):
    """Installs the release anew for a token source; afterwards it is as the other tests expect it."""
    def for_source(source):
        install(ground, "credlet", source, "--set", "injection.enabled=true", "--force-conflicts")
    yield for_source
    for_source("auto")


def unnoticed(admin, mutated, outcomes, in_force=None):
    """Those mutants that make no difference to the outcomes. in_force(number): whether a marked policy is; where there is
    none to be marked, a mutant has some seconds to make a difference."""
    usual, found = outcomes(), []

    def undone(mutant):
        wait_until(lambda: outcomes() == usual, 10, f"an undone change ({mutant})", 0.05)

    def differs_when_marked(number, mutant):
        mutant.marked(number).apply(admin)
        wait_until(lambda: in_force(number), 10, f"a policy in force ({mutant})", 0.02)
        return outcomes() != usual

    def differs_in_time(mutant):
        try:
            mutant.apply(admin)
            wait_until(lambda: outcomes() != usual, 4, "a difference", 0.05)
            return True
        except AssertionError:
            return False
        finally:
            mutant.undo(admin)
            undone(mutant)

    for path, body in mutated:
        mutant = None
        for number, mutant in enumerate(mutants.mutants_of(path, body)):
            try:
                can_be_marked = in_force and body["kind"].endswith("Policy") and mutant.changed
                if not (differs_when_marked(number, mutant) if can_be_marked else differs_in_time(mutant)):
                    found.append(str(mutant))
            except Refused as refusal:
                assert refusal.status == 422  # noticed by the API server itself
        if mutant and mutant.changed:
            mutant.undo(admin)
            undone(mutant)
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
    assert unnoticed(ground.admin, of_kind(ground, "ClusterRole", "ClusterRoleBinding"), allowed) == []


@pytest.mark.parametrize("source", SOURCES)
def test_rights_are_no_more_than_needed(ground, token_world, as_installed, source):
    as_installed(source)
    requests = list(rights.forbidden(token_world, source))
    wait_until(lambda: set(statuses(requests).values()) == {403}, 5, "refusals")


@pytest.mark.parametrize("policy", ["credlet-token-request", "credlet-token-request-own-node"])
def test_each_part_of_the_policies_on_token_requests_matters(ground, token_world, policy):
    """Each policy by itself: where both refuse, one of them hides what the other lacks."""
    both = of_kind(ground, "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    this = [(path, body) for path, body in both if path.endswith("/" + policy)]
    cases = [make(token_world) for make in token_policy.CASES.values()]
    others = [mutants.Mutant(path, "gone", None, body) for path, body in both
              if body["kind"].endswith("Binding") and (path, body) not in this]
    assert len(this) == 2 and len(others) == 1

    def outcomes():
        return [token_policy.outcome(case.ask()) for case in cases]

    def in_force(number):
        request = mutants.marked_token_request(number, token_world.own)
        return token_world.daemon.ask("POST", objects.token_path("enabled", "app"), request).message.endswith(f": {number}")
    before = outcomes()
    for other in others:
        other.apply(ground.admin)
    try:
        wait_until(lambda: outcomes() != before, 10, "one policy alone")
        assert unnoticed(ground.admin, this, outcomes, in_force) == []
    finally:
        for other in others:
            other.undo(ground.admin)
    wait_until(lambda: outcomes() == before, 10, "both policies")


def test_each_part_of_the_injection_matters(ground, injecting):
    def outcomes():
        return [injection.outcome(injection.create(ground.admin, name)) for name in injection.CASES]

    def in_force(number):
        reply = injection.create_valid(ground.admin)
        return reply.json["metadata"]["labels"].get(mutants.MARKER) == str(number)
    chart = of_kind(ground, "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
    assert unnoticed(ground.admin, chart, outcomes, in_force) == []
