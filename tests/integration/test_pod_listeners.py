"""Listeners in pods' own network namespaces: on a node with control groups, namespaces, links and processes as a kubelet and a
runtime make them (sandboxes.py), one daemon, and unchanged SDKs that know no other address than loopback."""

import collections
import concurrent.futures
import contextlib
import errno
import functools
import itertools
import json
import os
import pathlib
import random
import re
import signal
import socket
import time

import pytest
from callers import Callers
from daemon import SANITIZED, Answer, Credlet, genuine, served
from node_processes import OLD_GROUPS
from sandboxes import Network, Node, Process, listening_here
from simulator import Simulator, wait_until

PORT = 9799
URI = f"http://127.0.0.1:{PORT}/v1/credentials"
BOTH_FAMILIES = [("127.0.0.1", PORT), ("::1", PORT)]
LIST = "/latest/meta-data/iam/security-credentials/"
CROWD = 250
LAYOUTS = [dict(zip(("runtime", "driver", "quality"), layout)) for layout in itertools.product(
    ("containerd", "cri-o"), ("systemd", "cgroupfs"), ("guaranteed", "burstable", "besteffort"))]
ADDRESSES = (f"10.244.{high}.{low}" for high in range(1, 256) for low in range(1, 255))
NAMES = itertools.count(1)
PORTS = itertools.count(PORT + 1)


@pytest.fixture(scope="module")
def node(private_network):
    one = Node()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def world(private_network, tmp_path_factory):
    simulator = Simulator(tmp_path_factory.mktemp("world"))
    yield simulator
    simulator.stop()


@pytest.fixture(scope="module")
def credlet(world, node):
    daemon = Credlet(world, "--pod-listen", f"127.0.0.1:{PORT}", "--pod-listen", f"[::1]:{PORT}", node=node, listen=())
    yield daemon
    daemon.stop()


class Daemon:
    """One more for one test, with a port of its own in all pods."""

    def __init__(self, start_credlet, world, node):
        self.start_credlet, self.world, self.node = start_credlet, world, node
        self.port = next(PORTS)

    def start(self, *flags, **how):
        return self.start_credlet(self.world, "--pod-listen", f"127.0.0.1:{self.port}", *flags, node=self.node,
                                  **{"listen": (), **how})


@pytest.fixture
def other(start_credlet, world, node):
    return Daemon(start_credlet, world, node)


class Tenant:
    """A pod as the API server knows it, and as it is on the node: `at`."""

    def __init__(self, world, node, number, role=True, host_network=False, ip="", **layout):
        self.world = world
        addresses = layout.pop("addresses", None) or [next(ADDRESSES)]
        name = f"listened-{number}"
        if role:
            self.known = world.workload(name, ip, host_network=host_network)
        else:
            self.known = world.pod("prod", f"{name}-pod", service_account=name, ip=ip)
        self.at = node.pod(self.known["uid"], addresses=addresses, **layout)
        self.container = self.container_group = None
        self.guests = []  # processes of the container that went elsewhere
        self.exists = True

    def publish(self, *addresses):
        self.world.patch_pod(self.known["namespace"], self.known["name"], ips=list(addresses or self.at.addresses))
        return self

    def run(self):
        """As a pod's start goes. Its addresses are published when it runs."""
        self.container = self.at.run()
        self.container_group = self.at.groups[-1]
        return self.publish()

    def renew_sandbox(self, *addresses):
        self.at.stop_sandbox()
        self.guests.clear()
        self.at.addresses = list(addresses)
        self.at.make_network()
        self.at.start_sandbox()
        self.start_container()
        return self.publish()

    def renew_container(self):
        """The processes of a container end with its first one."""
        for process in (*self.guests, self.container):
            self.at.processes.remove(process)
            process.end()
        self.guests.clear()
        self.start_container()

    def start_container(self):
        self.container = self.at.start_container()
        self.container_group = self.at.groups[-1]

    def send_into(self, network):
        """As nsenter does."""
        self.guests.append(Process(self.at.node))
        self.at.processes.append(self.guests[-1])
        self.guests[-1].call("start", [self.container_group], files=[network.file])
        return self.guests[-1]

    def delete(self):
        if self.exists:
            self.world.delete_pod(self.known["namespace"], self.known["name"])
            self.exists = False

    def end(self):
        """Unless it has ended already."""
        with contextlib.suppress(FileNotFoundError):
            self.at.end()
        self.delete()

    def listens(self, port=PORT, host="127.0.0.1"):
        return (host, port) in self.at.network.listening()

    def wait_listening(self, port=PORT, seconds=5):
        wait_until(lambda: self.listens(port), seconds, "a listener in the pod")
        return self

    def ask(self, daemon, path="/v1/credentials", method="GET", headers=None, source=None, port=PORT, host="127.0.0.1"):
        """From inside of the pod."""
        with self.at.inside():
            return daemon.request(method, path, source, headers, where=(host, port))

    def check(self, daemon, **how):
        """Its listener gives it what is its own."""
        self.wait_listening(how.get("port", PORT))
        genuine(self.world, self.ask(daemon, **how), self.known)

    def step(self, daemon):
        return daemon.explain(self.known)["listener"]


@pytest.fixture
def new_pod(world, node):
    """Pods that nothing has been made of yet but what the API server knows; all of them end with the test."""
    made = []

    def make(**how):
        made.append(Tenant(world, node, next(NAMES), **how))
        return made[-1]
    yield make
    for tenant in made:
        tenant.end()


@pytest.fixture
def run_pod(new_pod):
    def make(**how):
        return new_pod(**how).run()
    return make


@pytest.fixture(scope="module")
def mismatched(world, node, credlet):
    """A pod whose network is not what the API server says. That counts after ten seconds only, for the right address may be
    on its way; so it is there from the beginning on."""
    tenant = Tenant(world, node, next(NAMES))
    tenant.publish("10.99.0.1")
    tenant.container = tenant.at.run()
    wait_until(lambda: "10.99.0.1" in tenant.step(credlet)["detail"], 5, "it has been looked at")
    yield tenant
    tenant.end()


def left_in(daemon):
    """What a daemon has of pods: descriptors by kind, sockets of other networks than its own, and what it watches. And how
    many pods have a network: its end takes the link along that leads there."""
    process, kinds, sockets = pathlib.Path(f"/proc/{daemon.process.pid}"), collections.Counter(), set()
    for file in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            to = os.readlink(file)
            if to.startswith("socket:"):
                sockets.add(to[8:-1])
                continue
            kinds[to] += 1
            if "inotify" in to:
                watches = re.findall("^inotify ", (process / "fdinfo" / file.name).read_text(), re.MULTILINE)
                kinds["watched"] += len(watches)
    own = "".join((process / "net" / table).read_text() for table in ("tcp", "tcp6", "unix", "netlink"))
    kinds["sockets elsewhere"] = len(sockets - set(own.split()))
    kinds["networks"] = sum(1 for _, name in socket.if_nameindex() if name.startswith("veth"))
    return kinds


def count_of(daemon, kind):
    return sum(number for what, number in left_in(daemon).items() if what.startswith(kind))


def wait_pods(daemon, state, number):
    wait_until(lambda: daemon.metric("pod_listeners", state=state) == number, 10, f"{number} pods {state}")


def wait_nothing_left(daemon, before):
    wait_until(lambda: left_in(daemon) == before, 10, f"nothing is left but {before}", every=0.1)


def failures(daemon, reason):
    return daemon.metric("pod_listener_failures_total", reason=reason)


def role_name(tenant):
    return tenant.known["role_arn"].rsplit("/", 1)[1]


# Many pods

def test_250_pods_each_get_their_own_role_by_an_unchanged_sdk(world, node, credlet):
    before, opened = left_in(credlet), credlet.metric("pod_listener_open_seconds_count")
    names = [f"crowd-{i}" for i in range(CROWD)]
    roles = world.call("POST", "/roles", [{"name": n, "subjects": f"system:serviceaccount:prod:{n}"} for n in names])
    world.call("POST", "/serviceaccounts", [
        {"namespace": "prod", "name": n, "annotations": {"credlet.io/role-arn": role["arn"]}} for n, role in zip(names, roles)])
    known = world.call("POST", "/pods", [
        {"namespace": "prod", "name": n, "service_account": n, "phase": "Pending"} for n in names])

    def run(number):
        """The SDK asks at once, as an application does that has just begun."""
        pod = node.pod(known[number]["uid"], addresses=[f"10.250.{number // 200}.{1 + number % 200}"],
                       **LAYOUTS[number % len(LAYOUTS)])
        process = pod.run()
        process.begin("ask_sdk", URI)
        world.patch_pod("prod", names[number], ips=pod.addresses, phase="Running")
        return pod, process
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = list(pool.map(run, range(CROWD)))
    started = time.monotonic() - began
    got = [process.result() for _, process in running]
    print(f"{CROWD} pods in {started:.1f} s, all SDKs answered after {time.monotonic() - began:.1f} s")

    issued = {one["access_key_id"]: one for one in world.issued(secrets=True)}
    for name, role, (key, secret, token) in zip(names, roles, got):
        one = issued[key]
        assert (one["role_arn"], one["sub"]) == (role["arn"], f"system:serviceaccount:prod:{name}")
        assert (one["secret_access_key"], one["session_token"]) == (secret, token)
    assert len({key for key, _, _ in got}) == CROWD
    wait_pods(credlet, "listening", CROWD)
    assert credlet.metric("pod_listener_open_seconds_count") == opened + CROWD
    assert all(pod.network.listening() == BOTH_FAMILIES for pod, _ in running[::10])

    for pod, _ in running:
        pod.end()
    for name in names:
        world.delete_pod("prod", name)
    wait_pods(credlet, "listening", 0)
    wait_nothing_left(credlet, before)


LIFE = 1.0  # seconds
RATE, CHURN = 50, 200  # pods per second, pods


@pytest.mark.usefixtures("mismatched")
def test_T7_F40_50_pods_a_second_come_and_go_without_a_wrong_answer(world, node, credlet):
    """Addresses and process ids are used again and again; half of the pods leave the API server before they end, the others
    after."""
    before, opened = left_in(credlet), credlet.metric("pod_listener_open_seconds_count")
    accounts = [f"churn-{i}" for i in range(10)]
    arns = {name: world.role(name, subjects=f"system:serviceaccount:prod:{name}") for name in accounts}
    for name, arn in arns.items():
        world.service_account("prod", name, role_arn=arn)
    at_work = concurrent.futures.ThreadPoolExecutor(6)
    late = []

    def live(number, at):
        account, name = accounts[number % len(accounts)], f"churn-{number}"
        uid = world.pod("prod", name, service_account=account, ip="")["uid"]
        pod = node.pod(uid, addresses=[f"10.251.0.{1 + number % 120}"], **LAYOUTS[number % len(LAYOUTS)])
        if number % 20 == 0:
            node.call("next_pid", 1000)
        process = pod.run()
        process.begin("ask_until", PORT, max(0.0, at + LIFE - time.monotonic()), 0.2)
        world.patch_pod("prod", name, ips=pod.addresses)
        late.append(time.monotonic() - at)
        return pod, process, name, account

    def die(number, birth):
        pod, process, name, account = birth.result()
        answers = process.result()
        if number % 2:
            world.delete_pod("prod", name)
            if last := process.call("ask_once", PORT):
                answers.append(last)
        pod.end()
        if not number % 2:
            world.delete_pod("prod", name)
        node.pods.remove(pod)
        return account, answers

    began = time.monotonic()
    births, deaths = [], []
    for tick in range(CHURN + int(LIFE * RATE)):
        at = began + tick / RATE
        time.sleep(max(0.0, at - time.monotonic()))
        if tick < CHURN:
            births.append(at_work.submit(live, tick, at))
        if tick >= LIFE * RATE:
            number = tick - int(LIFE * RATE)
            deaths.append(at_work.submit(die, number, births[number]))
    lives = [death.result() for death in deaths]
    took = time.monotonic() - began
    at_work.shutdown()

    issued = {one["access_key_id"]: one["role_arn"] for one in world.issued()}
    count = collections.Counter()
    for account, answers in lives:
        for status, body in answers:
            count[status] += 1
            if status == 200:
                body = json.loads(body)
                assert body["RoleArn"] == arns[account] == issued[body["AccessKeyId"]]
        assert answers and answers[0][0] == 200, answers
    print(f"{CHURN} pods came and went in {took:.1f} s, {took - LIFE - CHURN / RATE:.1f} s more than planned; the latest began "
          f"{max(late):.2f} s late; answers: {dict(count)}")
    assert set(count) <= {200, 403}  # which is said to who is no more
    assert credlet.metric("pod_listener_open_seconds_count") - opened == CHURN
    wait_nothing_left(credlet, before)


# How pods are found

@pytest.mark.parametrize("version", [2, 1])
def test_every_layout_of_control_groups(other, run_pod, version):
    daemon = other.start(*(["--cgroup-dir", OLD_GROUPS] if version == 1 else []))
    for layout in LAYOUTS:
        run_pod(version=version, **layout).check(daemon, port=other.port)


def test_a_daemon_that_is_in_a_container_itself(node, other, run_pod):
    """Control groups outside of its own have other paths for it."""
    own = run_pod(driver="cgroupfs")
    daemon = other.start(within=node.command_in(own.at.container_group()))
    seen = pathlib.Path(f"/proc/{daemon.process.pid}/ns/cgroup").stat().st_ino
    assert seen != pathlib.Path(f"/proc/{node.process.pid}/ns/cgroup").stat().st_ino
    for layout in LAYOUTS[::2]:
        run_pod(**layout).check(daemon, port=other.port)
    own.check(daemon, port=other.port)
    daemon.stop()


def test_a_pod_that_was_there_before_the_daemon(other, run_pod):
    pods = [run_pod(runtime=runtime) for runtime in ("containerd", "cri-o")]
    daemon = other.start()
    for pod in pods:
        assert pod.listens(other.port)  # who is ready has looked for all that were there
        pod.check(daemon, port=other.port)


def test_a_pod_is_served_before_its_address_is_published(credlet, new_pod):
    pod = new_pod()
    pod.container = pod.at.run()
    pod.check(credlet)


def test_a_pod_is_served_on_both_families(credlet, run_pod):
    pod = run_pod(addresses=[next(ADDRESSES), "fd00:10::7"]).wait_listening()
    assert pod.at.network.listening() == BOTH_FAMILIES
    pod.check(credlet, host="::1")


def test_a_pinned_namespace_is_found_by_its_addresses_before_anything_runs_in_it(credlet, new_pod):
    pod = new_pod(runtime="cri-o")
    pod.at.make_group()
    pod.at.make_network()
    pod.at.start_sandbox()  # a monitor in the node's network, and no pause process
    pod.publish()
    pod.check(credlet)
    assert pod.at.pin_path in pod.step(credlet)["detail"]
    keys = pod.at.network.listening()
    process = pod.at.start_container()
    assert len(process.call("ask_sdk", URI)) == 3
    assert pod.at.network.listening() == keys


def test_pinned_namespaces_that_do_not_tell_pods_apart_are_not_served(world, node, credlet, new_pod, run_pod):
    address = next(ADDRESSES)
    pod, left = new_pod(runtime="cri-o", addresses=[address]), Network()
    left.links.pair("left0", "left1", left.file)
    left.links.add_address("left0", address)
    node.call("pin", "left-behind", files=[left.file])  # of a pod that has been here before
    try:
        pod.at.make_group()
        pod.at.make_network()
        pod.publish()
        run_pod(runtime="cri-o").wait_listening()  # it has looked at the pins
        step = wait_until(lambda: pod.step(credlet) if not pod.step(credlet)["ok"] else None)
        assert not pod.listens() and not left.listening(), step
    finally:
        node.call("unpin", "left-behind")
    pod.check(credlet)
    assert not left.listening()
    left.close()


def test_two_pods_with_one_address_are_not_told_apart_by_pins(credlet, new_pod, run_pod):
    address = next(ADDRESSES)
    pods = [new_pod(runtime="cri-o", addresses=[address], cable=False) for _ in range(2)]
    for pod in pods:
        pod.at.make_group()
        pod.at.make_network()
    for pod in pods:
        pod.publish()
    run_pod(runtime="cri-o").wait_listening()
    assert not any(pod.listens() for pod in pods)
    for pod in pods:
        pod.at.start_container()  # which does tell them apart
        pod.check(credlet)


# Who is in a pod

def test_a_pod_without_any_route_is_served(credlet, run_pod):
    pod = run_pod(cable=False)
    with pod.at.inside(), pytest.raises(OSError) as refused:
        socket.create_connection(("10.244.0.1", 80), 1)
    assert refused.value.errno == errno.ENETUNREACH
    assert len(pod.container.call("ask_sdk", URI)) == 3
    pod.check(credlet)


def test_pods_that_share_an_address_in_different_namespaces_get_their_own(credlet, run_pod):
    address = next(ADDRESSES)
    pods = [run_pod(addresses=[address], cable=False) for _ in range(3)]
    for pod in pods:
        pod.check(credlet)
        pod.check(credlet, source=address)


def test_T3_a_pod_that_takes_its_neighbours_address_gets_its_own_role(credlet, run_pod):
    spoofer, neighbour = run_pod(), run_pod()
    stolen = neighbour.at.addresses[0]
    spoofer.at.network.links.add_address("eth0", stolen)
    for source in (stolen, spoofer.at.addresses[0], "127.0.0.1"):
        spoofer.check(credlet, source=source)
    neighbour.check(credlet, source=stolen)


def test_a_process_that_went_into_its_neighbours_namespace_is_not_mistaken(credlet, other, run_pod):
    intruder, neighbour = run_pod(), run_pod()
    intruder.wait_listening()
    neighbour.wait_listening()
    process = intruder.send_into(neighbour.at.network)
    assert len(process.call("ask_sdk", URI)) == 3
    daemon = other.start()  # which finds all of them at once
    for which, port in ((credlet, PORT), (daemon, other.port)):
        neighbour.check(which, port=port)
        intruder.check(which, port=port)
    daemon.stop()
    for one in intruder.at.processes[:-1]:
        one.end()
    intruder.at.processes[:] = [process]  # now all that is left of it is in the neighbour's
    daemon = other.start()
    neighbour.check(daemon, port=other.port)
    assert not intruder.step(daemon)["ok"] and not intruder.listens(other.port)
    neighbour.check(daemon, port=other.port)


def test_a_network_that_a_process_of_the_pod_has_made_is_not_the_pods(credlet, other, run_pod):
    pod = run_pod().wait_listening()
    process = pod.send_into(pod.at.network)
    process.call("own_namespace")
    daemon = other.start()
    for which, port in ((credlet, PORT), (daemon, other.port)):
        pod.check(which, port=port)
        assert f":{port:04X} " not in process.call("read", "/proc/net/tcp")


def test_a_group_that_a_pod_has_named_after_another_is_not_the_others(node, credlet, other, new_pod, run_pod):
    """Containers may make groups below their own."""
    pod, others = run_pod(), new_pod()
    pod.wait_listening()
    name = others.at.group.rsplit("/", 1)[1]
    process = Process(node)
    pod.at.processes.append(process)
    for below in (f"{name}/container", f"kubepods.slice/{name}/container"):
        group = pod.at.make_groups(pod.container_group, below)
        process.call("start", [group], files=[pod.at.network.file])
        daemon = other.start()
        for which, port in ((credlet, PORT), (daemon, other.port)):
            pod.check(which, port=port)
            assert not others.step(which)["ok"]
        daemon.stop()
    others.run().check(credlet)


def test_T10_processes_in_the_nodes_network_are_no_pods(world, node, credlet, new_pod, run_pod):
    """Neither those of a pod on the host network, nor a runtime's monitor in the group of a pod."""
    host = new_pod(host_network=True, ip="10.0.0.1")
    host.at.make_group()
    own = Process(node)
    host.at.processes.append(own)
    own.call("join", host.at.container_group())
    monitored = new_pod(runtime="cri-o")
    monitored.at.make_group()
    monitored.at.start_sandbox()
    run_pod().wait_listening()
    assert not [where for where in listening_here() if where[1] == PORT]
    assert not host.step(credlet)["ok"] and "host network" in host.step(credlet)["detail"]
    assert not monitored.step(credlet)["ok"]
    monitored.at.make_network()
    monitored.at.start_container()
    monitored.check(credlet)
    assert not [where for where in listening_here() if where[1] == PORT]


def test_a_process_id_that_is_used_again_is_not_mistaken(node, credlet, new_pod, run_pod):
    """One process of a pod ends, and its id goes to one of another pod at once, again and again."""
    first, times = run_pod().wait_listening(), 0
    for _ in range(10):
        node.call("next_pid", 5000)
        process = first.at.start_process(first.container_group)
        second = new_pod()
        second.at.make_group()
        second.at.make_network()
        group = second.at.container_group()
        number = process.call("pid")
        process.end()
        first.at.processes.remove(process)
        wait_until(lambda: not node.path(f"/proc/{number}").exists(), 5, "the process is gone", every=0.001)
        node.call("next_pid", number)
        times += second.at.start_process(group).call("pid") == number  # a thread of the daemon may have come in between
        second.check(credlet)
        first.check(credlet)
        second.end()
    assert times > 5


def test_addresses_that_are_not_the_pods_are_refused_and_explained(credlet, mismatched):
    pod = mismatched
    wait_until(lambda: failures(credlet, "wrong_addresses") == 1, 20, "a failure")
    assert not pod.listens()
    step = pod.step(credlet)
    assert not step["ok"] and "10.99.0.1" in step["detail"] and pod.at.addresses[0] in step["detail"] and step["advice"]
    entry = credlet.wait_logged("cannot listen in pod", pod=pod.known["name"])
    assert (entry["level"], entry["namespace"], entry["reason"]) == ("warn", "prod", "wrong_addresses")
    wait_pods(credlet, "failed", 1)
    pod.publish()
    pod.check(credlet)
    wait_pods(credlet, "failed", 0)
    assert pod.step(credlet)["ok"]
    pod.end()


# Their lives

def test_F50_a_port_that_is_taken_in_a_pod_is_reported_and_taken_when_it_is_free(credlet, new_pod):
    failed = failures(credlet, "port_taken")
    pod = new_pod()
    pod.at.make_group()
    pod.at.make_network()
    with pod.at.inside():
        holders = [socket.create_server((host, PORT), family=family)
                   for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6))]
    pod.at.start_sandbox()
    pod.publish()
    wait_until(lambda: failures(credlet, "port_taken") == failed + 1, 5, "a failure")
    entry = credlet.wait_logged("cannot listen in pod", pod=pod.known["name"])
    assert (entry["level"], entry["namespace"], entry["reason"]) == ("warn", "prod", "port_taken")
    assert "in use" in entry["error"]
    step = pod.step(credlet)
    assert not step["ok"] and "in use" in step["detail"] and step["advice"]
    wait_pods(credlet, "failed", 1)
    for holder in holders:
        holder.close()
    pod.check(credlet)
    wait_pods(credlet, "failed", 0)
    assert pod.step(credlet)["ok"]
    assert len(credlet.logged(message="cannot listen in pod", pod=pod.known["name"])) == 1


def test_a_new_sandbox_of_a_pod_is_listened_in_and_the_old_one_is_left(credlet, run_pod):
    for runtime in ("containerd", "cri-o"):
        pod = run_pod(runtime=runtime)
        pod.check(credlet)
        with contextlib.closing(pod.at.leave_network()) as old:
            pod.at.addresses = [next(ADDRESSES)]
            pod.at.make_network()
            pod.at.start_sandbox()
            pod.container = pod.at.start_container()
            pod.publish()
            pod.check(credlet)
            wait_until(lambda: not old.listening(), 5, "the old listener is closed")
        assert pod.at.network.listening() == BOTH_FAMILIES


@pytest.mark.parametrize("end", ["deleted", "Succeeded", "Failed"])
def test_a_listener_and_its_connections_end_with_the_pod(world, credlet, run_pod, end):
    pod = run_pod().wait_listening()
    with pod.at.inside():
        kept = credlet.connect(where=("127.0.0.1", PORT))
        kept.request("GET", "/v1/credentials")
        answer = kept.getresponse()
    assert answer.status == 200 and answer.read()
    if end == "deleted":
        pod.delete()
    else:
        world.patch_pod("prod", pod.known["name"], phase=end)
    assert pod.at.processes  # which are there yet
    wait_until(lambda: not pod.at.network.listening(), 5, "the listener is closed")
    with contextlib.suppress(ConnectionResetError):
        assert kept.sock.recv(1) == b""


def test_a_pod_whose_containers_come_and_go_keeps_its_listener(credlet, run_pod):
    pod = run_pod().wait_listening()
    for _ in range(3):
        pod.renew_container()
        assert pod.at.network.listening() == BOTH_FAMILIES
        pod.check(credlet)


def test_F45_a_crash_leaves_nothing_in_pods_and_whoever_comes_next_serves_them(other, run_pod):
    pods = [run_pod(**layout) for layout in LAYOUTS[::3]]
    daemon = other.start()
    for pod in pods:
        pod.check(daemon, port=other.port)
    daemon.crash()
    assert not any(pod.listens(other.port) for pod in pods)
    daemon = other.start()
    for pod in pods:
        pod.check(daemon, port=other.port)


def test_F44_a_rolling_update_loses_no_request_in_pods(world, other, run_pod):
    pods = [run_pod() for _ in range(8)]
    daemons = [other.start("--drain-timeout", "2s")]
    for pod in pods:
        pod.check(daemons[0], port=other.port)
    callers = Callers([{"ip": pod.at.addresses[0], "where": ["127.0.0.1", other.port], "network": pod.at.network.path}
                       for pod in pods], new=150, kept=20)
    try:
        for _ in range(4):
            daemons.append(other.start("--drain-timeout", "2s"))
            daemons[-2].process.send_signal(signal.SIGTERM)
            assert daemons[-2].process.wait(10) == 0
        came_to = callers.stop()
    finally:
        callers.process.kill()
    assert not came_to["failures"], (len(came_to["failures"]), came_to["failures"][:10])
    keys = collections.Counter()
    for pod in pods:
        for body, times in came_to["answers"][pod.at.addresses[0]].items():
            genuine(world, Answer(200, {}, body), pod.known)
            keys[json.loads(body)["AccessKeyId"]] += times
    assert sum(keys.values()) == came_to["asked"]
    by_each = [sum(keys[entry["access_key_id"]] for entry in daemon.logged(message="credentials issued")) for daemon in daemons]
    print(f"{came_to['asked']} requests, by each process: {by_each}")
    assert all(by_each)


def test_F44_pods_that_come_during_a_rolling_update_lose_no_request(world, other, run_pod):
    """Which of the two listens first in such a pod is chance."""
    flags = ("--drain-timeout", "2s")
    daemon, asking = other.start(*flags), []
    for _ in range(4):
        successor = other.start(*flags, ready=False)
        for _ in range(4):
            pod = run_pod()
            pod.container.begin("ask_until", other.port, 2.0, 0.01)
            asking.append(pod)
        successor.wait_ready()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(10) == 0
        daemon = successor
    for pod in asking:
        for status, body in pod.container.result():
            genuine(world, Answer(status, {}, body), pod.known)


def test_whatever_happens_pods_get_their_own(other, run_pod):
    """In any order: sandboxes and containers come and go, processes go elsewhere, addresses are wrong for a while, daemons
    crash or are replaced. Nobody ever gets what is another's, and whoever is as he should be is served in the end."""
    seed = int(os.environ.get("CREDLET_SEED", random.randrange(1 << 32)))
    print(f"CREDLET_SEED={seed}")
    chance, pods, wrong, daemons = random.Random(seed), [], set(), [other.start()]

    def come():
        pods.append(run_pod(**chance.choice(LAYOUTS)))

    def go(pod):
        if chance.random() < 0.5:
            pod.delete()
        pod.end()
        pods.remove(pod)

    def replace_daemon(_):
        if chance.random() < 0.5:
            daemons[-1].crash()
            daemons.append(other.start())
        else:
            daemons.append(other.start())
            daemons[-2].stop()

    def take_wrong_address(pod):
        wrong.add(pod)
        pod.publish("10.99.0.1")

    def take_right_address(pod):
        wrong.discard(pod)
        pod.publish()

    def renew_sandbox(pod):
        pod.renew_sandbox(chance.choice([pod.at.addresses[0], next(ADDRESSES)]))
        wrong.discard(pod)
    happenings = {go: 4, renew_sandbox: 3, Tenant.renew_container: 4, replace_daemon: 1, take_wrong_address: 1,
                  take_right_address: 1, lambda pod: pod.send_into(chance.choice(pods).at.network): 3,
                  lambda pod: pod.send_into(pod.at.network).call("own_namespace"): 2}

    def is_served(pod):
        try:
            answer = pod.ask(daemons[-1], port=other.port)
        except OSError:
            return False
        if answer.status == 200:
            assert answer.json["RoleArn"] == pod.known["role_arn"]
        return answer.status == 200
    for step in range(100):
        if len(pods) < 3 or len(pods) < 12 and chance.random() < 0.25:
            come()
        else:
            chance.choices(list(happenings), list(happenings.values()))[0](chance.choice(pods))
        for pod in chance.sample(pods, min(3, len(pods))):
            is_served(pod)
        if step % 20 == 19:
            for pod in pods:
                if pod not in wrong:
                    wait_until(functools.partial(is_served, pod), 10, f"{pod.known['name']} is served")


# What they are asked

def test_T24_a_token_through_the_listener_must_be_the_pods_own(world, credlet, run_pod):
    pod, neighbour = run_pod(), run_pod()
    own, others = ({"Authorization": world.mint(pod=f"prod/{one.known['name']}")} for one in (pod, neighbour))
    pod.wait_listening()
    genuine(world, pod.ask(credlet, headers=own), pod.known)
    before = credlet.metric("rejections_total", reason="identity_mismatch")
    answer = pod.ask(credlet, headers=others)
    assert answer.status == 403 and answer.code == "AccessDenied"
    assert credlet.metric("rejections_total", reason="identity_mismatch") == before + 1
    assert pod.ask(credlet, headers={"Authorization": "nonsense"}).status in (400, 401, 403)
    genuine(world, pod.ask(credlet), pod.known)


@pytest.mark.parametrize("identity", ["token", "address", "both"])
def test_the_listener_stands_where_the_address_does(world, other, run_pod, identity):
    daemon = other.start("--identity", identity)
    pod, neighbour = run_pod().wait_listening(other.port), run_pod()

    def status(tenant=None):
        headers = {"Authorization": world.mint(pod=f"prod/{tenant.known['name']}")} if tenant else None
        answer = pod.ask(daemon, headers=headers, port=other.port)
        if answer.status == 200:
            genuine(world, answer, pod.known)
        return answer.status
    assert status(pod) == 200
    assert [status(), status(neighbour)] == ([200, 200] if identity == "address" else [403, 403])


def test_instance_metadata_through_the_listener(world, credlet, run_pod):
    pod, neighbour = run_pod().wait_listening(), run_pod().wait_listening()

    def session(tenant):
        answer = tenant.ask(credlet, "/latest/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        assert answer.status == 200, answer
        return {"X-aws-ec2-metadata-token": answer.body.decode()}
    own, others = session(pod), session(neighbour)
    assert pod.ask(credlet, LIST, headers=own).body.decode() == role_name(pod)
    genuine(world, wait_until(lambda: served(pod.ask(credlet, LIST + role_name(pod), headers=own))), pod.known)
    assert pod.ask(credlet, LIST, headers=others).status == 401
    assert pod.ask(credlet, LIST).status == 401
    assert pod.ask(credlet, LIST + role_name(neighbour), headers=own).status == 403


def test_both_kinds_of_listeners_at_once(world, node, other, run_pod):
    node.links.add_address("lo", "169.254.170.23")
    try:
        daemon = other.start(listen=("169.254.170.23:80",))
        pod, without_cable = run_pod(), run_pod(cable=False)
        pod.check(daemon, port=other.port)
        genuine(world, wait_until(lambda: served(pod.ask(daemon, port=80, host="169.254.170.23"))), pod.known)
        without_cable.check(daemon, port=other.port)
        with pytest.raises(OSError):
            without_cable.ask(daemon, port=80, host="169.254.170.23")
    finally:
        node.links.remove_address("lo", "169.254.170.23")


# Settings and rights

def test_only_pods_with_a_role_if_it_is_told_so(world, other, run_pod):
    daemon = other.start("--pod-listen-for", "role")
    with_role, without = run_pod(), run_pod(role=False)
    with_role.check(daemon, port=other.port)
    assert not without.listens(other.port)
    arn = world.role("late", subjects=f"system:serviceaccount:prod:{without.known['service_account']}")
    world.service_account("prod", without.known["service_account"], role_arn=arn)
    without.known["role_arn"] = arn
    without.check(daemon, port=other.port)


def test_a_pod_without_a_role_is_listened_in_and_told_so(credlet, run_pod):
    pod = run_pod(role=False).wait_listening()
    answer = pod.ask(credlet)
    assert answer.status in (403, 404) and b"SecretAccessKey" not in answer.body, answer


def test_no_more_namespaces_are_open_than_may_be(other, run_pod):
    pods = [run_pod() for _ in range(3)]
    daemon = other.start("--max-pod-namespaces", "2")
    wait_until(lambda: failures(daemon, "limit") == 1, 10, "a failure")
    wait_pods(daemon, "listening", 2)
    wait_pods(daemon, "failed", 1)
    (refused,), served_ones = ([p for p in pods if p.listens(other.port) == there] for there in (False, True))
    step = refused.step(daemon)
    assert not step["ok"] and "max-pod-namespaces" in step["advice"]
    assert count_of(daemon, "net:") <= 2 + 2  # and its own, and the node's
    served_ones[0].end()
    refused.check(daemon, port=other.port)


SYS_PTRACE, SYS_ADMIN = 1 << 19, 1 << 21


def test_one_thread_alone_may_enter_namespaces(credlet):
    threads = {}
    for task in pathlib.Path(f"/proc/{credlet.process.pid}/task").iterdir():
        status = dict(re.findall(r"^(\w+):\s+(\S+)", (task / "status").read_text(), re.MULTILINE))
        threads[int(task.name)] = {name: int(status[name], 16) for name in ("CapEff", "CapPrm")}
    assert len(threads) >= 3
    those = {1, 2} if SANITIZED else {1}  # TSan has a thread of its own, from before main
    for right in (SYS_ADMIN, SYS_PTRACE):
        for kind in ("CapEff", "CapPrm"):
            assert sum(1 for capabilities in threads.values() if capabilities[kind] & right) in those, threads
    assert not threads[credlet.process.pid]["CapPrm"] & (SYS_ADMIN | SYS_PTRACE)


@pytest.mark.parametrize("missing", ["sys_admin", "sys_ptrace"])
def test_without_the_right_it_says_so_and_ends(other, missing):
    daemon = other.start(wait=False, rights=("--bounding-set", f"-{missing}"))
    daemon.ends_with = 1
    assert daemon.process.wait(10) == 1
    daemon.stop()
    said = daemon.errors.decode() + "".join(daemon.output)
    assert f"CAP_{missing.upper()}" in said, said
