"""credlet as users run it: its image, its chart, a real kubelet, a container runtime, and pods with addresses of their own."""

import json
import subprocess
import time

import pytest

import objects
from release import NAMESPACE
from simulator import wait_until

# A pod may ask 200 times a second, by the chart's defaults.
LOAD = {"first": 170, "second": 170, "third": 160}
ROLLS = 4


@pytest.fixture(scope="module")
def load(askers):
    return [askers.start(name, rate) for name, rate in LOAD.items()]


def test_daemon_becomes_ready_by_its_probes(release):
    pod, = release.pods()
    ready = {one["type"]: one["status"] for one in pod["status"]["conditions"]}
    assert ready["Ready"] == "True"
    container, = pod["spec"]["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["exec"]["command"][0] == "/usr/local/bin/credlet"
    assert [one["restartCount"] for one in pod["status"]["containerStatuses"]] == [0]


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


def test_rolling_under_load_fails_no_request(release, load):
    before = [asker.tally() for asker in load]
    start, daemons = time.monotonic(), {release.pods()[0]["metadata"]["uid"]}
    for number in range(ROLLS):
        daemons.add(release.upgrade(podAnnotations={"roll": str(number)})["metadata"]["uid"])
    took = time.monotonic() - start
    after = [asker.tally() for asker in load]
    assert len(daemons) == ROLLS + 1
    assert [tally["failures"] for tally in after] == [None] * len(load)
    assert [tally["failed"] for tally in after] == [0] * len(load)
    asked = sum(now["answered"] - then["answered"] for now, then in zip(after, before))
    assert asked > 0.9 * took * sum(LOAD.values())
    print(f"{ROLLS} rolls in {took:.0f} s: {asked} answers, {asked / took:.0f} a second, "
          f"the slowest after {max(tally['slowest_ms'] for tally in after)} ms")


def test_explain_tells_an_administrator(release, load):
    pod = load[0].object()["metadata"]
    explained = release.explain(pod["namespace"], pod["name"])
    assert load[0].role_arn in explained and "FAILED" not in explained, explained


def test_helm_test(release, plane, sts):
    role = sts.role("helm-test", subjects=f"system:serviceaccount:{NAMESPACE}:helm-test")
    objects.service_account(plane.admin, NAMESPACE, "helm-test", {"credlet.io/role-arn": role})
    plane.helm("test", "credlet", "--namespace", NAMESPACE, "--timeout", "60s")


def test_deleted_pod_is_forgotten(release, load):
    asker = load.pop()
    assert asker.role_arn in release.metrics()
    asker.delete()
    wait_until(lambda: asker.role_arn not in release.metrics(), 30, "the end of its credentials", 0.1)
    explained = release.explain(asker.namespace, asker.name)
    assert "FAILED" in explained and asker.role_arn not in explained, explained
