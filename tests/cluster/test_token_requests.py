"""Kubernetes refuses a token for a pod: what the pod is told, what the log and `explain` say, and that it is served as
soon as the reason has gone."""

import pytest

import objects
from daemon import genuine, served
from node import NAMES
from simulator import wait_until


@pytest.fixture(scope="module")
def here(new_node, new_relay, module_credlet):
    relay = new_relay()
    node = new_node("request", kube_url=relay.url)
    return node, module_credlet(node, "--token-source", "request"), relay


def refused(node, daemon, pod, words, seconds=10):
    """The pod is told nothing but that there are none; the reason is in the log and in what explain says."""
    answer = wait_until(lambda: not_served(daemon.credentials(pod["ip"])), seconds, "an answer")
    assert answer.status in (403, 503), answer
    steps = daemon.admin(f"/explain?namespace={pod['namespace']}&pod={pod['name']}").json["steps"]
    failed = next(step for step in steps if not step["ok"])
    assert failed["name"] == "token" and words in failed["detail"], failed
    wait_until(lambda: told(daemon, pod, words), 5, f"a log entry: {words}")
    return answer


def told(daemon, pod, words):
    """The log entries about the pod's account that say so, in whatever field."""
    return [entry for entry in daemon.logged(namespace=pod["namespace"], service_account=pod["service_account"])
            if any(words in str(value) for value in entry.values())]


def not_served(answer):
    assert answer.status != 200, answer
    return answer


def test_a_namespace_that_is_not_enabled(here):
    node, daemon, _ = here
    namespace = f"disabled-{next(NAMES)}"
    objects.namespace(node.admin, namespace)
    pod = node.workload(namespace=namespace)
    answer = refused(node, daemon, pod, "does not have the label credlet.io/enabled")
    assert answer.status == 403
    node.admin.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": {"credlet.io/enabled": "true"}}})
    genuine(node, wait_until(lambda: served(daemon.credentials(pod["ip"])), 15, "credentials", 0.1), pod)


def test_an_audience_that_the_policy_does_not_allow(here):
    node, daemon, _ = here
    pod = node.workload(annotations={"credlet.io/audience": "vault"})
    assert refused(node, daemon, pod, "the audience is none of sts.amazonaws.com").status == 403


def test_a_lifetime_that_the_policy_does_not_allow(here, start_credlet):
    node, _, _ = here
    daemon = start_credlet(node, "--token-source", "request", "--token-lifetime", "2h")
    assert refused(node, daemon, node.workload(), "expirationSeconds is above 3600").status == 403


def test_no_right_to_request_tokens(new_node, start_credlet):
    node = new_node("caller")
    daemon = start_credlet(node, "--token-source", "request")
    assert refused(node, daemon, node.workload(), "grant create on serviceaccounts/token").status == 403


def test_a_pod_that_has_gone_or_was_replaced_unseen(here):
    """The watch is behind: the daemon asks for tokens of yesterday's pods."""
    node, daemon, relay = here
    rejected = {"kind": "error", "code": "ExpiredTokenException"}  # so that a new token is asked for each time
    gone, replaced = node.workload(sts_fault=rejected), node.workload(sts_fault=rejected)
    for pod in (gone, replaced):
        wait_until(lambda pod=pod: not_served(daemon.credentials(pod["ip"])).json["Code"] == "ExpiredTokenException", 10)
    mark = node.plane.audit_log.mark()
    relay.hold()
    try:
        for pod in (gone, replaced):
            objects.delete_pod(node.admin, "prod", pod["name"])
        node.pod(replaced["service_account"], replaced["name"])
        for pod, code, words in ((gone, 404, "is gone"), (replaced, 409, "was replaced")):
            asked = wait_until(lambda pod=pod: not_served(daemon.credentials(pod["ip"])) and node.plane.audit_log.entries(
                mark, resource="serviceaccounts/token", name=pod["service_account"], code=code), 20, words, 0.1)
            assert asked[0]["verb"] == "create"
            daemon.wait_logged(words, service_account=pod["service_account"])
    finally:
        relay.release()
    for pod in (gone, replaced):
        wait_until(lambda pod=pod: daemon.credentials(pod["ip"]).json["Code"] not in ("ExpiredTokenException", "NotFound"), 10)
