"""credlet in pods' own networks: what a real container runtime lets it do there, and pods that ask their own loopback.
The release goes from the node's listener to both and on to those in pods, as a cluster would."""

import concurrent.futures
import contextlib
import os
import signal
import threading
import time

import pytest

import processes
from askers import check_its_own_role, check_no_request_failed, delete
from simulator import wait_until

PORT = 9799
IN_POD, ON_NODE = f"http://127.0.0.1:{PORT}/v1/credentials", "http://169.254.170.23/v1/credentials"
RATE = 25  # requests a second of each pod
ROLL_FOR = 15  # seconds
# As most are to run: at another user's processes nobody may look without a right to.
HARDENED = {"runAsNonRoot": True, "runAsUser": 12345, "seccompProfile": {"type": "RuntimeDefault"}}


class Moving:
    """From mode to mode; who is told to ask on loopback stays."""

    def __init__(self, release, askers):
        self.release = release
        self.on_node = askers.start("on-node", RATE)
        # It sends no token: nothing but the listener tells who it is.
        self.early = askers.make("early", RATE, uri=IN_POD)
        wait_until(lambda: self.early.says() and self.early.tally()["refused"] > 0, 60, "the early pod's start", 0.1)
        release.upgrade(listener={"mode": "both"}, tokenSource="impersonate")
        self.in_pods = [self.early]

    def listen_in_pods_alone(self):
        delete(self.on_node)
        self.release.upgrade(listener={"mode": "pod"})


@pytest.fixture(scope="module")
def both(release, askers):
    return Moving(release, askers)


@pytest.fixture(scope="module")
def injected(both, askers):
    """Of those that have begun while there were both kinds of listeners."""
    asker = askers.start("injected", RATE)
    both.in_pods.append(asker)
    return asker


@pytest.fixture(scope="module")
def in_pods(both, injected):
    """All those who ask on loopback, and ask on while the node's listener goes."""
    check_no_request_failed([both.on_node])
    both.listen_in_pods_alone()
    yield both.in_pods
    delete(*both.in_pods)


@pytest.fixture
def daemon(release, in_pods):
    return processes.running(release.pod(), "/usr/local/bin/credlet", "serve")


def test_both_listeners_answer_at_once(both, injected, sts):
    both.early.await_answer()
    assert [asker.uri() for asker in (both.on_node, both.early, injected)] == [ON_NODE, IN_POD, IN_POD]
    before = check_no_request_failed([both.on_node, both.early, injected])
    for asker, tally in zip((both.on_node, both.early, injected), before):
        wait_until(lambda: asker.tally()["answered"] > tally["answered"], 10, f"{asker.name}'s next answer", 0.1)
        check_its_own_role(asker, sts)
    check_no_request_failed([both.on_node, both.early, injected])


def test_nobody_in_pods_notices_that_the_nodes_listener_goes(in_pods, release, sts):
    pod = release.pod()["spec"]
    assert not pod.get("hostNetwork") and pod["hostPID"] and not pod.get("initContainers")
    for asker in in_pods:
        check_its_own_role(asker, sts)
    check_no_request_failed(in_pods)


def test_daemon_enters_pods_under_the_runtimes_own_seccomp_profile(daemon):
    status = daemon.status()
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"  # filtered
    assert daemon.network != processes.Process(os.getpid()).network
    for capability in ("SYS_ADMIN", "SYS_PTRACE"):
        having, all_of_them = daemon.threads_with(capability)
        assert having == 1 < all_of_them


def test_pods_are_answered_from_their_first_request_on(in_pods, askers, release, sts):
    started = askers.start_all([f"pod-{number}" for number in range(1, 9)], RATE, securityContext=HARDENED)
    in_pods.extend(started)
    for asker in started:
        assert asker.uri() == IN_POD
    print(f"{len(started)} pods at once: {check_first_requests(started, sts)}; "
          f"listeners opened {opened(release.metrics())} after the first sign of a sandbox")


def check_first_requests(started, sts):
    """The listener was there before the first process was."""
    for asker in started:
        check_its_own_role(asker, sts)
    tallies = check_no_request_failed(started)
    assert {tally["refused"] for tally in tallies} == {0}
    return f"answered {', '.join(str(tally['first_ms']) for tally in tallies)} ms after the start of their first process"


def opened(metrics):
    """How many within how many seconds, of the daemon that runs."""
    counts = [(line.split('le="')[1].split('"')[0], int(float(line.rsplit(" ", 1)[1]))) for line in metrics.splitlines()
              if line.startswith("credlet_pod_listener_open_seconds_bucket{")]
    return ", ".join(f"{count} within {limit} s" for limit, count in counts if count)


def test_explain_names_the_listener(in_pods, release):
    explained = release.explain(in_pods[0].namespace, in_pods[0].name)
    line, = [line for line in explained.splitlines() if " listener " in line]
    assert line.split()[0] == "ok" and f"127.0.0.1:{PORT}" in line, explained
    assert in_pods[0].role_arn in explained and "FAILED" not in explained, explained


def test_host_network_pod_gets_no_listener(in_pods, release, askers):
    asker = askers.make("on-the-host", RATE, uri=IN_POD, hostNetwork=True)
    wait_until(lambda: asker.says() and asker.tally()["refused"] > 50, 60, "its first requests", 0.1)
    assert asker.tally()["answered"] == 0
    assert not processes.Process(os.getpid()).listeners(PORT)
    explained = release.explain(asker.namespace, asker.name)
    assert "FAILED" in explained, explained
    delete(asker)


def test_new_sandbox_gets_a_listener_of_its_own(daemon, askers, sts):
    asker = askers.start("sandboxed", RATE, restartPolicy="Always")
    pod = asker.object()
    keeper = processes.running(pod, "/asker", "wait")
    network, listeners = keeper.network, keeper.listeners(PORT)
    assert listeners and listeners | {network} <= set(daemon.descriptors())
    os.kill(keeper.pid, signal.SIGKILL)

    def again():
        status = asker.object()["status"]["containerStatuses"][0]
        return status["restartCount"] == 1 and status["state"].get("running") and b'"answered":0' not in asker.says() != b""
    wait_until(again, 60, "an answer in its new sandbox", 0.1)
    assert asker.object()["metadata"]["uid"] == pod["metadata"]["uid"]
    keeper = processes.running(pod, "/asker", "wait")
    assert keeper.network != network
    assert keeper.listeners(PORT) | {keeper.network} <= set(daemon.descriptors())
    await_end_of(listeners | {network}, daemon)
    check_its_own_role(asker, sts)
    tally, = check_no_request_failed([asker])
    print(f"{tally['refused']} connections refused in the new sandbox; answered {tally['first_ms']} ms after the start")
    delete(asker)


def await_end_of(descriptors, daemon):
    wait_until(lambda: not descriptors & set(daemon.descriptors()), 10, "the end of a listener", 0.05)


def test_nothing_is_kept_of_a_deleted_pod(daemon, askers):
    networks = processes.held(daemon, "net")
    asker = askers.start("leaving", RATE)
    keeper = processes.running(asker.object(), "/asker", "wait")
    its_own = keeper.listeners(PORT) | {keeper.network}
    assert len(its_own) > 1 and its_own <= set(daemon.descriptors())
    delete(asker)
    await_end_of(its_own, daemon)
    assert processes.held(daemon, "net") <= networks


def test_rolling_fails_no_request_in_pods(in_pods, release, askers, sts):
    with pods_that_come(askers) as came:
        release.roll_under(in_pods, seconds=ROLL_FOR, at_least=2)
    for asker in came:
        asker.await_answer()
    print(f"{len(came)} pods that came meanwhile: {check_first_requests(came, sts)}")
    delete(*came)


@contextlib.contextmanager
def pods_that_come(askers):
    """One after the other, while something else goes on."""
    came, enough = [], threading.Event()

    def come():
        while not enough.wait(2):
            came.append(askers.make(f"coming-{len(came)}", 5, securityContext=HARDENED))
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        coming = beside.submit(come)
        try:
            yield came
        finally:
            enough.set()
        coming.result()
    assert came


def test_helm_test_asks_on_loopback(in_pods, release):
    release.test()


def test_crash_leaves_nothing_in_pods_and_the_next_process_listens_again(in_pods, daemon, sts):
    keepers = [processes.running(asker.object(), "/asker", "wait") for asker in in_pods]
    assert all(keeper.listeners(PORT) for keeper in keepers)
    killed = time.monotonic()
    os.kill(daemon.pid, signal.SIGKILL)
    wait_until(lambda: not daemon.proc.exists(), 5, "its end", 0.001)
    assert not any(keeper.listeners(PORT) for keeper in keepers)
    wait_until(lambda: all(keeper.listeners(PORT) for keeper in keepers), 60, "the next process's listeners", 0.05)
    print(f"every pod had a listener again {time.monotonic() - killed:.1f} s after the crash")
    before = [asker.tally()["answered"] for asker in in_pods]
    for asker, count in zip(in_pods, before):
        wait_until(lambda: asker.tally()["answered"] > count + RATE, 30, f"{asker.name}'s next answers", 0.1)
        check_its_own_role(asker, sts)
