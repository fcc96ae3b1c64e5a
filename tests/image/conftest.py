"""The image as it ships, made by .ci/image.sh (or the archive that CREDLET_IMAGE names), and a place to run it."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
for folder in ("sim", "integration", "image"):
    sys.path.insert(0, str(ROOT / "tests" / folder))

import daemon  # noqa: E402
from image import Image  # noqa: E402
from private_network import new_namespace  # noqa: E402
from simulator import Simulator  # noqa: E402


@pytest.fixture(scope="session")
def archive():
    if made := os.environ.get("CREDLET_IMAGE"):
        return pathlib.Path(made)
    subprocess.run([ROOT / ".ci" / "setup.sh", "build", "image"], check=True)
    subprocess.run([ROOT / ".ci" / "image.sh"], check=True)
    return ROOT / "build" / "image" / "credlet.oci.tar"


@pytest.fixture(scope="session")
def image(archive):
    return Image(archive)


@pytest.fixture
def root(image, tmp_path):
    """The image's root file system."""
    directory = tmp_path / "root"
    directory.mkdir(mode=0o755)
    image.unpack(directory)
    return directory


@pytest.fixture
def inside(root):
    """The command that runs the image's program with what is bound into it: {destination: source}."""
    def command(bound=None):
        binds = [flag for destination, source in (bound or {}).items() for flag in ("--bind", f"{source}:{destination}")]
        return ["/usr/bin/python3", str(HERE / "enter.py"), str(root), *binds, "--", "/usr/local/bin/credlet"]
    return command


@pytest.fixture
def network():
    with new_namespace():
        yield


@pytest.fixture
def world(network, tmp_path):
    """In the network of this test. Its files are readable for everybody, as what a kubelet mounts is."""
    simulator = Simulator(tmp_path / "world")
    yield simulator
    simulator.stop()


class InImage:
    """A world as the program in the image sees it: its files are elsewhere."""

    def __init__(self, world, **elsewhere):
        self.world = world
        self.__dict__.update(elsewhere)

    def __getattr__(self, name):
        return getattr(self.world, name)


@pytest.fixture
def serve(world, inside, tmp_path, monkeypatch):
    """Starts `credlet serve` in the image. system_ca: trust STS by the certificates in the image's place for them."""
    started = []

    def start(*flags, bound=None, system_ca=False, sts_url=None, **how):
        files = tmp_path / "files"
        files.mkdir()
        for name in ("token_file", "ca_file", "sts_ca_file"):
            (files / name).write_bytes(pathlib.Path(getattr(world, name)).read_bytes())
            (files / name).chmod(0o644)
        files.chmod(0o755)
        (files / "hosts").write_text("127.0.0.1 localhost\n", encoding="ascii")  # the kubelet's, for every container
        binds = {"/run/files": files, "/proc": "/proc", "/etc/hosts": files / "hosts", **(bound or {})}
        if system_ca:
            binds["/etc/ssl/certs/ca-certificates.crt"] = files / "sts_ca_file"
        seen = InImage(world, token_file="/run/files/token_file", ca_file="/run/files/ca_file",
                       sts_ca_file=None if system_ca else "/run/files/sts_ca_file", sts_url=sts_url or world.sts_url)
        program = tmp_path / "credlet"
        program.write_text(f"#!/bin/sh\nexec {' '.join(inside(binds))} \"$@\"\n", encoding="ascii")
        program.chmod(0o755)
        monkeypatch.setattr(daemon, "BINARY", str(program))
        started.append(daemon.Credlet(seen, *flags, **how))
        return started[-1]
    yield start
    for running in started:
        running.stop()
