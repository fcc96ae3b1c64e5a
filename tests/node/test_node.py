"""credlet as users run it: its image, its chart, a real kubelet, a container runtime, and pods with addresses of their own."""

import json
import os
import subprocess

import pytest

from askers import check_its_own_role, check_no_request_failed, delete
from simulator import wait_until

LOAD = {"first": 100, "second": 100, "third": 100, "fourth": 100, "fifth": 100}  # requests a second
ROLL_FOR = int(os.environ.get("CREDLET_ROLL_SECONDS", "90"))


@pytest.fixture(scope="module")
def load(askers):
    started = [askers.start(name, rate) for name, rate in LOAD.items()]
    yield started
    delete(*started)


def test_daemon_becomes_ready_by_its_probes(release):
    pod = release.pod()
    ready = {one["type"]: one["status"] for one in pod["status"]["conditions"]}
    assert ready["Ready"] == "True"
    container, = pod["spec"]["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["exec"]["command"][0] == "/usr/local/bin/credlet"


def test_init_container_makes_the_link(release):
    shown = subprocess.run(["ip", "-json", "address", "show", "to", "169.254.170.23"], capture_output=True, check=True)
    link, = json.loads(shown.stdout)
    assert link["ifname"] in ("credlet0", "lo")  # lo, where the kernel has no dummy links
    assert "UP" in link["flags"]


def test_each_pod_gets_its_own_role(load, sts):
    for asker in load:
        assert asker.uri() == "http://169.254.170.23/v1/credentials"
        check_its_own_role(asker, sts)


def test_rolling_under_load_fails_no_request(release, load):
    release.roll_under(load, seconds=ROLL_FOR, at_least=3)


@pytest.mark.parametrize("source", ["caller", "impersonate", "request", "projected"])
def test_each_token_source_on_a_real_node(release, askers, load, source):
    release.upgrade(tokenSource=source)
    asker = askers.start(f"from-{source}", 10)
    assert set(asker.tally()["roles"]) == {asker.role_arn}
    assert tokens_from(release.metrics()) == {source}
    check_no_request_failed([asker, *load])
    delete(asker)


def tokens_from(metrics):
    """The sources from which tokens have come."""
    return {family_sample.split('source="')[1].split('"')[0] for family_sample in metrics.splitlines()
            if family_sample.startswith("credlet_token_requests_total{") and 'result="ok"' in family_sample
            and float(family_sample.rsplit(" ", 1)[1]) > 0}


def test_explain_tells_an_administrator(release, load):
    pod = load[0].object()["metadata"]
    explained = release.explain(pod["namespace"], pod["name"])
    assert load[0].role_arn in explained and "FAILED" not in explained, explained


def test_helm_test(release):
    release.test()


def test_deleted_pod_is_forgotten(release, load):
    asker = load.pop()
    assert asker.role_arn in release.metrics()
    delete(asker)
    wait_until(lambda: asker.role_arn not in release.metrics(), 30, "the end of its credentials", 0.1)
    explained = release.explain(asker.namespace, asker.name)
    assert "FAILED" in explained and asker.role_arn not in explained, explained
