"""The watch of a real API server: what it delivers, how it ends, and that pods notice nothing of it."""

import http.client
import threading
import time

import pytest

import objects
from daemon import genuine, served
from node import ADDRESSES
from simulator import wait_until


@pytest.fixture(scope="module")
def wired(new_node, new_relay, module_credlet):
    """A node whose daemon reaches the API server by a wire that can be cut."""
    relay = new_relay()
    node = new_node(kube_url=relay.url)
    return node, module_credlet(node, "--token-source", "request"), relay


def gets_credentials(node, daemon, pod, seconds=10):
    answer = wait_until(lambda: served(daemon.credentials(pod["ip"])), seconds, "credentials", 0.05)
    return genuine(node, answer, pod)


def nobody(daemon, pod):
    """Whether its address is nobody's any more. A connection from where a pod has just ended is closed."""
    try:
        return daemon.credentials(pod["ip"]).status == 403
    except (ConnectionError, http.client.RemoteDisconnected):
        return False


def asked_for_pods(node, mark, **facts):
    """The daemon's own requests for pods of its node since then, those by address apart."""
    return [entry for entry in node.plane.audit_log.entries(mark, resource="pods", **facts)
            if node.node_name in entry["uri"] and "podIP" not in entry["uri"]]


def test_pods_and_annotations_arrive_as_they_change(wired):
    node, daemon, _ = wired
    pod = node.workload()
    assert gets_credentials(node, daemon, pod)["pod"]["uid"] == pod["uid"]
    other = node.sts.role("another", subjects=f"system:serviceaccount:prod:{pod['service_account']}")
    objects.annotate_service_account(node.admin, "prod", pod["service_account"], role_arn=other)
    wait_until(lambda: daemon.credentials(pod["ip"]).json.get("RoleArn") == other, 5, "the other role")
    objects.annotate_service_account(node.admin, "prod", pod["service_account"], role_arn=None)
    wait_until(lambda: daemon.credentials(pod["ip"]).status == 403, 5, "no role")


def test_an_address_belongs_to_a_pod_from_its_publication_to_its_end(wired):
    node, daemon, _ = wired
    ip = next(ADDRESSES)
    pod = node.workload(ip="")  # scheduled, no address yet
    objects.pod_status(node.admin, "prod", pod["name"], [ip], "Running")
    pod["ip"] = ip
    gets_credentials(node, daemon, pod)
    objects.delete_pod(node.admin, "prod", pod["name"], grace=30)  # terminating: it runs still
    wait_until(lambda: daemon.metric("pods", state="terminating") == 1, 5, "the pod's ending")
    assert daemon.credentials(ip).status == 200
    objects.pod_status(node.admin, "prod", pod["name"], phase="Succeeded")
    wait_until(lambda: nobody(daemon, pod), 5, "its end")
    objects.delete_pod(node.admin, "prod", pod["name"])
    successor = node.workload(ip=ip)
    gets_credentials(node, daemon, successor)


def test_both_addresses_of_a_dual_stack_pod(wired):
    node, daemon, _ = wired
    ip = next(ADDRESSES)
    pod = node.workload(ip=ip, ips=["fd00:77::1", ip])  # the second one is known from the watch alone
    gets_credentials(node, daemon, pod)


def test_pods_of_other_nodes_are_nobody_here(wired, new_node):
    _, daemon, _ = wired
    elsewhere = new_node().workload()
    assert daemon.credentials(elsewhere["ip"]).status == 403


def test_a_cut_watch_is_resumed_where_it_was(wired):
    node, daemon, relay = wired
    known = node.workload()
    gets_credentials(node, daemon, known)
    mark = node.plane.audit_log.mark()
    restarts = daemon.metric("watch_restarts_total", resource="pods")
    relay.down()
    unseen, gone = node.workload(), known
    objects.delete_pod(node.admin, "prod", gone["name"])
    relay.up()
    gets_credentials(node, daemon, unseen, 15)
    wait_until(lambda: nobody(daemon, gone), 5, "the deletion in the gap")
    assert daemon.metric("watch_restarts_total", resource="pods") > restarts
    asked = asked_for_pods(node, mark)
    assert [entry["verb"] for entry in asked if entry["code"] == 200] and \
        all(entry["verb"] == "watch" for entry in asked), asked


def test_an_expired_version_after_compaction_leads_to_a_list(wired):
    node, daemon, relay = wired
    gone, stays = node.workload(), node.workload()
    for pod in (gone, stays):
        gets_credentials(node, daemon, pod)
    mark = node.plane.audit_log.mark()
    relay.down()
    objects.delete_pod(node.admin, "prod", gone["name"])
    unseen = node.workload()
    node.plane.compact()
    node.plane.restart_api_server()  # its watch cache remembers what etcd has forgotten; a new one does not
    assert daemon.credentials(stays["ip"]).status == 200 and daemon.credentials(gone["ip"]).status == 200
    relay.up()
    wait_until(lambda: nobody(daemon, gone), 15, "the list")
    gets_credentials(node, daemon, unseen)
    assert daemon.credentials(stays["ip"]).status == 200
    assert daemon.metric("watch_restarts_total", resource="pods", reason="expired") >= 1
    # The one that was cut, the one that was told so, and the list.
    assert [entry["verb"] for entry in asked_for_pods(node, mark, code=200, stage="ResponseComplete")] == \
        ["watch", "watch", "list"]


@pytest.mark.parametrize("kill", [False, True], ids=["SIGTERM", "SIGKILL"])
def test_a_restart_of_the_api_server_is_invisible_to_pods(wired, kill):
    node, daemon, _ = wired
    pod = node.workload()
    gets_credentials(node, daemon, pod)
    statuses, over = [], threading.Event()

    def ask():
        while not over.wait(0.01):  # below what a pod may ask
            statuses.append(daemon.credentials(pod["ip"]).status)
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        node.plane.stop_api_server(kill)
        assert daemon.admin("/healthz").status == 200
        node.plane.start_api_server()
        late = node.workload()
        gets_credentials(node, daemon, late, 20)
    finally:
        over.set()
        asking.join(20)
    assert set(statuses) == {200} and len(statuses) > 20
    assert daemon.admin("/readyz").status == 200


def test_bookmarks_keep_a_quiet_watch_up_to_date(quiet):
    """The daemon of a node whose pods never change resumes from a bookmark, not from its list."""
    node, daemon, relay, listed_at = quiet
    first = node.plane.audit_log.entries(verb="watch", resource="pods", stage="ResponseStarted")
    began_with = resource_version(next(e["uri"] for e in first if node.node_name in e["uri"]))
    # Kubernetes sends one a minute.
    left = max(0.0, 75 - (time.monotonic() - listed_at))
    wait_until(lambda: daemon.metric("watch_age_seconds", resource="pods") < time.monotonic() - listed_at - 20,
               left + 15, "a bookmark", 0.25)
    mark = node.plane.audit_log.mark()
    relay.cut()
    resumed = wait_until(lambda: asked_for_pods(node, mark, verb="watch", stage="ResponseStarted"), 10, "a new watch")
    assert resource_version(resumed[0]["uri"]) > began_with
    assert not asked_for_pods(node, mark, verb="list")


def resource_version(uri):
    return int(uri.split("resourceVersion=")[1].split("&")[0])
