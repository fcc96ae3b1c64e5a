"""A cluster without constrained impersonation, as those before Kubernetes 1.36: the gate is off."""

import pytest

from clusters import install
from daemon import Credlet, genuine, served
from node import Node
from simulator import wait_until


@pytest.fixture(scope="module")
def new_old_node(old_plane, old_sts, tmp_path_factory):
    installed = {}

    def make(source):
        name = installed.setdefault(source, f"credlet-{source}")
        install(old_plane, name, source)
        return Node(old_plane, old_sts, tmp_path_factory.mktemp("node"), name, name)
    return make


def tokens_asked_for(node, mark):
    """As whom, and the answer."""
    return [(entry["acting_as"], entry["code"]) for entry in node.plane.audit_log.entries(
        mark, user=f"system:serviceaccount:{node.namespace}:{node.account}", resource="serviceaccounts/token")]


def test_auto_asks_as_itself_where_it_may_not_act_as_its_node(new_old_node, start_credlet):
    node = new_old_node("auto")
    mark = node.plane.audit_log.mark()
    daemon = start_credlet(node, "--token-source", "auto")
    for _ in range(3):
        pod = node.workload()
        genuine(node, wait_until(lambda pod=pod: served(daemon.credentials(pod["ip"])), 10, "credentials"), pod)
    asked = tokens_asked_for(node, mark)
    assert [code for _, code in asked].count(201) == 3 and all(who is None for who, code in asked if code == 201)
    assert [code for _, code in asked].count(403) == 1 and asked[0][1] == 403  # and that is remembered


def test_impersonate_says_what_is_missing(new_old_node):
    node = new_old_node("impersonate")
    daemon = Credlet(node, "--token-source", "impersonate", ready=False)
    try:
        entry = daemon.wait_logged("cannot follow pods", 10)
        assert "grant impersonate:associated-node" in entry["why"] and "1.36" in entry["why"]
        assert daemon.admin("/readyz").status == 503 and daemon.admin("/healthz").status == 200
        wait_until(lambda: daemon.metric("watch_restarts_total", resource="pods", reason="denied") >= 1, 10, "a denial")
    finally:
        daemon.stop()
