"""The admin endpoints on a unix socket, probes and explanations through it, and a listener for metrics alone."""

import os
import socket
import stat
import subprocess

import pytest
from daemon import BINARY
from simulator import wait_until


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "admin.sock")


def command(*arguments, admin=None):
    environment = {"CREDLET_ADMIN_LISTEN": admin} if admin else {}
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=30, env=environment)


def probe(what, path):
    return command("probe", what, admin=f"unix:{path},127.0.0.1:9")


def get(path, target, headers=""):
    """All that is answered to a request through the socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(path)
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n".encode())
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received.decode()


def test_probes_and_explanations_come_through_a_socket(world, start_credlet, new_pod, path):
    daemon = start_credlet(world, "--admin-listen", f"unix:{path}")
    assert [entry["address"] for entry in daemon.logged(message="listening", listener="admin")][1] == f"unix:{path}"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    for what, says in (("healthz", "ok"), ("readyz", "ready")):
        done = probe(what, path)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{says}\n", "")
    assert "credlet_build_info" in get(path, "/metrics")

    pod = new_pod()
    asked = wait_until(lambda: explained(path, pod), 10, "an explanation without a failure")
    assert "The pod gets its credentials." in asked.stdout
    missing = command("explain", "--namespace", "prod", "--pod", "nobody", "--admin", f"unix:{path}")
    assert missing.returncode == 1 and "FAILED" in missing.stdout

    daemon.stop()
    assert not os.path.exists(path)
    done = probe("healthz", path)
    assert done.returncode == 2 and path in done.stderr and not done.stdout


def explained(path, pod):
    done = command("explain", "--namespace", pod["namespace"], "--pod", f"{pod['service_account']}-pod", admin=f"unix:{path}")
    return done if done.returncode == 0 else None


def test_a_probe_says_why_a_daemon_is_not_ready(start_world, start_credlet, path):
    world = start_world()
    world.post("/listen", target="kube", up=False)
    daemon = start_credlet(world, "--admin-listen", f"unix:{path}", ready=False)
    done = wait_until(lambda: os.path.exists(path) and probe("readyz", path), 10, "an answer")
    assert done.returncode == 1
    assert done.stdout.startswith("not ready: the pods of this node have not been listed yet; "), done
    assert probe("healthz", path).returncode == 0
    world.post("/listen", target="kube", up=True)
    daemon.wait_ready()
    assert probe("readyz", path).returncode == 0


def test_a_daemon_that_died_leaves_nothing_in_the_way(world, start_credlet, path):
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(path)
    start_credlet(world, "--admin-listen", f"unix:{path}")
    assert probe("readyz", path).returncode == 0


def test_F50_a_second_daemon_is_ready_while_the_first_has_the_port(world, start_credlet, tmp_path):
    first = start_credlet(world)
    taken = "%s:%d" % first.listeners["admin"][0]
    path = str(tmp_path / "second.sock")
    second = start_credlet(world, "--admin-listen", f"unix:{path}", wait=False, admin=taken)
    wait_until(lambda: os.path.exists(path) and probe("readyz", path).returncode == 0, 15, "readiness")
    assert "in use" in second.wait_logged("cannot listen", listener="admin", address=taken)["error"]
    first.stop()
    wait_until(lambda: second.logged(message="listening", address=taken), 5, "the port")
    assert len(second.logged(message="cannot listen")) == 1


def test_the_listener_for_metrics_has_nothing_else(world, start_credlet):
    daemon = start_credlet(world, "--metrics-listen", "127.0.0.1:0")
    where = wait_until(lambda: daemon.listeners["metrics"], 5, "the listener")[0]
    answer = daemon.get("/metrics", where=where)
    assert answer.status == 200 and b"credlet_build_info" in answer.body
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for path in ("/", "/healthz", "/readyz", "/explain?namespace=prod&pod=a", "/v1/credentials", "/latest/meta-data/"):
        assert daemon.get(path, where=where).status == 404, path
    assert daemon.request("PUT", "/metrics", where=where).status == 405


def test_F50_a_port_for_metrics_that_is_taken_keeps_nobody_waiting(world, start_credlet):
    with socket.create_server(("127.0.0.1", 0)) as held:
        taken = "127.0.0.1:%d" % held.getsockname()[1]
        daemon = start_credlet(world, "--metrics-listen", taken)  # which is ready all the same
        assert "in use" in daemon.wait_logged("cannot listen", listener="metrics")["error"]
    daemon.wait_logged("listening", listener="metrics", address=taken)
    assert len(daemon.logged(message="cannot listen")) == 1


def test_a_file_that_is_no_socket_is_not_touched(world, start_credlet, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("content", encoding="ascii")
    daemon = start_credlet(world, "--admin-listen", f"unix:{precious}")
    assert "no socket" in daemon.wait_logged("cannot listen", listener="admin")["error"]
    daemon.stop()
    assert precious.read_text(encoding="ascii") == "content"
