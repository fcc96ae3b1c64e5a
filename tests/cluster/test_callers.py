"""Tokens that callers present, signed by a real API server: verified with the keys it publishes, without asking it."""

import time

import jwt
import pytest

import objects
from daemon import genuine, served
from node import ADDRESSES
from simulator import wait_until


@pytest.fixture(scope="module")
def here(new_node, module_credlet):
    node = new_node("caller")
    return node, module_credlet(node, "--token-source", "caller")


def forged(node, token, changes, key=None, algorithm="RS256"):
    """The same token with other claims, signed with the cluster's own key unless another is given."""
    claims = {**jwt.decode(token, options={"verify_signature": False}), **changes}
    if key is None and algorithm != "none":
        with open(node.plane.path("sa.key"), encoding="ascii") as file:
            key = file.read()
    return jwt.encode(claims, key, algorithm, {"kid": jwt.get_unverified_header(token)["kid"]})


def test_a_pods_own_token_is_accepted(here):
    node, daemon = here
    pod = node.workload()
    genuine(node, wait_until(lambda: served(daemon.credentials(pod["ip"], node.caller_token(pod))), 10), pod)


def test_a_host_network_pod_is_known_by_its_token(here):
    node, daemon = here
    pod = node.workload(ip=next(ADDRESSES), ips=["10.0.0.1"], host_network=True)
    token = node.caller_token(pod)
    genuine(node, wait_until(lambda: served(daemon.credentials(pod["ip"], token)), 10), pod)


def other_pods_token(node, pod):
    return node.caller_token(node.workload())


def other_pod_of_the_same_account(node, pod):
    return node.caller_token(node.pod(pod["service_account"], pod["name"] + "-2"))


def of_a_pod_of_another_node(node, pod):
    name = node.node_name + "-elsewhere"
    objects.node(node.admin, name)
    return node.caller_token(node.pod(pod["service_account"], pod["name"] + "-3", node_name=name))


def of_a_deleted_pod(node, pod):
    """Its name and account live on."""
    old = node.pod(pod["service_account"], pod["name"] + "-4")
    token = node.caller_token(old)
    objects.delete_pod(node.admin, "prod", old["name"])
    return token


REFUSED = {
    "another audience": lambda node, pod: node.caller_token(pod, ["vault"]),
    "the API server's audience": lambda node, pod: node.caller_token(pod, None),
    "not bound to a pod": lambda node, pod: node.caller_token(pod, bound=False),
    "another pod's": other_pods_token,
    "another pod's of the same account": other_pod_of_the_same_account,
    "of a pod of another node": of_a_pod_of_another_node,
    "of a deleted pod": of_a_deleted_pod,
    "expired": lambda node, pod: forged(node, node.caller_token(pod), {"exp": int(time.time()) - 120}),
    "not yet valid": lambda node, pod: forged(node, node.caller_token(pod), {"nbf": int(time.time()) + 600}),
    "of another issuer": lambda node, pod: forged(node, node.caller_token(pod), {"iss": "https://elsewhere"}),
    "signed by nobody": lambda node, pod: forged(node, node.caller_token(pod), {}, algorithm="none"),
    "signed with a secret": lambda node, pod: forged(node, node.caller_token(pod), {}, "secret", "HS256"),
    "the daemon's own": lambda node, pod: node.daemon_token(["sts.amazonaws.com"]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_token_is_refused_that_is(here, kind):
    node, daemon = here
    pod = node.workload()
    genuine(node, wait_until(lambda: served(daemon.credentials(pod["ip"], node.caller_token(pod))), 10), pod)
    answer = daemon.credentials(pod["ip"], REFUSED[kind](node, pod))
    # The issuer may have changed: that is asked for, twice a minute at most, before it is refused for good.
    assert answer.status in (400, 401, 403, *((503,) if kind == "of another issuer" else ())), answer
    assert daemon.credentials(pod["ip"], node.caller_token(pod)).status == 200


def test_the_issuer_begins_to_sign_with_another_key(rotating):
    """Both keys are published while tokens of the old one are in use."""
    node, daemon = rotating
    pod, late = node.workload(), node.workload()
    old = {name: node.caller_token(one) for name, one in (("pod", pod), ("late", late))}
    genuine(node, wait_until(lambda: served(daemon.credentials(pod["ip"], old["pod"])), 10), pod)
    node.plane.rotate_signing_key()
    new = node.caller_token(pod)
    assert jwt.get_unverified_header(new)["kid"] != jwt.get_unverified_header(old["pod"])["kid"]
    # A key that is not known is asked for, but not more than twice a minute.
    wait_until(lambda: served(daemon.credentials(pod["ip"], new)), 40, "the new key")
    for one, token in ((late, old["late"]), (late, node.caller_token(late))):
        genuine(node, wait_until(lambda one=one, token=token: served(daemon.credentials(one["ip"], token)), 10), one)
    assert daemon.metric("jwks_fetches_total", result="ok") >= 2
