"""The image's program at work: a read-only root, a user without rights, and nothing else of the machine."""

import socket
import struct
import subprocess
import threading

import pytest
from daemon import genuine, served
from simulator import wait_until

ADDRESS = "169.254.170.23/32"
STS = "sts.eu-west-1.amazonaws.com"  # a name that the simulator's certificate has


def run(command, **how):
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env={}, **how)


def test_it_runs_in_an_empty_root(inside, root):
    done = run([*inside(), "version"])
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.startswith("credlet 0.")
    assert sorted(path.name for path in root.iterdir()) == ["etc", "usr"]


def test_it_serves_a_pod(world, serve, tmp_path):
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    run_folder.chmod(0o777)
    daemon = serve("--admin-listen", "unix:/run/credlet/admin.sock", bound={"/run/credlet": run_folder})
    pod = world.workload("app", "127.0.0.2")
    genuine(world, wait_until(lambda: served(daemon.credentials("127.0.0.2")), 10, "credentials"), pod)
    assert daemon.metric("build_info") == 1


@pytest.fixture
def name_server(network):
    """Answers every question for an address with 127.0.0.1, and for any other record with none. RFC 1035."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        asked = []

        def answer():
            while True:
                query, caller = server.recvfrom(4096)
                if not query:
                    return
                end = query.index(b"\0", 12) + 5
                (kind,) = struct.unpack_from(">H", query, end - 4)
                asked.append(query[12:end - 5])
                record = b"\xc0\x0c" + struct.pack(">HHIH4s", 1, 1, 60, 4, bytes([127, 0, 0, 1])) if kind == 1 else b""
                server.sendto(query[:2] + struct.pack(">HHHHH", 0x8180, 1, bool(record), 0, 0) + query[12:end] + record,
                              caller)
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield asked
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", 53))
        thread.join(5)


@pytest.mark.parametrize("where", ["hosts", "resolv.conf"])
def test_it_resolves_names(world, serve, name_server, tmp_path, where):
    (tmp_path / "hosts").write_text(f"127.0.0.1 {STS if where == 'hosts' else 'localhost'}\n", encoding="ascii")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n", encoding="ascii")
    port = world.sts_url.rsplit(":", 1)[1]
    daemon = serve(sts_url=f"https://{STS}:{port}", bound={f"/etc/{name}": tmp_path / name
                                                           for name in ("hosts", "resolv.conf")})
    pod = world.workload("app", "127.0.0.2")
    genuine(world, wait_until(lambda: served(daemon.credentials("127.0.0.2")), 10, "credentials"), pod)
    assert any(b"\x09eu-west-1\x09amazonaws\x03com" in name for name in name_server) == (where == "resolv.conf")


def test_it_trusts_the_certificates_of_the_image(world, serve):
    daemon = serve(system_ca=True)
    pod = world.workload("app", "127.0.0.2")
    genuine(world, wait_until(lambda: served(daemon.credentials("127.0.0.2")), 10, "credentials"), pod)


def test_its_link_serves(network, root):
    """As the init container runs it: root, with one capability."""
    command = ["setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--no-new-privs",
               str(root / "usr/local/bin/credlet"), "link", "--address", ADDRESS]
    for expected in ("added", "is there already"):
        done = run(command)
        assert done.returncode == 0 and f"{ADDRESS} {expected}" in done.stdout, done
    with socket.create_server((ADDRESS.split("/")[0], 80)):
        pass


def test_without_rights_link_says_which_it_needs(network, inside):
    done = run([*inside(), "link", "--address", ADDRESS])
    assert done.returncode == 1 and "NET_ADMIN" in done.stderr, done
