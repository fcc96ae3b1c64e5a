"""Fixtures: simulated worlds, the real binary in them, and callers that come from the pods' addresses."""

import itertools
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "sim"))
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from daemon import Credlet, served  # noqa: E402
from private_network import private_network  # noqa: E402, F401
from simulator import Simulator, stop_all, wait_until  # noqa: E402

ADDRESSES = (f"127.10.{high}.{low}" for high in range(256) for low in range(1, 255))
NAMES = itertools.count(1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    simulator = Simulator(tmp_path_factory.mktemp("world"))
    yield simulator
    simulator.stop()


@pytest.fixture(scope="module")
def credlet(world):
    daemon = Credlet(world)
    yield daemon
    daemon.stop()


@pytest.fixture(autouse=True)
def as_before(request):
    """Whatever a test did to a shared world is undone after it."""
    if "world" not in request.fixturenames:
        yield
        return
    world = request.getfixturevalue("world")
    before = world.get("/settings")
    yield
    world.clear()
    world.settings(**before)
    for target in ("sts", "kube"):
        stats = world.stats()[target]
        if stats["certificate"] != "good":
            world.post("/tls", target=target, certificate="good")
        if not stats["up"]:
            world.post("/listen", target=target, up=True)


@pytest.fixture
def start_world(tmp_path_factory):
    """More worlds, for one test."""
    started = []

    def start(**scenario):
        started.append(Simulator(tmp_path_factory.mktemp("world"), scenario))
        return started[-1]
    yield start
    stop_all(started)


@pytest.fixture
def start_credlet():
    """More daemons, for one test: each must end with 0 when it is told to."""
    started = []

    def start(world, *flags, **how):
        started.append(Credlet(world, *flags, **how))
        return started[-1]
    yield start
    stop_all(started)


@pytest.fixture
def address():
    """An address no other pod has."""
    return next(ADDRESSES)


@pytest.fixture
def new_pod(world):
    """Makes a pod with a service account and a role of its own, and an address and names nobody else has."""
    def make(in_world=None, **fields):
        return (in_world or world).workload(f"app-{next(NAMES)}", next(ADDRESSES), **fields)
    return make


@pytest.fixture
def warm_pod(credlet, new_pod):
    """The same, with credentials already served."""
    def make(daemon=None, **fields):
        pod = new_pod(**fields)
        answer = wait_until(lambda: served((daemon or credlet).credentials(pod["ip"])), 10, "a first answer")
        return {**pod, "access_key_id": answer.json["AccessKeyId"]}
    return make


def pytest_report_header():
    return f"credlet: {os.environ.get('CREDLET_BINARY', 'build/release/credlet')}"
