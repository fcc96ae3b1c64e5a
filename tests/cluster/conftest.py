"""Fixtures: one real control plane for all tests that do not change it as a whole, an STS that trusts its issuer, the
chart installed once for each token source, and nodes with the real binary on them."""

import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
for folder in ("cluster", "integration", "sim"):
    sys.path.insert(0, str(ROOT / "tests" / folder))

import objects  # noqa: E402
from control_plane import ControlPlane  # noqa: E402
from daemon import Credlet  # noqa: E402
from node import Node  # noqa: E402
from relay import Relay  # noqa: E402
from simulator import Simulator, stop_all  # noqa: E402

CHART = ROOT / "charts" / "credlet"
REGION = "eu-west-1"
WORKLOADS = "prod"


def start_cluster(directory, **how):
    """A control plane that publishes its issuer's keys, as a cluster with an issuer of its own does, and has a namespace
    for workloads."""
    plane = ControlPlane(directory, **how)
    plane.admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
        "metadata": {"name": "published-issuer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                    "name": "system:service-account-issuer-discovery"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"}]})
    objects.namespace(plane.admin, WORKLOADS, {"credlet.io/enabled": "true"})
    return plane


def start_sts(directory, plane):
    """Fetches the keys of the cluster's issuer where the API server publishes them."""
    return Simulator(directory, {"settings": {
        "issuer": plane.issuer, "region": REGION, "provider": {"url": plane.url, "ca_file": plane.ca_file}}})


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


def install(plane, name, source, *values):
    """The chart, by Helm, for one token source. The release, its namespace and its service account have one name."""
    plane.helm("upgrade", "--install", name, CHART, "--namespace", name, "--create-namespace",
               "--set", f"fullnameOverride={name},region={REGION},tokenSource={source}", *values)
    return name


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
