"""Fixtures: one real control plane for all tests that do not change it as a whole, an STS that trusts its issuer, the
chart installed once for each token source, and nodes with the real binary on them."""

import pathlib
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
for folder in ("cluster", "integration", "sim"):
    sys.path.insert(0, str(ROOT / "tests" / folder))

import injection  # noqa: E402
import objects  # noqa: E402
import token_policy  # noqa: E402
from clusters import install, start_cluster, start_sts  # noqa: E402
from daemon import Credlet  # noqa: E402
from node import Node  # noqa: E402
from relay import Relay  # noqa: E402
from sidecar_webhook import SidecarWebhook  # noqa: E402
from simulator import stop_all, wait_until  # noqa: E402


@pytest.fixture(scope="session")
def plane(tmp_path_factory):
    started = start_cluster(tmp_path_factory.mktemp("plane"))
    yield started
    started.stop()


@pytest.fixture(scope="session")
def sts(plane, tmp_path_factory):
    simulator = start_sts(tmp_path_factory.mktemp("sts"), plane)
    yield simulator
    simulator.stop()


@pytest.fixture(scope="session")
def installed(plane):
    """The name of the chart's release for a token source."""
    done = {}

    def once(source):
        if source not in done:
            done[source] = install(plane, f"credlet-{source}", source)
        return done[source]
    return once


@pytest.fixture(scope="session")
def new_node(plane, sts, installed, tmp_path_factory):
    """A node that has the daemon's pod, service account and rights, as the chart made them for a token source."""
    def make(source="request", **how):
        name = installed(source)
        return Node(plane, sts, tmp_path_factory.mktemp("node"), name, name, **how)
    return make


@pytest.fixture(scope="session")
def new_relay(plane):
    """A wire to the API server that can be cut."""
    started = []

    def make():
        started.append(Relay(plane.port))
        return started[-1]
    yield make
    stop_all(started)


@pytest.fixture(scope="session")
def quiet(ground, sts, tmp_path_factory):
    """A daemon on a node without pods, of a control plane that is never restarted, which is left alone while other
    tests run: (node, daemon, relay, since when)."""
    name = install(ground, "credlet-quiet", "request")
    relay = Relay(ground.port)
    node = Node(ground, sts, tmp_path_factory.mktemp("quiet"), name, name, kube_url=relay.url)
    daemon = Credlet(node, "--token-source", "request")
    # Something happens to pods, though not to this node's: bookmarks tell of nothing else.
    objects.namespace(ground.admin, "elsewhere")
    objects.service_account(ground.admin, "elsewhere", "default")
    objects.pod(ground.admin, "elsewhere", "pod", phase="Pending")
    yield node, daemon, relay, time.monotonic()
    stop_all([daemon, relay])


@pytest.fixture(scope="session")
def old_plane(tmp_path_factory):
    """A control plane as those before Kubernetes 1.36: without constrained impersonation."""
    started = start_cluster(tmp_path_factory.mktemp("old"), feature_gates={"ConstrainedImpersonation": False})
    yield started
    started.stop()


@pytest.fixture(scope="session")
def old_sts(old_plane, tmp_path_factory):
    simulator = start_sts(tmp_path_factory.mktemp("old-sts"), old_plane)
    yield simulator
    simulator.stop()


@pytest.fixture(scope="session")
def rotating(old_plane, old_sts, tmp_path_factory):
    """A node of a control plane whose signing key may be changed, with a daemon that has fetched its keys."""
    name = install(old_plane, "credlet-rotating", "caller")
    node = Node(old_plane, old_sts, tmp_path_factory.mktemp("rotating"), name, name)
    daemon = Credlet(node, "--token-source", "caller")
    yield node, daemon
    daemon.stop()


# What waits for something that comes once a minute at most comes last, and its waiting begins first.
SLOW = ("quiet", "rotating")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: any(name in item.fixturenames for name in SLOW))


@pytest.fixture(scope="session", autouse=True)
def begin_waiting(request):
    for name in SLOW:
        if any(name in item.fixturenames for item in request.session.items):
            request.getfixturevalue(name)


@pytest.fixture(scope="session")
def ground(tmp_path_factory):
    """Another control plane, to change at will."""
    started = start_cluster(tmp_path_factory.mktemp("ground"))
    yield started
    started.stop()


@pytest.fixture(scope="session")
def as_installed(ground):
    """Installs the one release there, or changes it, for a token source; always with injection."""
    now = []

    def for_source(source, *values):
        if now != [(source, *values)]:
            install(ground, "credlet", source, "--set", "injection.enabled=true", "--force-conflicts", *values)
            now[:] = [(source, *values)]
    for_source("auto")
    return for_source


@pytest.fixture(scope="session")
def token_world(ground, as_installed):
    return token_policy.TokenWorld(ground, "credlet")


@pytest.fixture(scope="session")
def injecting(ground, as_installed):
    injection.make_namespaces(ground.admin)
    webhook = SidecarWebhook(ground, injection.SIDECAR, injection.ADDED)
    name = "a container that is added later"
    wait_until(lambda: injection.outcome(injection.create(ground.admin, name)) == injection.wanted(name), 10,
               "the webhook's effect", 0.1)
    yield ground
    webhook.stop()


@pytest.fixture
def start_credlet():
    """Daemons, each of which must end with 0 when it is told to."""
    started = []

    def start(node, *flags, **how):
        started.append(Credlet(node, *flags, **how))
        return started[-1]
    yield start
    stop_all(started)


@pytest.fixture(scope="module")
def module_credlet():
    """The same, for all tests of a module."""
    started = []

    def start(node, *flags, **how):
        started.append(Credlet(node, *flags, **how))
        return started[-1]
    yield start
    stop_all(started)
