"""Callers at a steady rate, in a process of their own so that the test does not slow them down.

The rate is kept whatever the daemon does: a request is sent when its time has come, not when another was answered. Some
connect for every request, others keep their connections as SDKs do: one that the daemon has closed meanwhile, or whose
answer said so, is not used again. What goes wrong after a request was sent is a failure; nothing is tried again unless
the plan says so.
"""

import asyncio
import collections
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys

from namespaces import inside

LATE = 0.05  # seconds: whoever sends later than this shows that the machine is busy, not that the daemon is


class Callers:
    """pods: [{"ip": ..., "where": [host, port], "network": path of a namespace, where it is another}, ...]; new: requests
    per second with a connection each; kept: connections that are kept, with a request `every` so many seconds."""

    def __init__(self, pods, new=0, kept=0, every=0.2, attempts=1, timeout=5):
        plan = {"pods": pods, "new": new, "kept": kept, "every": every, "attempts": attempts, "timeout": timeout}
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", sys.executable, pathlib.Path(__file__)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdin.write(json.dumps(plan) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "started\n"

    def stop(self):
        """What has come out: {"asked", "late", "failures": [...], "answers": {ip: {body: how often}}}"""
        out, _ = self.process.communicate(timeout=60)  # the end of its input ends it
        assert self.process.returncode == 0
        return json.loads(out)


class Load:
    def __init__(self, plan):
        self.plan = plan
        self.loop = asyncio.get_running_loop()
        self.stopping = asyncio.Event()
        self.asked = self.late = 0
        self.failures = []
        self.answers = collections.defaultdict(collections.Counter)

    async def run(self):
        jobs = [asyncio.create_task(self.strangers())] if self.plan["new"] else []
        jobs += [asyncio.create_task(self.regular(i)) for i in range(self.plan["kept"])]
        await self.loop.run_in_executor(None, sys.stdin.read)
        self.stopping.set()
        await asyncio.gather(*jobs)

    async def until(self, time):
        """False if it all ends before."""
        try:
            async with asyncio.timeout_at(time):
                await self.stopping.wait()
            return False
        except TimeoutError:
            self.asked += 1
            self.late += self.loop.time() - time > LATE
            return True

    async def strangers(self):
        tasks, at, pods = set(), self.loop.time(), self.plan["pods"]
        while await self.until(at):
            caller = Caller(self, pods[self.asked % len(pods)], says_close=self.asked % 2 == 0)
            task = asyncio.create_task(caller.ask_and_go())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            at += 1 / self.plan["new"]
        if tasks:
            await asyncio.wait(tasks)

    async def regular(self, number):
        pods, every = self.plan["pods"], self.plan["every"]
        caller = Caller(self, pods[number % len(pods)])
        at = self.loop.time() + every * number / self.plan["kept"]
        while await self.until(at):
            await caller.ask()
            at += every
        caller.hang_up()


class Caller:
    def __init__(self, load, pod, says_close=False):
        self.load, self.pod = load, pod
        host = pod["where"][0]
        host = f"[{host}]" if ":" in host else host
        close = "Connection: close\r\n" if says_close else ""
        self.request = f"GET /v1/credentials HTTP/1.1\r\nHost: {host}\r\n{close}\r\n".encode()
        self.socket = None
        self.network = os.open(pod["network"], os.O_RDONLY) if "network" in pod else None

    async def ask_and_go(self):
        await self.ask()
        self.hang_up()

    async def ask(self):
        for attempt in range(1, self.load.plan["attempts"] + 1):
            try:
                async with asyncio.timeout(self.load.plan["timeout"]):
                    status, body = await self.exchange()
                if status == 200:
                    self.load.answers[self.pod["ip"]][body] += 1
                    return
                problem = f"{status} {body}"
            except OSError as error:  # which a timeout is, too
                problem = repr(error)
            self.hang_up()
            if attempt < self.load.plan["attempts"]:
                await asyncio.sleep(1)
        self.load.failures.append(f"{self.pod['ip']}: {problem}")

    async def exchange(self):
        if self.socket is None or self.was_closed():
            await self.connect()
        await self.load.loop.sock_sendall(self.socket, self.request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += await self.more()
        head, body = received.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        while len(body) < int(headers["content-length"]):
            body += await self.more()
        if headers.get("connection") == "close":
            self.hang_up()
        return int(lines[0].split()[1]), body.decode()

    async def more(self):
        chunk = await self.load.loop.sock_recv(self.socket, 65536)
        if not chunk:
            raise ConnectionError("closed before the answer was whole")
        return chunk

    async def connect(self):
        self.hang_up()
        where = self.pod["where"]
        with inside(self.network) if self.network is not None else contextlib.nullcontext():
            self.socket = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET)
        self.socket.setblocking(False)
        self.socket.bind((self.pod["ip"], 0))
        await self.load.loop.sock_connect(self.socket, tuple(where))

    def was_closed(self):
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def hang_up(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None


async def main():
    load = Load(json.loads(sys.stdin.readline()))
    print("started", flush=True)
    await load.run()
    json.dump({"asked": load.asked, "late": load.late, "failures": load.failures, "answers": load.answers}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
