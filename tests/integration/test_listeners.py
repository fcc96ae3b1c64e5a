"""Addresses that are taken, missing or late, and signals that are none of the daemon's business."""

import signal
import socket

from daemon import genuine, served
from simulator import wait_until


def test_F50_an_address_that_another_process_still_holds_is_waited_for(world, start_credlet):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    pods, admin = (f"127.0.0.1:{server.getsockname()[1]}" for server in held)
    daemon = start_credlet(world, wait=False, listen=(pods,), admin=admin)
    for listener in ("pods", "admin"):
        refused = daemon.wait_logged("cannot listen", listener=listener)
        assert "in use" in refused["error"], refused
    for server in held:
        server.close()
    daemon.wait_ready()


def test_F50_an_ipv6_address_that_is_missing_keeps_nobody_waiting(world, start_credlet, new_pod):
    daemon = start_credlet(world, wait=False, listen=("[fd00:ec2::23]:0", "127.0.0.1:0"))
    daemon.wait_ready()
    assert daemon.wait_logged("cannot listen")["address"] == "[fd00:ec2::23]:0"
    pod = new_pod()
    genuine(world, wait_until(lambda: served(daemon.credentials(pod["ip"]))), pod)


def test_F46_a_hang_up_ends_nothing(world, start_credlet):
    daemon = start_credlet(world)
    daemon.process.send_signal(signal.SIGHUP)
    assert daemon.admin("/healthz").status == 200


def test_an_issuance_is_on_record_at_every_log_level(world, start_credlet, new_pod):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]  # at this level it does not say where it listens
    pods, admin = (server.getsockname() for server in held)
    for server in held:
        server.close()
    daemon = start_credlet(world, "--log-level", "error", wait=False, listen=("%s:%d" % pods,), admin="%s:%d" % admin)
    daemon.listeners.update(pods=[pods], admin=[admin])
    wait_until(lambda: not refused(daemon, pods) and not refused(daemon, admin), 15, "listening")
    daemon.wait_ready()
    pod = new_pod()
    wait_until(lambda: served(daemon.credentials(pod["ip"])))
    assert daemon.wait_logged("credentials issued", service_account=pod["service_account"])["level"] == "audit"
    assert not daemon.logged(level="info")


def refused(daemon, where):
    try:
        daemon.connect(where=where).connect()
    except ConnectionRefusedError:
        return True
    return False
