"""The daemon's own token: bound to its pod, and renewed by the kubelet in its life."""

import pytest

import objects
from daemon import genuine, served
from simulator import wait_until


@pytest.fixture
def here(new_node, start_credlet):
    node = new_node("request")
    return node, start_credlet(node, "--token-source", "request")


def works(node, daemon, seconds=10):
    pod = node.workload()
    genuine(node, wait_until(lambda: served(daemon.credentials(pod["ip"])), seconds, "credentials", 0.05), pod)
    return pod


def credentials_used(node, mark):
    """The tokens with which the API server knew the daemon, by their ids."""
    return {entry["credential"] for entry in node.plane.audit_log.entries(mark, bound_to_node=node.node_name)}


def test_it_is_taken_anew_when_the_old_one_has_been_refused(here):
    """Its pod is no more: the API server knows the token no longer, long before it expires."""
    node, daemon = here
    known = works(node, daemon)
    before = credentials_used(node, 0)
    assert len(before) == 1
    old_pod = node.daemon_pod
    node.daemon_pod = objects.pod(node.admin, node.namespace, "successor-" + node.node_name, node.account,
                                  node.node_name, ["10.0.0.1"], host_network=True)
    mark = node.plane.audit_log.mark()
    objects.delete_pod(node.admin, node.namespace, old_pod["metadata"]["name"])
    # For some seconds the API server still takes it, from memory.
    with open(node.token_file, encoding="ascii") as file:
        old = node.plane.bearer(file.read())
    wait_until(lambda: old.ask("GET", "/api/v1/pods").status == 401, 20, "the old token's end", 0.1)
    assert daemon.credentials(known["ip"]).status == 200
    node.renew_token()
    works(node, daemon, 20)
    assert credentials_used(node, mark) - before
    assert daemon.credentials(known["ip"]).status == 200


def test_it_is_taken_anew_before_it_expires(here):
    node, daemon = here
    works(node, daemon)
    before = credentials_used(node, 0)
    mark = node.plane.audit_log.mark()
    node.renew_token()
    # The file is read again once a minute at most, or as it changes; the old one is good until then.
    works(node, daemon)
    wait_until(lambda: works(node, daemon) and credentials_used(node, mark) - before, 70, "the new token", 1)
