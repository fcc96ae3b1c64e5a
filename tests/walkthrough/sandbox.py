"""A pod's place on the node: a mount namespace, a network namespace unless it is on the host's, and its processes in them."""

import asyncio
import itertools
import pathlib
import re
import shutil

NUMBERS = itertools.count(1)
GATEWAY = "169.254.1.1"  # one hop to the node, whatever the pod's address: as Calico has it


class Broken(Exception):
    """The pod asks for what there is not."""


async def run(*command, **how):
    process = await asyncio.create_subprocess_exec(*map(str, command), stdout=asyncio.subprocess.PIPE,
                                                   stderr=asyncio.subprocess.STDOUT, **how)
    output, _ = await process.communicate()
    if process.returncode:
        raise Broken(f"{' '.join(map(str, command))}: {output.decode()}")
    return output


class Sandbox:
    def __init__(self, address=None):
        """address: the pod's own; without one it is on the host's network."""
        self.address = address
        self.spaces = ["--mount"] + (["--net"] if address else [])

    async def start(self):
        unshare = ["unshare", "--propagation", "private", *self.spaces, "sh", "-c", "echo; exec sleep infinity"]
        self.pause = await asyncio.create_subprocess_exec("setpriv", "--pdeathsig", "KILL", *unshare,
                                                          stdout=asyncio.subprocess.PIPE)
        await self.pause.stdout.readline()  # it is in there
        self.root = pathlib.Path(f"/proc/{self.pause.pid}/root")
        for place in ("/run", "/tmp", "/usr/local/bin"):
            await self.inside("mount", "-t", "tmpfs", "tmpfs", place)
        if self.address:
            await self._connect()

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
        return ["nsenter", "--target", str(self.pause.pid), *self.spaces, "--", *map(str, command)]

    async def inside(self, *command):
        return await run(*self._enter(command))

    def mount(self, path, files):
        """A volume's files at a path below /run, where there is nothing of the machine's."""
        path = re.sub("^/var/run/", "/run/", path)
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

    async def spawn(self, command, environment, capabilities=None, **how):
        """capabilities: all that root has in there; None: as the machine's root."""
        limit = []
        if capabilities is not None:
            kept = "".join(f",+{name.lower()}" for name in capabilities)
            limit = ["setpriv", "--no-new-privs", "--inh-caps", "-all", "--bounding-set", "-all" + kept]
        return await asyncio.create_subprocess_exec("setpriv", "--pdeathsig", "KILL", *self._enter([*limit, *command]),
                                                    env=environment, **how)

    async def stop(self):
        self.pause.kill()
        await self.pause.wait()
