#!/usr/bin/python3
"""Benchmarks of the binary against the simulators: bench.py [cold-start] [footprint] [pod-listeners] [warm-path]; all by
default.

cold-start  200 service accounts, 1000 pods, STS answering in 100 ms, all pods asking within one second: counts STS
            calls, the last answer's time, wrong and failed answers. Fails when an answer is wrong or missing, or the
            calls are not exactly one per service account.
footprint   resident memory with 1000 pods and 200 warm roles (at most 24 MiB), idle CPU over 40 s (at most 0.2 % of a
            core), time from start to listening (target 200 ms; the median of 5, and 1000 ms are let pass, because the
            machines that run this are shared: what it catches is a start that waits for something). Fails above these.
pod-listeners
            250 pods with network namespaces of their own, made one after the other, then in bursts of 25: from when a
            process is in its pod's namespace until it has an answer there (median at most 50 ms, the slowest at most
            250); idle CPU over 20 s with these and three pods that do not start (at most 0.2 % of a core); requests per
            second from a pod through its own listener beside those through the node's, or per second of CPU time (at
            least 0.9 of them). Fails when a target is missed. Takes root.
warm-path   credlet and nginx (`return 200` with the same body) in turn on one core, wrk on another: requests per
            second, the server's CPU time per request, resident memory, and the ratios. Printed, never gated on: the
            machines that run this are shared. Fails only on errors and on bodies that are not the right ones.
"""

import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "sim"), str(ROOT / "tests" / "integration")]

from daemon import Credlet  # noqa: E402
from private_network import new_namespace  # noqa: E402
from sandboxes import Node, Process  # noqa: E402
from simulator import Simulator, stop_all, wait_until  # noqa: E402

ASKERS = ROOT / "build" / "release" / "tests" / "bench_askers"
ACCOUNTS, PODS = 200, 1000
MOST_MEMORY_MIB, MOST_IDLE_PERCENT, MOST_START_MS = 24, 0.2, 1000
IDLE_SECONDS = 40
LISTENED_PODS, BURST, SCHEDULED_PODS, LISTENED_IDLE_SECONDS = 250, 25, 3, 20
MOST_MEDIAN_MS, MOST_SLOWEST_MS, LEAST_RATIO = 50, 250, 0.9
POD_PORT, NODE_ADDRESS = 9799, "169.254.170.23"


def precise_cpu_seconds(pid):
    """By the scheduler's own account, of all threads, in nanoseconds."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def resident_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def world_of_1000(directory, latency_ms):
    world = Simulator(directory, {"settings": {"sts_latency_ms": latency_ms}})
    pods = world.post("/bulk", service_accounts=ACCOUNTS, pods=PODS, first_address="127.1.0.1", realistic=True)["pods"]
    return world, pods


def cold_start(directory):
    world, pods = world_of_1000(directory, 100)
    running = [world]
    try:
        # Prefetch would do the work before anybody asks: the pods are known, and the first second is theirs.
        daemon = Credlet(world)
        running.insert(0, daemon)
        warm = daemon.metric("sts_requests_total")
        lines = "".join(f"{pod['ip']} {pod['role_arn']}\n" for pod in pods)
        asked = subprocess.run([str(ASKERS), str(daemon.address[1]), str(PODS), "1000"], input=lines, text=True,
                               stdout=subprocess.PIPE, timeout=120, check=False)
        figures = json.loads(asked.stdout)
        stats = world.stats()
        calls = sum(1 for call in world.calls("sts") if call.get("operation") == "AssumeRoleWithWebIdentity")
        print(f"cold start: {PODS} pods of {ACCOUNTS} service accounts asked within 1 s, STS answers in 100 ms")
        print(f"  STS calls {calls} ({warm:.0f} before the first pod asked), last answer after {figures['last_answer_ms']:.0f} ms, "
              f"per answer p50 {figures['p50_ms']} ms, p99 {figures['p99_ms']} ms, max {figures['max_ms']} ms")
        print(f"  wrong or failed answers: {figures['wrong_or_failed']}; credentials issued: {stats['issued']}")
        return figures["wrong_or_failed"] == 0 and figures["answers"] == PODS and calls == ACCOUNTS
    finally:
        stop_all(running)


def footprint(directory):
    world, _ = world_of_1000(directory, 0)
    running = [world]
    try:
        starts = []
        for _ in range(5):
            begun = time.monotonic()
            daemon = Credlet(world, ready=False)
            starts.append((time.monotonic() - begun) * 1000)
            daemon.stop()
        start = statistics.median(starts)
        daemon = Credlet(world)
        running.insert(0, daemon)
        wait_until(lambda: daemon.metric("credentials", state="fresh") == ACCOUNTS, 60, "200 warm roles", every=0.25)
        pid = daemon.process.pid
        memory = resident_mib(pid)
        # Only waiting shows what a daemon does by itself: its watches' probes come every half minute at most.
        before, begun = precise_cpu_seconds(pid), time.monotonic()
        time.sleep(IDLE_SECONDS)
        idle = (precise_cpu_seconds(pid) - before) / (time.monotonic() - begun) * 100
        print(f"footprint: {PODS} pods, {ACCOUNTS} warm roles: {memory:.1f} MiB resident (at most {MOST_MEMORY_MIB})")
        print(f"  idle CPU {idle:.3f} % of a core over {IDLE_SECONDS} s (at most {MOST_IDLE_PERCENT})")
        print(f"  from start to listening: median {start:.0f} ms of 5 starts (target 200, at most {MOST_START_MS} here), "
              "process start and reading its log included")
        return memory <= MOST_MEMORY_MIB and idle <= MOST_IDLE_PERCENT and start <= MOST_START_MS
    finally:
        stop_all(running)


NGINX = """
worker_processes 1; daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 60s;
  client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory};
  server {{ listen 127.0.0.1:{port} backlog=4096; default_type application/json; add_header Cache-Control no-store;
    location / {{ return 200 '{body}'; }} }}
}}
"""


def run_wrk(port, seconds, headers, *more, host="127.0.0.1", network=()):
    """network: the beginning of a command that runs in another one."""
    command = [*network, "taskset", "-c", "1", "wrk", "-t1", "-c64", f"-d{seconds}s", *more]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    output = subprocess.run([*command, f"http://{host}:{port}/v1/credentials"], stdout=subprocess.PIPE, text=True,
                            check=True, timeout=120).stdout
    assert "Non-2xx" not in output and "Socket errors" not in output, output
    return output


# wrk's response hook: every body must be the one that is expected.
VERIFY = """
local file = io.open("{expected}", "rb")
local expected = file:read("*a")
file:close()
local threads = {{}}
function setup(thread) table.insert(threads, thread) end
function init() right, wrong = 0, 0 end
function response(status, headers, body)
  if status == 200 and body == expected then right = right + 1 else wrong = wrong + 1 end
end
function done()
  local sum = {{right = 0, wrong = 0}}
  for _, thread in ipairs(threads) do
    for name in pairs(sum) do sum[name] = sum[name] + thread:get(name) end
  end
  print("bodies: " .. sum.right .. " right, " .. sum.wrong .. " wrong")
end
"""


def verify_bodies(port, headers, body, directory, **where):
    """A short run of its own under the same load, so that looking at the bodies does not cost where it is measured."""
    expected, script = pathlib.Path(directory) / "expected.json", pathlib.Path(directory) / "verify.lua"
    expected.write_text(body)
    script.write_text(VERIFY.format(expected=expected))
    seen = re.search(r"bodies: (\d+) right, (\d+) wrong", run_wrk(port, 1, headers, "-s", str(script), **where))
    right, wrong = int(seen[1]), int(seen[2])
    assert right and not wrong, f"{wrong} of {right + wrong} bodies are not {body}"


def wrk(port, seconds, headers, **where):
    output = run_wrk(port, seconds, headers, **where)
    requests = int(re.search(r"(\d+) requests in", output)[1])
    return requests, float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])


def warm_path(directory, seconds=3, rounds=5):
    world = Simulator(directory)
    running, nginx = [world], None
    try:
        pod = world.workload("warm", "127.0.0.1")
        token = world.mint(pod=f"{pod['namespace']}/{pod['name']}", audiences=["sts.amazonaws.com"])
        daemon = Credlet(world, *UNLIMITED)
        running.insert(0, daemon)
        wait_until(lambda: daemon.credentials("127.0.0.1").status == 200, 10)
        assert daemon.credentials("127.0.0.1", token=token).status == 200
        body = daemon.credentials("127.0.0.1").body.decode()
        subprocess.run(["taskset", "-acp", "0", str(daemon.process.pid)], check=True, stdout=subprocess.DEVNULL)

        place = tempfile.mkdtemp(dir=directory)
        port = 20000 + os.getpid() % 10000
        config = pathlib.Path(place) / "nginx.conf"
        config.write_text("user root;\n" + NGINX.format(directory=place, port=port, body=body))
        nginx = subprocess.Popen(["taskset", "-c", "0", shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(config)])

        def worker():
            children = pathlib.Path(f"/proc/{nginx.pid}/task/{nginx.pid}/children").read_text().split()
            return int(children[0]) if children else None
        wait_until(worker, 10, "nginx's worker")

        by_token = {"Authorization": token}
        modes = {"keep-alive, by address": {}, "keep-alive, remembered token": by_token,
                 "connection per request, by address": {"Connection": "close"},
                 "connection per request, remembered token": {"Connection": "close", **by_token}}
        print(f"warm path: {len(body)} byte body, one core for the server, wrk -c64 on another, {rounds} rounds of "
              f"{seconds} s in turn, medians")
        good = True
        for mode, headers in modes.items():
            for where in (daemon.address[1], port):
                verify_bodies(where, headers, body, directory)
            figures = {"credlet": [], "nginx": []}
            for _ in range(rounds):
                for name, pid, where in (("credlet", daemon.process.pid, daemon.address[1]), ("nginx", worker(), port)):
                    before = precise_cpu_seconds(pid)
                    # nginx gets the same request, header and all.
                    requests, rate = wrk(where, seconds, headers)
                    figures[name].append((rate, (precise_cpu_seconds(pid) - before) / requests * 1e6))
            rates = [c[0] / n[0] for c, n in zip(figures["credlet"], figures["nginx"])]
            costs = [n[1] / c[1] for c, n in zip(figures["credlet"], figures["nginx"])]
            show = {name: (statistics.median(r for r, _ in rows), statistics.median(c for _, c in rows))
                    for name, rows in figures.items()}
            print(f"  {mode}: credlet {show['credlet'][0]:.0f}/s at {show['credlet'][1]:.2f} us CPU, nginx "
                  f"{show['nginx'][0]:.0f}/s at {show['nginx'][1]:.2f} us; ratio of rates "
                  f"{statistics.median(rates):.2f}, of CPU time (nginx/credlet) {statistics.median(costs):.2f}")
            good = good and min(show["credlet"]) > 0
        print(f"  resident: credlet {resident_mib(daemon.process.pid):.1f} MiB, nginx worker "
              f"{resident_mib(worker()):.1f} MiB")
        return good
    finally:
        if nginx:
            nginx.terminate()
            nginx.wait(10)
        stop_all(running)


UNLIMITED = ("--pod-request-rate", "1000000", "--pod-request-burst", "1000000", "--max-connections-per-pod", "4096")


class ListenedPods:
    """Pods of one service account, whose role is warm: what is measured is the way to the listener."""

    def __init__(self, world, node):
        self.world, self.node, self.made = world, node, 0
        arn = world.role("listened", subjects="system:serviceaccount:prod:listened")
        world.service_account("prod", "listened", role_arn=arn)

    def schedule(self, count):
        """As the API server and the runtime have them before a process runs in them."""
        first, self.made = self.made, self.made + count
        known = self.world.call("POST", "/pods", [
            {"namespace": "prod", "name": f"listened-{i}", "service_account": "listened", "phase": "Pending"}
            for i in range(first, self.made)])
        pods = []
        for i, one in enumerate(known, first):
            pods.append(self.node.pod(one["uid"], [f"10.244.{1 + i // 250}.{1 + i % 250}"],
                                      runtime=("containerd", "cri-o")[i % 2], driver=("systemd", "cgroupfs")[i // 2 % 2]))
            pods[-1].known = one
            pods[-1].make_group()
            pods[-1].make_network()
        return pods

    def publish(self, pods):
        for pod in pods:
            self.world.patch_pod("prod", pod.known["name"], ips=pod.addresses, phase="Running")

    def end(self, pods):
        for pod in pods:
            pod.end()
            self.world.delete_pod("prod", pod.known["name"])


def start_asking(pod):
    """Its first process in its network asks as soon as it is there."""
    if pod.runtime == "cri-o":
        pod.start_sandbox()  # a monitor elsewhere
    pod.processes.append(Process(pod.node))
    pod.processes[-1].begin("start_and_ask", [pod.container_group()], POD_PORT, files=[pod.network.file])


def time_to_listener(daemon, listened, burst):
    """Seconds of each pod, and the pods."""
    pods, took = listened.schedule(LISTENED_PODS), []
    wait_until(lambda: daemon.metric("pod_listeners") == LISTENED_PODS, 10, "the daemon knows of them", every=0.1)
    for i in range(0, len(pods), burst):
        for pod in pods[i:i + burst]:
            start_asking(pod)
        took += [pod.processes[-1].result() for pod in pods[i:i + burst]]
        listened.publish(pods[i:i + burst])
    return took, pods


def pod_listeners(directory):
    good = True
    with new_namespace():
        world, node = Simulator(directory), Node()
        running = [world, node]
        try:
            node.links.add_address("lo", NODE_ADDRESS)
            listened = ListenedPods(world, node)
            daemon = Credlet(world, "--pod-listen", f"127.0.0.1:{POD_PORT}", *UNLIMITED, listen=(f"{NODE_ADDRESS}:80",),
                             node=node)
            running.insert(0, daemon)
            first = listened.schedule(1)
            start_asking(first[0])
            first[0].processes[-1].result()
            listened.end(first)
            print(f"pod listeners: {LISTENED_PODS} pods, from a process in the namespace to an answer there (at most "
                  f"{MOST_MEDIAN_MS} ms in the median, {MOST_SLOWEST_MS} ms for the slowest)")
            for name, burst in (("one after the other", 1), (f"in bursts of {BURST}", BURST)):
                took, pods = time_to_listener(daemon, listened, burst)
                took = sorted(seconds * 1000 for seconds in took)
                print(f"  {name}: median {statistics.median(took):.1f} ms, p90 {took[len(took) * 9 // 10]:.1f} ms, slowest "
                      f"{took[-1]:.1f} ms")
                good = good and statistics.median(took) <= MOST_MEDIAN_MS and took[-1] <= MOST_SLOWEST_MS
                if burst == 1:
                    listened.end(pods)
            wait_until(lambda: daemon.metric("pod_listeners", state="listening") == LISTENED_PODS, 10, "all of them")
            listened.schedule(SCHEDULED_PODS)  # they never start
            time.sleep(5)  # until what all that has stirred up has settled
            pid = daemon.process.pid
            before, begun = precise_cpu_seconds(pid), time.monotonic()
            time.sleep(LISTENED_IDLE_SECONDS)
            idle = (precise_cpu_seconds(pid) - before) / (time.monotonic() - begun) * 100
            print(f"  idle CPU {idle:.3f} % of a core over {LISTENED_IDLE_SECONDS} s, {SCHEDULED_PODS} more pods scheduled (at "
                  f"most {MOST_IDLE_PERCENT}), {resident_mib(pid):.1f} MiB resident")
            ratio = listener_throughput(daemon, pods[0], directory)
            return good and idle <= MOST_IDLE_PERCENT and ratio >= LEAST_RATIO
        finally:
            stop_all(running)


def listener_throughput(daemon, pod, directory, seconds=2, rounds=4):
    """The pod's own listener beside the node's, which it reaches over its cable: the ratio of requests per second, or that of
    requests per second of the server's CPU time, whichever is better. On a shared machine the first is at others' mercy."""
    pid = daemon.process.pid
    subprocess.run(["taskset", "-acp", "0", str(pid)], check=True, stdout=subprocess.DEVNULL)
    network = ("nsenter", f"--net={pod.network.path}")
    ways = {"pod": (POD_PORT, "127.0.0.1"), "node": (80, NODE_ADDRESS)}
    with pod.inside():
        body = daemon.credentials(where=("127.0.0.1", POD_PORT)).body.decode()
    for port, host in ways.values():
        verify_bodies(port, {}, body, directory, host=host, network=network)
    figures = {way: [] for way in ways}
    for number in range(rounds):
        for way in ways if number % 2 else reversed(ways):
            port, host = ways[way]
            before = precise_cpu_seconds(pid)
            requests, rate = wrk(port, seconds, {}, host=host, network=network)
            figures[way].append((rate, (precise_cpu_seconds(pid) - before) / requests * 1e6))
    rates = statistics.median(a[0] / b[0] for a, b in zip(figures["pod"], figures["node"]))
    costs = statistics.median(b[1] / a[1] for a, b in zip(figures["pod"], figures["node"]))
    show = {way: "{:.0f}/s at {:.2f} us CPU".format(*map(statistics.median, zip(*rows))) for way, rows in figures.items()}
    print(f"  keep-alive, one core, wrk -c64 in a pod on another, {rounds} rounds of {seconds} s in turn: {show['pod']} through its "
          f"own listener, {show['node']} through the node's; ratio of rates {rates:.2f}, of CPU time {costs:.2f} (one of them at "
          f"least {LEAST_RATIO})")
    return max(rates, costs)


def main():
    benchmarks = {"cold-start": cold_start, "footprint": footprint, "pod-listeners": pod_listeners, "warm-path": warm_path}
    wanted = sys.argv[1:] or list(benchmarks)
    results = []
    for name in wanted:
        with tempfile.TemporaryDirectory() as directory:
            results.append(benchmarks[name](directory))
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
