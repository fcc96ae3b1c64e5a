"""credlet as users run it: its image, its chart, a real kubelet, a container runtime, and pods with addresses of their own."""

import json
import os
import subprocess
import time

import pytest

import objects
from release import NAMESPACE
from simulator import wait_until

LOAD = {"first": 100, "second": 100, "third": 100, "fourth": 100, "fifth": 100}  # requests a second
ROLL_FOR = int(os.environ.get("CREDLET_ROLL_SECONDS", "90"))


@pytest.fixture(scope="module")
def load(askers):
    return [askers.start(name, rate) for name, rate in LOAD.items()]


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
        pod = asker.object()
        env = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
        assert env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == "http://169.254.170.23/v1/credentials"
        tally = asker.tally()
        assert set(tally["roles"]) == {asker.role_arn}
        for key_id in tally["key_ids"]:
            issued = sts.issued(key_id)
            assert issued["role_arn"] == asker.role_arn
            assert issued["sub"] == f"system:serviceaccount:{pod['metadata']['namespace']}:{asker.name}"


def check_no_request_failed(load):
    tallies = [asker.tally() for asker in load]
    failures = {asker.name: (tally["failed"], tally["failures"]) for asker, tally in zip(load, tallies) if tally["failed"]}
    assert not failures
    return tallies


def test_rolling_under_load_fails_no_request(release, load):
    before = check_no_request_failed(load)
    start, daemons, rolls = time.monotonic(), {release.pod()["metadata"]["uid"]}, 0
    while rolls < 3 or time.monotonic() - start < ROLL_FOR:
        rolls += 1
        daemons.add(release.upgrade(podAnnotations={"roll": str(rolls)})["metadata"]["uid"])
    took = time.monotonic() - start
    after = check_no_request_failed(load)
    assert len(daemons) == rolls + 1
    answered, retried = (sum(now[what] - then[what] for now, then in zip(after, before)) for what in ("answered", "retried"))
    assert answered > 0.9 * took * sum(LOAD.values())
    print(f"{rolls} rolls in {took:.0f} s: {answered} answers, {answered / took:.0f} a second, none failed, "
          f"{retried} asked again as their connection had been closed, "
          f"the slowest after {max(tally['slowest_ms'] for tally in after)} ms")


@pytest.mark.parametrize("source", ["caller", "impersonate", "request", "projected"])
def test_each_token_source_on_a_real_node(release, askers, load, source):
    release.upgrade(tokenSource=source)
    asker = askers.start(f"from-{source}", 10)
    assert set(asker.tally()["roles"]) == {asker.role_arn}
    assert tokens_from(release.metrics()) == {source}
    check_no_request_failed([asker, *load])
    asker.delete()


def tokens_from(metrics):
    """The sources from which tokens have come."""
    return {family_sample.split('source="')[1].split('"')[0] for family_sample in metrics.splitlines()
            if family_sample.startswith("credlet_token_requests_total{") and 'result="ok"' in family_sample
            and float(family_sample.rsplit(" ", 1)[1]) > 0}


def test_explain_tells_an_administrator(release, load):
    pod = load[0].object()["metadata"]
    explained = release.explain(pod["namespace"], pod["name"])
    assert load[0].role_arn in explained and "FAILED" not in explained, explained


def test_helm_test(release, plane, sts):
    role = sts.role("helm-test", subjects=f"system:serviceaccount:{NAMESPACE}:helm-test")
    objects.service_account(plane.admin, NAMESPACE, "helm-test", {"credlet.io/role-arn": role})
    release.test()


def test_deleted_pod_is_forgotten(release, load):
    asker = load.pop()
    assert asker.role_arn in release.metrics()
    asker.delete()
    wait_until(lambda: asker.role_arn not in release.metrics(), 30, "the end of its credentials", 0.1)
    explained = release.explain(asker.namespace, asker.name)
    assert "FAILED" in explained and asker.role_arn not in explained, explained
