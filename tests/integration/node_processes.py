"""What runs on a node of sandboxes.py: its process 1, and those of pods, which are forked from it so that each has the SDK
at once. Process 1 has process ids, mounts and control groups of its own: when it ends all of them end, and when the
test ends it does."""

import errno
import http.client
import json
import os
import pathlib
import signal
import socket
import sys
import time

import botocore.session

from namespaces import CLONE_NEWCGROUP, CLONE_NEWNET, CLONE_NEWNS, LIBC, checked, setns, unshare

PATIENCE = 10  # seconds for what takes milliseconds
PR_SET_PDEATHSIG = 1
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 4096, 16384, 1 << 18, 2
GROUPS = "/sys/fs/cgroup"  # version 2, as on machines of today
OLD_GROUPS = "/sys/fs/cgroup-v1"  # as on those of yesterday: a directory for each hierarchy
PINS = "/run/netns"
HIERARCHIES = {"unified": ("cgroup2", ""), "systemd": ("cgroup", "none,name=systemd")}


def mount(source, target, kind, flags=0, options=""):
    checked(LIBC.mount(source.encode(), str(target).encode(), kind.encode(), flags, options.encode()))


class Endpoint:
    """Requests with open files, and answers. Each is one packet."""

    def __init__(self, connection):
        self.connection = connection

    def serve(self, target):
        """Until the other side is gone."""
        while True:
            request, files, _, _ = socket.recv_fds(self.connection, 1 << 20, 4)
            if not request:
                return
            call = json.loads(request)
            try:
                answer = {"answer": getattr(target, call["do"])(*call["with"], *([files] if files else []))}
            except Exception as problem:  # is the test's to judge
                answer = {"problem": f"{call['do']}: {problem!r}"}
            for file in files:
                os.close(file)
            self.connection.send(json.dumps(answer).encode())


class PodProcess:
    """A process of a pod, which does what the runtime and the application make it do. One that says it is ready is
    still where process 1 is."""

    def join(self, group):
        """A directory of the control group file system."""
        with open(f"{group}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("0")

    def enter(self, files):
        setns(files[0], CLONE_NEWNET)

    def start(self, groups, files):
        """As runc does: into the groups first, then into the pod's network."""
        for group in groups:
            self.join(group)
        self.enter(files)

    def own_namespace(self):
        unshare(CLONE_NEWNET)

    def ask_sdk(self, uri):
        """As an application of the pod gets its credentials: [access key, secret, token], or the SDK's error."""
        os.environ.clear()
        os.environ.update(AWS_CONTAINER_CREDENTIALS_FULL_URI=uri, AWS_EC2_METADATA_DISABLED="true", HOME="/nonexistent")
        found = botocore.session.get_session().get_credentials()
        if found is None:
            raise LookupError("no credentials")
        assert found.method == "container-role", found.method
        return list(found.get_frozen_credentials())

    def ask_until(self, port, seconds, every):
        """Asks on loopback for so long, the first time as soon as somebody listens there. [[status, body], ...], each
        that is not like the one before."""
        began, answers = time.monotonic(), []
        while not answers or time.monotonic() < began + seconds:
            try:
                answer = self.ask(port)
            except ConnectionRefusedError:
                if answers or time.monotonic() > began + PATIENCE:
                    raise
                time.sleep(0.01)
                continue
            if answer not in answers[-1:]:
                answers.append(answer)
            time.sleep(every)
        return answers

    def ask_once(self, port):
        """[status, body], or None: there is nobody (any more)."""
        try:
            return self.ask(port)
        except (OSError, http.client.HTTPException):
            return None

    def start_and_ask(self, groups, port, files):
        """Seconds from when it is in the pod's network until it has an answer there."""
        self.start(groups, files)
        began = time.monotonic()
        request = f"GET /v1/credentials HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
        while time.monotonic() < began + PATIENCE:
            with socket.socket() as connection:
                connection.settimeout(10)
                if connection.connect_ex(("127.0.0.1", port)) == 0:
                    connection.sendall(request)
                    answer = connection.recv(65536)
                    assert answer.startswith(b"HTTP/1.1 200 "), answer
                    return time.monotonic() - began
            time.sleep(0.002)  # whoever asks all the time keeps others from answering
        raise TimeoutError("nobody listens in the pod")

    @staticmethod
    def ask(port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/v1/credentials")
            answer = connection.getresponse()
            return [answer.status, answer.read().decode()]
        finally:
            connection.close()

    def pid(self):
        return os.getpid()

    def network(self):
        return os.stat("/proc/self/ns/net").st_ino

    def read(self, path):
        return pathlib.Path(path).read_text(encoding="utf-8")


class ProcessOne:
    def __init__(self, name):
        """name: of the control group below which all is, in each hierarchy."""
        checked(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever ends is not waited for
        unshare(CLONE_NEWNS)
        mount("none", "/", "none", MS_REC | MS_PRIVATE)
        self.outer = []  # the parents of our control groups
        self.name = name
        self.endpoint = None
        for kind, options in HIERARCHIES.values():
            mount("none", "/sys/fs/cgroup", kind, options=options)
            self._sweep()
            os.mkdir(f"/sys/fs/cgroup/{name}")
            PodProcess().join(f"/sys/fs/cgroup/{name}")
            self.outer.append(os.open("/sys/fs/cgroup", os.O_RDONLY | os.O_DIRECTORY))
        unshare(CLONE_NEWCGROUP)
        mount("proc", "/proc", "proc")
        mount("tmpfs", "/run", "tmpfs")
        os.mkdir(PINS)
        mount("tmpfs", "/sys/fs", "tmpfs")
        for directory in (GROUPS, OLD_GROUPS, f"{OLD_GROUPS}/systemd"):
            os.mkdir(directory)
        mount("none", GROUPS, *HIERARCHIES["unified"][:1])
        mount("none", f"{OLD_GROUPS}/systemd", "cgroup", options=HIERARCHIES["systemd"][1])

    def _sweep(self):
        """Away with what tests left that were killed."""
        for left in pathlib.Path("/sys/fs/cgroup").glob("credlet-sandboxes-*"):
            if not os.path.exists(f"/proc/{left.name.split('-')[2]}"):
                remove_groups(left)

    def fork(self, files):
        """A new process that listens to the socket."""
        if os.fork() == 0:
            connection = socket.socket(fileno=os.dup(files[0]))
            for file in (*files, *self.outer):
                os.close(file)
            self.endpoint.connection.close()
            Endpoint(connection).serve(PodProcess())
            os._exit(0)

    def pin(self, name, files):
        path = f"{PINS}/{name}"
        with open(path, "x", encoding="ascii"):
            pass
        mount(f"/proc/self/fd/{files[0]}", path, "none", MS_BIND)

    def unpin(self, name):
        checked(LIBC.umount2(f"{PINS}/{name}".encode(), MNT_DETACH))
        os.unlink(f"{PINS}/{name}")

    def next_pid(self, number):
        with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as file:
            file.write(str(number - 1))

    def end(self):
        """All other processes, then the control groups."""
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass
        for parent in self.outer:
            PodProcess().join(f"/proc/self/fd/{parent}")
            remove_groups(pathlib.Path(f"/proc/self/fd/{parent}/{self.name}"))


def remove_groups(top):
    """A tree of control groups, as soon as the processes are gone that are ending there."""
    for directory, _, _ in os.walk(top, topdown=False):
        remove_group(directory)


def remove_group(directory, seconds=5):
    end = time.monotonic() + seconds
    while True:
        try:
            return os.rmdir(directory)
        except OSError as problem:
            if problem.errno != errno.EBUSY or time.monotonic() > end:
                raise
            time.sleep(0.002)


if __name__ == "__main__":
    one = ProcessOne(sys.argv[2])
    one.endpoint = Endpoint(socket.socket(fileno=int(sys.argv[1])))
    botocore.session.get_session().get_component("credential_provider")  # imports what it will need
    one.endpoint.serve(one)
