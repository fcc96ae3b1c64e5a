"""The processes of pods, as the node sees them: in /proc, by their control groups."""

import contextlib
import os
import pathlib

CAPABILITIES = {"SYS_PTRACE": 19, "SYS_ADMIN": 21}  # linux/capability.h
LISTEN = "0A"  # a state of /proc/net/tcp
GONE = FileNotFoundError, ProcessLookupError  # closed, or ended, since it was listed


class Process:
    def __init__(self, pid):
        self.pid, self.proc = pid, pathlib.Path(f"/proc/{pid}")

    @property
    def command(self):
        """Empty when it has ended."""
        try:
            return self.proc.joinpath("cmdline").read_text().split("\0")[:-1]
        except GONE:
            return []

    @property
    def network(self):
        """net:[4026531840], which is what a descriptor of it is called too."""
        return os.readlink(self.proc / "ns/net")

    def status(self, thread=None):
        lines = self.proc.joinpath("task", str(thread or self.pid), "status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def threads_with(self, capability):
        """How many of its threads have it, and how many there are."""
        masks = []
        for thread in os.listdir(self.proc / "task"):
            with contextlib.suppress(*GONE):
                masks.append(int(self.status(thread)["CapEff"], 16))
        return sum(mask >> CAPABILITIES[capability] & 1 for mask in masks), len(masks)

    def descriptors(self):
        """What each of them is: socket:[INODE], net:[INODE], ..."""
        found = []
        for one in os.listdir(self.proc / "fd"):
            with contextlib.suppress(*GONE):
                found.append(os.readlink(self.proc / "fd" / one))
        return found

    def listeners(self, port):
        """The sockets that listen on this port in its network, by the name that descriptors of them have."""
        found = set()
        for family in ("tcp", "tcp6"):
            for line in self.proc.joinpath("net", family).read_text().splitlines()[1:]:
                _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
                if state == LISTEN and int(local.rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{inode}]")
        return found


def of_pod(pod):
    """All of its containers, and the one that keeps its namespaces."""
    found, uid = [], f"pod{pod['metadata']['uid']}"
    for one in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(*GONE):
            if uid in one.joinpath("cgroup").read_text():
                found.append(Process(int(one.name)))
    return found


def running(pod, *command):
    """The one process of the pod whose command begins so."""
    one, = [process for process in of_pod(pod) if process.command[:len(command)] == list(command)]
    return one


def held(process, kind):
    """How many descriptors of this kind (socket, net) a process has."""
    return sum(one.startswith(f"{kind}:[") for one in process.descriptors())
