"""A machine of its own for a cluster of one node: network and mount namespaces that nothing leaves, where the names of AWS
lead to the simulators and their CA is the one that everybody trusts; and control groups of its own."""

import ctypes
import os
import pathlib
import subprocess

from groups import end_group

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
NODE_ADDRESS = "10.0.0.1"
AWS_ADDRESS = "10.0.0.11"


class Unavailable(Exception):
    """This cannot be had here."""


def run(*command, **how):
    subprocess.run(command, check=True, capture_output=True, **how)


class Machine:
    """While it is entered, this thread and all that it starts are in there."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self):
        self.home, self.outside, self.group = os.getcwd(), {}, None
        for kind in ("net", "mnt"):
            self.outside[kind] = os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY)
        if self.libc.unshare(CLONE_NEWNET | CLONE_NEWNS) != 0:
            raise Unavailable("namespaces take CAP_SYS_ADMIN")
        try:
            run("mount", "--make-rprivate", "/")
            run("mount", "-t", "tmpfs", "tmpfs", "/run")
            self._make_groups()
            run("ip", "link", "set", "lo", "up")
            for address in (NODE_ADDRESS, AWS_ADDRESS):
                run("ip", "address", "add", f"{address}/32", "dev", "lo")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make_groups(self):
        """Of version 2, as machines of today have them. A part of this machine's, which stands for all there are."""
        everything = self.directory / "cgroup"
        everything.mkdir()
        try:
            run("mount", "-t", "cgroup2", "cgroup2", everything)
            self.group = everything / f"credlet-walkthrough-{os.getpid()}"
            self.group.mkdir()
            run("mount", "--bind", self.group, "/sys/fs/cgroup")
        except (OSError, subprocess.CalledProcessError) as problem:
            raise Unavailable(f"control groups cannot be made: {problem}") from problem

    def __exit__(self, *_):
        if self.group:
            end_group(self.group)
        for kind, flag in (("net", CLONE_NEWNET), ("mnt", CLONE_NEWNS)):
            if self.libc.setns(self.outside[kind], flag) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            os.close(self.outside[kind])
        os.chdir(self.home)  # entering a mount namespace led to its root

    def name(self, names):
        """In place of DNS: {name: address}."""
        hosts = self.directory / "hosts"
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in names.items()))
        run("mount", "--bind", hosts, "/etc/hosts")

    def trust(self, ca_file):
        """This CA, and no other, for whoever asks the system."""
        certificates = self.directory / "certificates"
        certificates.mkdir()
        (certificates / "ca-certificates.crt").write_bytes(pathlib.Path(ca_file).read_bytes())
        run("openssl", "rehash", certificates)
        run("mount", "--bind", certificates, "/etc/ssl/certs")
