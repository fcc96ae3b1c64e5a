"""One shell that runs block after block of a page, as a reader pastes them: what one sets, the next has."""

import os
import select
import signal
import subprocess
import time
import uuid


class Failed(AssertionError):
    pass


class Shell:
    """A command that fails ends it, unlike a reader's."""

    def __init__(self, directory, environment, alive=lambda: True):
        """alive: raises when there is nothing left to wait for."""
        self.directory, self.alive = directory, alive
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "bash", "--noprofile", "--norc"], cwd=directory, env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        self._send("set -euo pipefail\n")

    def _send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def run(self, text, seconds=200):
        """What it prints. Raises Failed."""
        file, mark = self.directory / f".block-{uuid.uuid4()}", f"--{uuid.uuid4()}--"
        file.write_text(text)
        self._send(f"source {file} </dev/null; echo; echo {mark}\n")
        printed, deadline = b"", time.monotonic() + seconds
        while not printed.endswith(f"\n{mark}\n".encode()):
            if not select.select([self.process.stdout], [], [], 0.5)[0]:
                self.alive()
                if time.monotonic() > deadline:
                    raise Failed(f"took more than {seconds} s:\n{text}\nIt printed:\n{printed.decode()}")
                continue
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                raise Failed(f"ended in failure:\n{text}\nIt printed:\n{printed.decode()}")
            printed += chunk
        return printed.decode().removesuffix(f"\n{mark}\n")

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process.stdout.close()
