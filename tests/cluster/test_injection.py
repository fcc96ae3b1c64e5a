"""The chart's injection into pods, by a real API server."""

import json

import pytest

import injection
from simulator import wait_until


@pytest.mark.parametrize("name", injection.CASES)
def test_a_pod_becomes_as_wanted(injecting, name):
    reply = injection.create(injecting.admin, name)
    assert injection.outcome(reply) == injection.wanted(name)
    assert reply.warnings == []


@pytest.fixture
def in_mode(injecting, as_installed):
    """Installs the chart with a listener.mode; afterwards it is as it was."""
    yield lambda mode: as_installed("auto", "--set", f"listener.mode={mode}")
    as_installed("auto")
    becomes(injecting.admin, "a pod that asks", injection.wanted("a pod that asks"))


def becomes(admin, name, wanted):
    wait_until(lambda: injection.outcome(injection.create(admin, name)) == wanted, 10, f"{name}: {wanted}", 0.1)


@pytest.mark.parametrize("mode", ["pod", "both"])
def test_pods_are_told_of_the_listener_of_their_own(injecting, in_mode, mode):
    """Where they have one; the rest is as always."""
    in_mode(mode)
    for name in ("all its containers", "a container with a variable of its own", "a host-network pod"):
        usual = json.dumps(injection.wanted(name))
        becomes(injecting.admin, name, json.loads(usual.replace(injection.URI, "http://127.0.0.1:9799/v1/credentials")))
