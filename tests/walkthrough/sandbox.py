"""A pod's place on the node: a control group, a mount namespace, a network namespace unless it is on the host's, and its
processes in them."""

import asyncio
import itertools
import pathlib
import re
import shutil
import uuid

from groups import end_group

NUMBERS = itertools.count(1)
GATEWAY = "169.254.1.1"  # one hop to the node, whatever the pod's address: as Calico has it
GROUPS = pathlib.Path("/sys/fs/cgroup/kubepods/besteffort")  # where the kubelet puts pods' with the cgroupfs driver

# A root of the pod's own, with all that the machine's has and some directories of its own: so a volume can be at any path.
# Arguments: a path in the pod, a path of the machine, and so on.
BUILD_ROOT = """
set -e
root=/mnt
mount -t tmpfs tmpfs $root
for entry in /*; do
  if [ -L "$entry" ]; then cp -P "$entry" $root/
  elif [ -d "$entry" ]; then
    mkdir "$root$entry"
    [ "$entry" = $root ] || mount --rbind "$entry" "$root$entry"
  fi
done
for place in /run /tmp /usr/local/bin; do mount -t tmpfs tmpfs $root$place; done
while [ $# -gt 0 ]; do
  mkdir -p "$root$1"
  mount --rbind "$2" "$root$1"
  shift 2
done
exec chroot $root sh -c "echo built; exec sleep infinity"
"""


class Broken(Exception):
    """The pod asks for what there is not."""


async def run(*command, **how):
    process = await asyncio.create_subprocess_exec(*map(str, command), stdout=asyncio.subprocess.PIPE,
                                                   stderr=asyncio.subprocess.STDOUT, **how)
    output, _ = await process.communicate()
    if process.returncode:
        raise Broken(f"{' '.join(map(str, command))}: {output.decode()}")
    return output


def in_pod(path):
    """Without the symbolic link that the machine has there."""
    return re.sub("^/var/run/", "/run/", path)


class Sandbox:
    def __init__(self, uid, address=None, host_paths=None):
        """address: the pod's own; without one it is on the host's network. host_paths: {path in the pod: path of the
        machine}."""
        self.group, self.groups = GROUPS / f"pod{uid}", {}
        self.address, self.host_paths = address, host_paths or {}
        self.spaces = ["--mount"] + (["--net"] if address else [])

    async def start(self):
        paths = [path for pair in self.host_paths.items() for path in (in_pod(pair[0]), pair[1])]
        unshare = ["unshare", "--propagation", "private", *self.spaces, "sh", "-c", BUILD_ROOT, "sandbox", *paths]
        self.pause = await asyncio.create_subprocess_exec(*self._placed("pause", unshare), stdout=asyncio.subprocess.PIPE)
        if await self.pause.stdout.readline() != b"built\n":
            raise Broken("no place for the pod")
        self.root = pathlib.Path(f"/proc/{self.pause.pid}/root")
        if self.address:
            await self._connect()

    def _placed(self, container, command):
        """The command, in the control group of a container of this pod. Ends with this process."""
        if container not in self.groups:
            self.groups[container] = self.group / uuid.uuid4().hex
            self.groups[container].mkdir(parents=True)
        enter = ["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(self.groups[container])]
        return ["setpriv", "--pdeathsig", "KILL", *enter, *map(str, command)]

    async def _connect(self):
        """A veth pair and a route of the pod's address, as a CNI plugin makes them."""
        link = f"pod{next(NUMBERS)}"
        await run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", self.pause.pid)
        await run("ip", "address", "add", f"{GATEWAY}/32", "dev", link)
        await run("ip", "link", "set", link, "up")
        for command in (["link", "set", "lo", "up"], ["address", "add", f"{self.address}/32", "dev", "eth0"],
                        ["link", "set", "eth0", "up"], ["route", "add", GATEWAY, "dev", "eth0"],
                        ["route", "add", "default", "via", GATEWAY, "dev", "eth0"]):
            await self.inside("ip", *command)
        await run("ip", "route", "add", f"{self.address}/32", "dev", link)

    def _enter(self, command):
        return ["nsenter", "--target", str(self.pause.pid), *self.spaces, "--root", "--wd", "--", *map(str, command)]

    async def inside(self, *command):
        return await run(*self._enter(command))

    def mount(self, path, files):
        """A volume's files at a path below /run, where there is nothing of the machine's."""
        path = in_pod(path)
        if not path.startswith("/run/"):
            raise Broken(f"a volume at {path}")
        where = self.root / path.removeprefix("/")
        where.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (where / name).write_text(content)

    def install(self, programs):
        """What the image has in /usr/local/bin: {name: path on this machine}."""
        for name, path in programs.items():
            program = self.root / "usr/local/bin" / name
            if program.exists() or program.is_symlink():
                continue
            if pathlib.Path(path).open("rb").read(4) == b"\x7fELF":
                shutil.copy(path, program)  # it may be below /tmp, which the pod has one of its own in place of
            else:
                program.symlink_to(path)  # a script, which goes by its own place

    async def spawn(self, container, command, environment, capabilities=None, **how):
        """capabilities: all that root has in there; None: as the machine's root."""
        limit = []
        if capabilities is not None:
            kept = "".join(f",+{name.lower()}" for name in capabilities)
            limit = ["setpriv", "--no-new-privs", "--inh-caps", "-all", "--bounding-set", "-all" + kept]
        return await asyncio.create_subprocess_exec(*self._placed(container, self._enter([*limit, *command])),
                                                    env=environment, **how)

    async def stop(self):
        self.pause.kill()
        await self.pause.wait()
        await asyncio.to_thread(end_group, self.group)
