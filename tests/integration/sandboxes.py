"""A node and its pods as a kubelet and a container runtime make them: control groups, network namespaces, veth pairs and
processes, all of them real and made in the order in which they are made there. What is on a node has process ids,
mounts and control groups of its own and the network of the thread that made it. All of it ends with the test, however
that ends.
"""

import itertools
import json
import os
import pathlib
import secrets
import socket
import subprocess
import threading

from links import Links
from namespaces import inside, new_network, process_ids
from node_processes import GROUPS, OLD_GROUPS, PINS, remove_group
from private_network import unavailable

GATEWAY = "10.244.0.1"  # the node, as its pods see it
NODE_PROCESSES = pathlib.Path(__file__).with_name("node_processes.py")
TOPS = {2: GROUPS, 1: f"{OLD_GROUPS}/systemd"}
PODS_ROOTS = [f"kubepods.slice/kubepods-{quality}.slice" for quality in ("burstable", "besteffort")] + [
    f"kubepods/{quality}" for quality in ("burstable", "besteffort")]
PATIENCE = 20  # seconds for what takes milliseconds
numbers = itertools.count(1)


def listening_here():
    """[(address, port), ...] of all sockets that listen in this thread's network namespace."""
    found = []
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in pathlib.Path(f"/proc/thread-self/net/{name}").read_text(encoding="ascii").splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            if state == "0A":
                host, port = local.split(":")
                words = [bytes.fromhex(host[i:i + 8])[::-1] for i in range(0, len(host), 8)]
                found.append((socket.inet_ntop(family, b"".join(words)), int(port, 16)))
    return sorted(found)


class Far:
    """What answers calls by a socket: see node_processes.py."""

    def __init__(self, connection):
        self.connection = connection
        self.connection.settimeout(PATIENCE)

    def begin(self, what, *arguments, files=()):
        request = json.dumps({"do": what, "with": arguments}).encode()
        socket.send_fds(self.connection, [request], files)

    def result(self):
        answer = json.loads(self.connection.recv(1 << 20) or '{"problem": "the process has ended"}')
        if "problem" in answer:
            raise AssertionError(answer["problem"])
        return answer["answer"]

    def call(self, what, *arguments, files=()):
        self.begin(what, *arguments, files=files)
        return self.result()


class Node:
    """network: whatever thread makes it should be in a network namespace of its own."""

    def __init__(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with process_ids():
                self.process = subprocess.Popen(
                    ["/usr/bin/python3", NODE_PROCESSES, str(theirs.fileno()), f"credlet-sandboxes-{os.getpid()}-{next(numbers)}"],
                    pass_fds=[theirs.fileno()])
        except PermissionError:
            unavailable("a node takes CAP_SYS_ADMIN; CREDLET_ALLOW_SKIPS=1 lets this pass")
        theirs.close()
        self.one = Far(ours)
        self.lock = threading.Lock()  # of `one`
        self.links = Links()
        self.pods = []
        self.root = pathlib.Path(f"/proc/{self.process.pid}/root")
        self.process_ids_file = os.open(f"/proc/{self.process.pid}/ns/pid", os.O_RDONLY)
        self.call("next_pid", 100)  # it is there
        # A program that begins like this runs on the node.
        self.command = ["nsenter", *(f"--{kind}=/proc/{self.process.pid}/ns/{name}"
                                     for kind, name in (("mount", "mnt"), ("cgroup", "cgroup")))]
        for top, pods in itertools.product(TOPS.values(), PODS_ROOTS):  # which the kubelet makes when it starts
            self.path(f"{top}/{pods}").mkdir(parents=True)

    def command_in(self, group):
        """The same, for one in a container's control group, which it takes for the root of all groups."""
        script = 'echo 0 > "$0/cgroup.procs" && exec unshare --cgroup "$@"'
        return [*self.command, "sh", "-c", script, group]

    def process_ids(self):
        """Processes that this thread starts have the node's process ids. Threads cannot be started meanwhile."""
        return process_ids(self.process_ids_file)

    def call(self, what, *arguments, files=()):
        with self.lock:
            return self.one.call(what, *arguments, files=files)

    def path(self, path):
        """What is there on the node."""
        return self.root / path.lstrip("/")

    def pod(self, *what, **how):
        self.pods.append(Pod(self, *what, **how))
        return self.pods[-1]

    def stop(self):
        for pod in self.pods:
            pod.close()
        try:
            self.call("end")
        finally:
            self.process.kill()
            self.process.wait()
            self.one.connection.close()
            self.links.close()
            os.close(self.process_ids_file)


class Process(Far):
    """One of node_processes.PodProcess."""

    def __init__(self, node):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        super().__init__(ours)
        with theirs:
            node.call("fork", files=[theirs.fileno()])

    def end(self):
        """Returns when it is gone, or as good as gone."""
        self.connection.shutdown(socket.SHUT_WR)
        while self.connection.recv(1 << 20):
            pass  # nobody has asked what came of that
        self.connection.close()


class Network:
    """A network namespace, with its loopback up."""

    def __init__(self):
        with new_network():
            self.file = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            self.links = Links()
        self.links.up("lo")

    @property
    def inode(self):
        return os.fstat(self.file).st_ino

    @property
    def path(self):
        """For other processes outside of the node, as long as this one has it open."""
        return f"/proc/{os.getpid()}/fd/{self.file}"

    def inside(self):
        return inside(self.file)

    def listening(self):
        with self.inside():
            return listening_here()

    def close(self):
        self.links.close()
        os.close(self.file)


class Pod:
    """Of one uid. Its parts come and go in the order of the methods; run() and end() go through all of them.

    runtime: "containerd" runs a pause process, "cri-o" does not but puts its monitor into the pod's group.
    driver: "systemd" or "cgroupfs". quality: "burstable", "besteffort" or "guaranteed".
    version: of control groups.
    cable: whether the pod can reach the node; without, its addresses are on a link that leads nowhere.
    """

    def __init__(self, node, uid, addresses=(), runtime="containerd", driver="systemd", quality="burstable", version=2,
                 cable=True):
        self.node, self.uid, self.addresses = node, uid, list(addresses)
        self.runtime, self.driver, self.quality, self.cable = runtime, driver, quality, cable
        self.version = version
        self.network = self.pin = None
        self.processes = []
        self.groups = []  # on the node, those of containers
        top = TOPS[version]
        if driver == "systemd":
            kind = "" if quality == "guaranteed" else f"-{quality}"
            parents = ["kubepods.slice"] + ([f"kubepods{kind}.slice"] if kind else [])
            self.group = "/".join([top, *parents, f"kubepods{kind}-pod{uid.replace('-', '_')}.slice"])
        else:
            self.group = "/".join([top, "kubepods", *([] if quality == "guaranteed" else [quality]), f"pod{uid}"])

    # The kubelet

    def make_group(self):
        self.node.path(self.group).mkdir()

    # The runtime

    def make_network(self):
        """Pinned before anything runs in it."""
        self.network = Network()
        self.pin = f"cni-{secrets.token_hex(8)}" if self.runtime == "containerd" else secrets.token_hex(16)
        self.node.call("pin", self.pin, files=[self.network.file])
        self._plug()

    def _plug(self):
        if not self.addresses:
            return
        link = f"veth{next(numbers)}"
        self.node.links.pair(link, "eth0", self.network.file)
        for address in self.addresses:
            self.network.links.add_address("eth0", address)
        if self.cable:
            self.node.links.add_address(link, GATEWAY)
            for links, name in ((self.node.links, link), (self.network.links, "eth0")):
                links.up(name)
            self.network.links.route(GATEWAY, "eth0")
            self.network.links.route(None, "eth0", GATEWAY)
            self.node.links.route(self.addresses[0], link)

    def start_sandbox(self):
        if self.runtime == "containerd":
            self.start_process(self.container_group())
        else:
            monitor = Process(self.node)
            monitor.call("join", self._make_container_group("crio-conmon-"))
            self.processes.append(monitor)

    def container_group(self):
        return self._make_container_group({"containerd": "cri-containerd-" if self.driver == "systemd" else "",
                                           "cri-o": "crio-"}[self.runtime])

    def _make_container_group(self, prefix):
        name = prefix + secrets.token_hex(32)
        # CRI-O's scopes are systemd's also of monitors; crun makes a group of its own in that of a container.
        name += ".scope" if self.driver == "systemd" else ""
        return self.make_groups(self.group, f"{name}/container" if prefix == "crio-" and self.version == 2 else name)

    def make_groups(self, parent, path):
        """Of a path below another group, all of them; they end with the sandbox."""
        for name in path.split("/"):
            parent += f"/{name}"
            self.node.path(parent).mkdir()
            self.groups.append(parent)
        return parent

    def start_process(self, group):
        """In the group first, while it is in the node's network yet, then in the pod's."""
        process = Process(self.node)
        self.processes.append(process)
        process.call("start", [group], files=[self.network.file])
        return process

    def start_container(self):
        return self.start_process(self.container_group())

    def run(self):
        """Returns the process of its container."""
        self.make_group()
        self.make_network()
        self.start_sandbox()
        return self.start_container()

    def stop_sandbox(self):
        """Its processes and its network; the pod's own group stays."""
        for process in self.processes:
            process.end()
        self.processes.clear()
        for group in reversed(self.groups):
            remove_group(self.node.path(group))
        self.groups.clear()
        if self.pin:
            self.node.call("unpin", self.pin)
            self.pin = None
        self.close()

    def leave_network(self):
        """The same, but its network is not gone yet: the caller has to close it."""
        network, self.network = self.network, None
        self.stop_sandbox()
        return network

    def end(self):
        self.stop_sandbox()
        remove_group(self.node.path(self.group))

    def close(self):
        """What this process has of it."""
        if self.network:
            self.network.close()
            self.network = None

    # Who is in it

    def inside(self):
        return self.network.inside()

    @property
    def pin_path(self):
        return f"{PINS}/{self.pin}"
