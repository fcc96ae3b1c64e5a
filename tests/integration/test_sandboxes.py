"""The node that the tests of pods' listeners run on is as a kubelet and a runtime make one, and nothing of it stays."""

import itertools
import os
import pathlib
import socket
import subprocess
import sys

import pytest
from sandboxes import GATEWAY, Node
from simulator import wait_until

UID = "0e3a8d5c-6c1b-4f0e-9d2a-1b2c3d4e5f60"
QUALITIES = {"systemd": {"guaranteed": "/kubepods.slice/kubepods-pod{}.slice",
                         "burstable": "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice"},
             "cgroupfs": {"guaranteed": "/kubepods/pod{}", "burstable": "/kubepods/burstable/pod{}"}}
IDS = {"systemd": UID.replace("-", "_"), "cgroupfs": UID}


@pytest.fixture(scope="module")
def node(private_network):
    one = Node()
    yield one
    one.stop()


@pytest.mark.parametrize("runtime,driver,quality,version", itertools.product(
    ("containerd", "cri-o"), ("systemd", "cgroupfs"), ("guaranteed", "burstable"), (1, 2)))
def test_a_pod_is_where_it_would_be(node, runtime, driver, quality, version):
    pod = node.pod(UID, ["10.244.1.1", "fd00::1"], runtime, driver, quality, version)
    process = pod.run()
    memberships = process.call("read", "/proc/self/cgroup").splitlines()
    group = next(line.split(":", 2)[2] for line in memberships if line.startswith("0::" if version == 2 else "")
                 and "pod" in line)
    parent, container = group.removesuffix("/container").rsplit("/", 1)
    assert parent == QUALITIES[driver][quality].format(IDS[driver])
    prefix = {"containerd": "cri-containerd-" if driver == "systemd" else "", "cri-o": "crio-"}[runtime]
    assert container.startswith(prefix) and container.endswith(".scope") == (driver == "systemd")

    others = [p.call("read", "/proc/self/cgroup") for p in pod.processes if p is not process]
    assert len(others) == 1 and parent in others[0] and ("conmon" in others[0]) == (runtime == "cri-o")
    in_pod = [p.call("network") == pod.network.inode for p in pod.processes]
    assert in_pod == [runtime == "containerd", True]
    assert os.stat(node.path(pod.pin_path)).st_ino == pod.network.inode
    assert not pod.network.listening()
    with socket.create_server((GATEWAY, 0)) as server, pod.inside():
        with socket.create_connection(server.getsockname(), 5):
            assert server.accept()[1][0] == "10.244.1.1"
    pod.end()
    assert not node.path(pod.group).exists() and not node.path(pod.pin_path).exists()


LEFT_ALONE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from sandboxes import Node
pod = Node().pod("%s")
process = pod.run()
print(process.connection.getpeername(), flush=True)
time.sleep(60)
""" % UID


def groups_of(pid):
    mounts = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    return [group for _, where, kind, *_ in mounts if kind in ("cgroup", "cgroup2")
            for group in pathlib.Path(where).glob(f"credlet-sandboxes-{pid}-*")]


def test_nothing_is_left_of_a_test_that_was_killed(private_network):
    owner = subprocess.Popen([sys.executable, "-c", LEFT_ALONE, pathlib.Path(__file__).parent], stdout=subprocess.PIPE)
    assert owner.stdout.readline()
    groups = groups_of(owner.pid)
    assert groups
    owner.kill()
    owner.wait()
    wait_until(lambda: not any(members for group in groups for directory, _, _ in os.walk(group)
                               if (members := pathlib.Path(directory, "cgroup.procs").read_text())), 5, "no process")
    Node().stop()
    assert not groups_of(owner.pid)
