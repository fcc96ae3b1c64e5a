"""`credlet link` against the kernel, in network namespaces of its own. Where the kernel has no dummy links, the
loopback has to serve."""

import json
import pathlib
import subprocess

import pytest
from daemon import BINARY, Credlet, genuine, served
from private_network import new_namespace
from simulator import Simulator, wait_until

ADDRESSES = ("169.254.170.23/32", "fd00:ec2::23/128")
UNPRIVILEGED = ("setpriv", "--reuid", "65532", "--regid", "65532", "--clear-groups", "--bounding-set=-all",
                "--inh-caps=-all", "--no-new-privs")
ONLY_NET_ADMIN = ("setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--no-new-privs")


@pytest.fixture
def namespace():
    with new_namespace():
        yield


@pytest.fixture
def link(namespace):
    """The name of the link that credlet0 becomes here."""
    has_dummy = not subprocess.run(["ip", "link", "add", "trial", "type", "dummy"], capture_output=True).returncode
    if has_dummy:
        subprocess.run(["ip", "link", "delete", "trial"], check=True)
    return "credlet0" if has_dummy else "lo"


def run(*addresses, prefix=ONLY_NET_ADMIN, name="credlet0", environment=None):
    flags = [flag for address in addresses for flag in ("--address", address)]
    return subprocess.run([*prefix, BINARY, "link", "--name", name, *flags], capture_output=True, text=True, timeout=30,
                          env=environment or {})


def addresses_of(link):
    """{address: what ip says of it}"""
    shown = subprocess.run(["ip", "-j", "address", "show", "dev", link], check=True, capture_output=True).stdout
    return {f"{entry['local']}/{entry['prefixlen']}": entry for entry in json.loads(shown)[0]["addr_info"]}


def test_it_makes_the_link_once(link):
    first = run(*ADDRESSES)
    assert first.returncode == 0 and not first.stderr, first
    there = addresses_of(link)
    assert there["169.254.170.23/32"]["scope"] == "host"  # never the source of what the node sends elsewhere
    assert there["fd00:ec2::23/128"]["deprecated"]  # likewise
    for address in ADDRESSES:
        assert f"{link}: {address} added" in first.stdout
        assert there[address]["noprefixroute"] and "tentative" not in there[address]
    again = run(*ADDRESSES)
    assert again.returncode == 0 and not again.stderr, again
    for address in ADDRESSES:
        assert f"{link}: {address} is there already" in again.stdout
    assert f"{link}: is up already" in again.stdout
    assert addresses_of(link) == there


def test_it_is_configured_by_the_environment_alone(link):
    done = subprocess.run([BINARY, "link"], env={"CREDLET_LINK_ADDRESS": ",".join(ADDRESSES)}, timeout=30)
    assert done.returncode == 0
    assert addresses_of(link).keys() >= set(ADDRESSES)


def test_it_completes_what_is_there_in_part(link):
    if link == "credlet0":
        subprocess.run(["ip", "link", "add", link, "type", "dummy"], check=True)
    subprocess.run(["ip", "address", "add", ADDRESSES[0], "dev", link], check=True)
    subprocess.run(["ip", "link", "set", link, "down"], check=True)
    done = run(*ADDRESSES)
    assert done.returncode == 0, done
    assert f"{ADDRESSES[0]} is there already" in done.stdout and f"{ADDRESSES[1]} added" in done.stdout
    assert f"{link}: up\n" in done.stdout
    assert addresses_of(link).keys() >= set(ADDRESSES)


def test_without_ipv6_the_ipv4_address_is_enough(link):
    for which in ("all", "default"):
        pathlib.Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1", encoding="ascii")
    done = run(*ADDRESSES)
    assert done.returncode == 0, done
    assert "left out, as this node has IPv6 switched off" in done.stdout
    assert "169.254.170.23/32" in addresses_of(link) and "fd00:ec2::23/128" not in addresses_of(link)


def test_without_the_capability_it_says_which(link):
    done = run(*ADDRESSES, prefix=UNPRIVILEGED)
    assert done.returncode == 1, done
    # Whether the kernel has dummy links is not for everybody to know: either step may be the one that is refused.
    assert "Operation not permitted" in done.stderr and "NET_ADMIN" in done.stderr


def test_a_link_of_somebody_else_is_left_alone(link):
    subprocess.run(["ip", "link", "add", "br0", "type", "bridge"], check=True)
    done = run(*ADDRESSES, name="br0")
    assert done.returncode == 1
    assert "br0 already, and it is of kind bridge" in done.stderr
    assert not addresses_of("br0")


def test_the_addresses_serve_pods_at_once(link, tmp_path):
    assert run(*ADDRESSES).returncode == 0
    world = Simulator(tmp_path)
    try:
        pods = [world.workload("four", "169.254.170.23"), world.workload("six", "fd00:ec2::23")]
        daemon = Credlet(world, listen=("169.254.170.23:80", "[fd00:ec2::23]:80"))
        try:
            for pod, where in zip(pods, daemon.listeners["pods"], strict=True):
                answer = wait_until(lambda where=where: served(daemon.credentials(where=where)), 10, "credentials")
                genuine(world, answer, pod)
        finally:
            daemon.stop()
    finally:
        world.stop()
