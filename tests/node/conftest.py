"""Fixtures: a real control plane with its controllers and scheduler, a real node, and credlet on it as the chart makes it."""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for folder in ("cluster", "sim"):
    sys.path.insert(0, str(ROOT / "tests" / folder))

import worker  # noqa: E402
from askers import Askers  # noqa: E402
from control_plane import ControlPlane  # noqa: E402
from image import write_image  # noqa: E402
from release import Release  # noqa: E402
from simulator import Simulator  # noqa: E402

REGION = "eu-west-1"


def pytest_cmdline_main(config):
    """The whole run moves to a machine of its own."""
    if "CREDLET_NODE_CGROUP" in os.environ:
        return None
    return subprocess.call(["setpriv", "--pdeathsig", "TERM", HERE / "on_a_machine.sh", sys.executable, "-m", "pytest",
                            *config.invocation_params.args])


@pytest.fixture(scope="session")
def plane(tmp_path_factory):
    assert "CREDLET_NODE_CGROUP" in os.environ, "these tests take a machine of their own: pytest tests/node, and nothing else"
    started = ControlPlane(tmp_path_factory.mktemp("plane"), address=worker.ADDRESS, names=[worker.KUBERNETES])
    # The issuer's keys are public, as they are where AWS is to trust them.
    started.admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
        "metadata": {"name": "published-issuer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                    "name": "system:service-account-issuer-discovery"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"}]})
    started.start_controller_manager()
    started.start_scheduler()
    yield started
    started.stop(kill=True)


@pytest.fixture(scope="session")
def sts(plane, tmp_path_factory):
    simulator = Simulator(tmp_path_factory.mktemp("sts"), {"settings": {
        "issuer": plane.issuer, "region": REGION, "provider": {"url": plane.url, "ca_file": plane.ca_file}}},
        ["--sts-address", worker.ADDRESS])
    yield simulator
    simulator.stop()


@pytest.fixture(scope="session")
def asker_image(tmp_path_factory):
    directory = tmp_path_factory.mktemp("asker")
    subprocess.run(["go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", directory / "asker"],
                   cwd=HERE / "asker", check=True, env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": ""})
    write_image(directory / "asker.tar", directory / "asker", "wait")
    return directory / "asker.tar"


@pytest.fixture(scope="session")
def node(plane, asker_image, tmp_path_factory):
    started = worker.Worker(plane, tmp_path_factory.mktemp("node"), {
        worker.PAUSE: asker_image, "credlet.test/credlet:test": credlet_image()})
    yield started
    started.stop()


def credlet_image():
    path = pathlib.Path(os.environ.get("CREDLET_IMAGE", ROOT / "build" / "image" / "credlet.oci.tar"))
    assert path.exists(), f"{path} is missing: .ci/image.sh makes it"
    return path


@pytest.fixture(scope="session")
def release(plane, node, sts):
    """credlet, installed with the chart."""
    installed = Release(plane, sts, REGION)
    installed.upgrade()
    return installed


@pytest.fixture(scope="session")
def askers(plane, sts, release):
    """Pods that ask, by the load that each is to make."""
    return Askers(plane, sts)
