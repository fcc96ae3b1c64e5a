"""One daemon takes another's place on the same address, again and again, and no caller notices (F43, F44)."""

import collections
import contextlib
import json
import random
import signal
import socket
import time

import pytest

from callers import Callers
from daemon import Answer, genuine, served
from simulator import wait_until

RESTARTS = 50
RATE = 500  # requests per second
HOSTS = ("127.0.0.1", "::1")
FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}


def free_port():
    """Free on all hosts, and not one that the kernel gives to those who call somebody else meanwhile."""
    for port in random.sample(range(20000, 32000), 100):
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for host in HOSTS:
                held.enter_context(socket.create_server((host, port), family=FAMILIES[host]))
            return port
    raise AssertionError("no free port")


@pytest.fixture(scope="module")
def port():
    return free_port()


@pytest.fixture(scope="module")
def pods(world, port):
    """They ask over IPv4, but for one."""
    addresses = [f"127.9.0.{i}" for i in range(1, 8)] + ["::1"]
    return [{**world.workload(f"rolling-{i}", ip), "where": (HOSTS[":" in ip], port)} for i, ip in enumerate(addresses)]


@pytest.fixture
def start(world, start_credlet, port):
    """Daemons on one address of each family."""
    def make(*flags, **how):
        return start_credlet(world, *flags, listen=tuple(f"{f'[{h}]' if ':' in h else h}:{port}" for h in HOSTS), **how)
    return make


@pytest.fixture
def start_warm(start, pods):
    """One that nobody has to wait for any more."""
    def make(*flags):
        daemon = start(*flags)
        for pod in pods:
            assert served(daemon.credentials(pod["ip"], where=pod["where"]))
        return daemon
    return make


@pytest.fixture
def start_callers(pods):
    started = []

    def make(rate, **how):
        asked = [{"ip": pod["ip"], "where": pod["where"]} for pod in pods]
        started.append(Callers(asked, new=rate // 2, kept=int(rate / 2 * how.get("every", 0.2)), **how))
        return started[-1]
    yield make
    for callers in started:
        callers.process.kill()


def stopped(callers):
    """What all of them have come to: requests, late ones, and the answers by pod."""
    asked, late, failures, answers = 0, 0, [], collections.defaultdict(collections.Counter)
    for one in callers:
        came_to = one.stop()
        asked, late, failures = asked + came_to["asked"], late + came_to["late"], failures + came_to["failures"]
        for ip, bodies in came_to["answers"].items():
            answers[ip].update(bodies)
    return asked, late, failures, answers


def check_answers(world, pods, answers):
    """Each is whole and its pod's own. Returns how many brought which access key."""
    keys = collections.Counter()
    for pod in pods:
        for body, times in answers[pod["ip"]].items():
            genuine(world, Answer(200, {}, body), pod)
            keys[json.loads(body)["AccessKeyId"]] += times
    return keys


def issued_to(daemon):
    """The access keys that this process has obtained, and no other: they tell who answered."""
    return {entry["access_key_id"] for entry in daemon.logged(message="credentials issued")}


def end(daemon):
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(10) == 0


def test_F44_fifty_rolling_restarts_lose_no_request(world, start, pods, start_callers):
    daemons = [start()]
    callers = [start_callers(RATE // 2) for _ in range(2)]
    began = time.monotonic()
    for _ in range(RESTARTS):
        daemons.append(start())
        end(daemons[-2])
    took = time.monotonic() - began
    asked, late, failures, answers = stopped(callers)
    keys = check_answers(world, pods, answers)
    served = [sum(keys[key] for key in issued_to(daemon)) for daemon in daemons]
    print(f"{RESTARTS} restarts in {took:.0f} s, {asked} requests, {late} of them late; by each process: {served}")
    assert not failures, (len(failures), failures[:10])
    assert sum(served) == sum(keys.values()) == asked
    assert all(served) and asked > 0.9 * RATE * took


def test_F44_connections_that_are_seldom_used_outlive_a_restart(world, start, pods, start_callers):
    daemons = [start("--drain-timeout", "2s")]
    callers = [start_callers(100, every=1.7)]  # more than half the drain timeout
    for _ in range(3):
        daemons.append(start("--drain-timeout", "2s"))
        end(daemons[-2])
    asked, _, failures, answers = stopped(callers)
    assert not failures, (len(failures), failures[:10])
    assert sum(check_answers(world, pods, answers).values()) == asked


def test_F44_a_successor_that_crashes_before_it_is_ready_takes_nothing_with_it(world, start, start_warm, pods,
                                                                             start_callers):
    daemon = start_warm()
    callers = [start_callers(200)]
    world.fault("sts", "delay", ms=60000)
    for _ in range(5):
        successor = start(ready=False)
        assert "another process serves" in successor.admin("/readyz").body.decode()
        before = daemon.metric("requests_total")
        wait_until(lambda: daemon.metric("requests_total") > before + 50, 15, "callers while a successor stands by")
        successor.crash()
    asked, _, failures, answers = stopped(callers)
    assert not failures, (len(failures), failures[:10])
    assert check_answers(world, pods, answers).keys() <= issued_to(daemon)
    assert asked > 5 * 50


def test_F44_three_that_overlap_lose_no_request(world, start, pods, start_callers):
    flags = ("--drain-timeout", "4s")
    held = start(*flags)
    callers = [start_callers(200)]
    for _ in range(3):
        first, second = held, start(*flags)
        quiet = first.connect(pods[0]["ip"])  # holds up its end for half the drain timeout
        quiet.request("GET", "/v1/credentials")
        assert quiet.getresponse().read()
        first.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in first.admin("/readyz").body.decode(), 5, "draining")
        held = start(*flags)
        assert first.process.poll() is None
        second.process.send_signal(signal.SIGTERM)
        assert first.process.wait(10) == 0 and second.process.wait(10) == 0
        quiet.close()
    asked, _, failures, answers = stopped(callers)
    assert not failures, (len(failures), failures[:10])
    assert sum(check_answers(world, pods, answers).values()) == asked


def test_F44_all_that_share_an_address_can_end_at_once(start, pods):
    both = [start(), start()]
    for daemon in both:
        daemon.process.send_signal(signal.SIGTERM)
    assert [daemon.process.wait(10) for daemon in both] == [0, 0]
    with pytest.raises(ConnectionRefusedError):
        both[0].credentials(pods[0]["ip"])


def test_F44_a_crash_is_no_gap_where_a_successor_stands_by(world, start, pods):
    first, second = start(), start()
    first.crash()
    for pod in pods:
        answer = second.credentials(pod["ip"], where=pod["where"])
        genuine(world, answer, pod)
        assert answer.json["AccessKeyId"] in issued_to(second)


def test_F44_while_sts_is_away_nobody_replaces_who_has_credentials(world, start, start_warm, pods):
    daemon = start_warm()
    world.post("/listen", target="sts", up=False)
    successor = start(ready=False)
    wait_until(lambda: "credentials are not here yet" in successor.admin("/readyz").body.decode(), 10, "why it waits")
    genuine(world, daemon.credentials(pods[0]["ip"]), pods[0])
    world.post("/listen", target="sts", up=True)
    successor.wait_ready()
    end(daemon)
    answer = successor.credentials(pods[0]["ip"])
    genuine(world, answer, pods[0])
    assert answer.json["AccessKeyId"] in issued_to(successor)


def test_F44_one_role_that_sts_refuses_does_not_hold_up_a_restart(world, start, pods, new_pod):
    new_pod(role_fields={"subjects": "system:serviceaccount:other:other"})
    daemon = start()
    began = time.monotonic()
    start()
    assert time.monotonic() - began < 8  # the patience with what does not come is ten seconds
    end(daemon)


def test_F44_after_an_end_and_a_start_sdks_have_what_they_asked_for(world, start, pods, start_callers):
    """Without an overlap somebody must try again, and SDKs do: as botocore does, up to three times a second apart."""
    daemon = start()
    callers = [start_callers(100, attempts=3, timeout=2)]
    for _ in range(4):
        wait_until(lambda: daemon.metric("requests_total") > 300, 15, "three seconds of calls: who tried again has got it")
        end(daemon)
        daemon = start()
    asked, _, failures, answers = stopped(callers)
    assert not failures, (len(failures), failures[:10])
    assert sum(check_answers(world, pods, answers).values()) == asked
