"""Start, end, and what a daemon that lives for months must get right in between."""

import collections
import concurrent.futures
import fcntl
import json
import re
import signal
import socket
import subprocess
import threading
import time

from daemon import BINARY, Credlet, genuine, served
from simulator import wait_until


def test_a_mistake_in_the_configuration_is_one_clear_line_and_no_start():
    for flags, named in ((["--listen", "nonsense"], "--listen"), (["--identity", "magic"], "--identity"),
                         (["--kube-api", "http://127.0.0.1:1"], "--kube-api"), (["--no-such-flag"], "no-such-flag")):
        ended = subprocess.run([BINARY, "serve", "--region", "eu-west-1", "--node-name", "n", "--kube-api",
                                "https://127.0.0.1:1", "--listen", "127.0.0.1:0", *flags], capture_output=True,
                               timeout=10, check=False)
        assert ended.returncode not in (0, -6, -11), (flags, ended)
        assert named in ended.stderr.decode() and len(ended.stderr.splitlines()) <= 3, ended.stderr


def test_F43_sigterm_lets_callers_in_flight_finish(world, start_credlet, new_pod):
    daemon = start_credlet(world)
    world.fault("sts", "delay", ms=2500)
    pods = [new_pod() for _ in range(16)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        waiting = [pool.submit(daemon.credentials, pod["ip"]) for pod in pods]
        wait_until(lambda: world.stats()["sts"]["in_flight"] >= 10, 5)
        wait_until(lambda: daemon.metric("connections") >= 16, 5)
        started = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        answers = [w.result() for w in waiting]
    for pod, answer in zip(pods, answers):
        genuine(world, answer, pod)
        assert answer.headers["Connection"] == "close"
    assert daemon.process.wait(10) == 0 and time.monotonic() - started < 10


def test_F43_nobody_is_reset_who_was_let_in(world, start_credlet, new_pod):
    daemon = start_credlet(world, "--pod-request-rate", "100000", "--pod-request-burst", "100000")
    pod = new_pod()
    wait_until(lambda: served(daemon.credentials(pod["ip"])))
    outcomes, stop = [], threading.Event()

    def hammer():
        while not stop.is_set():
            try:
                connection = socket.create_connection(daemon.address, 5, (pod["ip"], 0))
            except ConnectionRefusedError:
                return  # not let in any more
            with connection:
                try:
                    connection.sendall(b"GET /v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                    received = b""
                    while chunk := connection.recv(65536):
                        received += chunk
                    outcomes.append(received[:12].decode())
                except OSError as error:
                    outcomes.append(repr(error))
    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    wait_until(lambda: len(outcomes) > 1000, 10)
    assert len(outcomes) / (time.monotonic() - began) > 500  # a second
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(10) == 0
    stop.set()
    for thread in threads:
        thread.join(10)
    assert set(outcomes) == {"HTTP/1.1 200"}, collections.Counter(outcomes)


def test_F43_idle_connections_hold_up_the_end_for_half_the_drain_timeout(world, start_credlet, new_pod):
    daemon = start_credlet(world, "--drain-timeout", "2s")
    pod = new_pod()
    connections = [daemon.connect(pod["ip"]) for _ in range(10)]
    for connection in connections:
        connection.request("GET", "/v1/credentials")
        assert connection.getresponse().read()
    started = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(10) == 0 and 1 <= time.monotonic() - started < 3


def test_F47_a_reader_of_the_log_that_stops_stops_nobody_else(world, start_credlet, new_pod):
    daemon = start_credlet(world, "--log-level", "debug")
    fcntl.fcntl(daemon.output_pipe, fcntl.F_SETPIPE_SZ, 4096)
    daemon.reading.clear()  # the pipe fills up
    pod = new_pod()
    wait_until(lambda: served(daemon.credentials(pod["ip"])))
    for i in range(10):  # each service account is a line of the log and more
        made = world.post("/bulk", service_accounts=30, pods=30, namespace=f"logs-{i}", realistic=False,
                          first_address=f"127.80.{i}.1")["pods"]
        started = time.monotonic()
        assert served(daemon.credentials(pod["ip"])) and time.monotonic() - started < 1
        genuine(world, wait_until(lambda ip=made[-1]["ip"]: served(daemon.credentials(ip)), 20), made[-1])
        assert daemon.admin("/healthz").status == 200
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(10) == 0  # still nobody reads


def test_F47_a_log_that_nobody_reads_any_more_ends_nothing(world, start_credlet, new_pod):
    daemon = start_credlet(world)
    daemon.hang_up()  # EPIPE from now on
    for _ in range(3):
        pod = new_pod()
        genuine(world, daemon.credentials(pod["ip"]), pod)
    assert daemon.admin("/healthz").status == 200


def test_T36_no_secret_is_ever_logged_or_measured(world, start_credlet, new_pod, address):
    daemon = start_credlet(world, "--log-level", "debug")
    rejected = {"kind": "error", "code": "InvalidIdentityToken", "count": 1}
    sts_faults = [None, rejected, {"kind": "reset", "bytes": 900, "count": 1}, {"kind": "truncate", "bytes": -10, "count": 1},
                  {"kind": "incomplete", "field": "SessionToken", "count": 1}, {"kind": "expiry", "offset": -10, "count": 1},
                  {"kind": "error", "code": "ValidationError"}]
    kube_faults = [{"kind": "truncate", "bytes": -3, "count": 1}, {"kind": "status", "status": 500, "count": 1},
                   {"kind": "reset", "bytes": 500, "count": 1}]
    pods = [new_pod(sts_fault=fault) for fault in sts_faults] + [new_pod(kube_fault=fault) for fault in kube_faults]
    token = world.mint(pod=f"prod/{pods[0]['name']}")
    forged = world.mint(pod=f"prod/{pods[0]['name']}", key="foreign")
    session = daemon.session(pods[0]["ip"]).body.decode()
    daemon.credentials(address, token=token)
    daemon.credentials(address, token=forged)
    daemon.credentials(address, token=forged[:-1])
    daemon.imds("meta-data/iam/security-credentials/", pods[0]["ip"], session)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda pod: daemon.credentials(pod["ip"]), pods))
    metrics = daemon.admin("/metrics").body.decode()
    explained = daemon.admin(f"/explain?namespace=prod&pod={pods[0]['name']}").body.decode()
    environment = open(f"/proc/{daemon.process.pid}/environ", encoding="latin-1").read()
    daemon.stop()
    said = "".join(daemon.output) + daemon.errors.decode() + metrics + explained + environment
    issued = world.issued(secrets=True)
    secrets = [value for i in issued for value in (i["secret_access_key"], i["session_token"])]
    secrets += [token.split(".")[2], token.split(".")[1], forged.split(".")[2], session,
                world.daemon_token().split(".")[2], world.daemon_token().split(".")[1]]
    assert len(secrets) > 20 and pods[0]["name"] in said
    for secret in secrets:
        assert secret not in said and json.dumps(secret)[1:-1] not in said and secret[:40] not in said
    # No token of any sort: not those of TokenRequests either, which only the simulator saw.
    assert not re.search(r"eyJ[\w-]{20,}\.", said)
    assert not re.search(r"ASIA[A-Z0-9]{16}", metrics)
