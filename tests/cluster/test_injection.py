"""The chart's injection into pods, by a real API server."""

import pytest

import injection
from simulator import wait_until


@pytest.mark.parametrize("name", injection.CASES)
def test_a_pod_becomes_as_wanted(injecting, name):
    reply = injection.create(injecting.admin, name)
    assert injection.outcome(reply) == injection.wanted(name)
    assert reply.warnings == []
