"""Kubernetes refuses a token for a pod: the reason reaches the pod, the log and `explain`, and the pod is served as
soon as it has gone."""

import pytest

import objects
from daemon import genuine, served
from node import NAMES
from simulator import wait_until


@pytest.fixture(scope="module")
def here(new_node, module_credlet):
    node = new_node("request")
    return node, module_credlet(node, "--token-source", "request")


def refused(node, daemon, pod, words):
    """The pod, the log and explain all give the reason. The pod is told to come again: a right may be granted, and SDKs
    do not repeat what was refused for good."""
    answer = wait_until(lambda: not_served(daemon.credentials(pod["ip"])), 10, "an answer")
    assert (answer.status, answer.code) == (503, "Forbidden") and words in answer.json["message"], answer
    steps = daemon.admin(f"/explain?namespace={pod['namespace']}&pod={pod['name']}").json["steps"]
    failed = next(step for step in steps if not step["ok"])
    assert failed["name"] == "token" and words in failed["detail"], failed
    wait_until(lambda: told(daemon, pod, words), 5, f"a log entry: {words}")


def told(daemon, pod, words):
    """The log entries about the pod's account that say so, in whatever field."""
    return [entry for entry in daemon.logged(namespace=pod["namespace"], service_account=pod["service_account"])
            if any(words in str(value) for value in entry.values())]


def not_served(answer):
    assert answer.status != 200, answer
    return answer


def test_a_namespace_that_is_not_enabled(here):
    node, daemon = here
    namespace = f"disabled-{next(NAMES)}"
    objects.namespace(node.admin, namespace)
    pod = node.workload(namespace=namespace)
    refused(node, daemon, pod, "does not have the label credlet.io/enabled")
    node.admin.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": {"credlet.io/enabled": "true"}}})
    genuine(node, wait_until(lambda: served(daemon.credentials(pod["ip"])), 15, "credentials", 0.1), pod)


def test_an_audience_that_the_policy_does_not_allow(here):
    node, daemon = here
    pod = node.workload(annotations={"credlet.io/audience": "vault"})
    refused(node, daemon, pod, "the audience is none of sts.amazonaws.com")


def test_a_lifetime_that_the_policy_does_not_allow(here, start_credlet):
    node, _ = here
    daemon = start_credlet(node, "--token-source", "request", "--token-lifetime", "2h")
    refused(node, daemon, node.workload(), "expirationSeconds is above 3600")


def test_no_right_to_request_tokens(new_node, start_credlet):
    node = new_node("caller")
    daemon = start_credlet(node, "--token-source", "request")
    refused(node, daemon, node.workload(), "grant create on serviceaccounts/token")
