"""The chart's policies on token requests, against a real API server."""

import pytest

import token_policy


@pytest.mark.parametrize("name", token_policy.CASES)
def test_a_token_request(token_world, as_installed, name):
    as_installed("auto")
    case = token_policy.CASES[name](token_world)
    reply = case.ask()
    if case.refused is None:
        assert reply.status == 201, reply
        assert reply.json["spec"]["audiences"] == case.request["spec"]["audiences"]
    else:
        assert reply.status in (400, 403, 404, 409, 422) and case.refused in reply.message, reply
