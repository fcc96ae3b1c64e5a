"""One fault on one node for each alert: what is done, and which alerts it sets off there and nowhere else.

A fault is a generator. Until its first `yield` all is well; until the second one it breaks something; what follows mends
it. They are mended in reverse order. `fires` must fire, `follows` may besides, because they are consequences that depend
on timing: five seconds, which stand for five minutes here, are not much for a start on a busy machine."""

import fcntl
import os
import resource
import socket
import threading

from simulator import wait_until
from stage import IN_PODS, WithoutHostPID

FAULTS = []


def fault(*fires, follows=(), plain=False, world="first"):
    def declare(generator):
        generator.fires, generator.follows = frozenset(fires), frozenset(follows)
        generator.plain, generator.world = plain, world
        FAULTS.append(generator)
        return generator
    return declare


@fault()
def nothing(node):
    """A node where all is well, with pods that come and ask: no alert there."""
    daemon = node.start()
    for _ in range(3):
        pod = node.workload()
        node.serve(pod)
        node.keep_asking(pod)
        node.keep(lambda ip=pod["ip"]: daemon.credentials(ip))
    node.keep(lambda: daemon.get("/nothing/here", pod["ip"]))
    yield
    yield


@fault("CredletSTSFailing", "CredletRequestsFailing", "CredletCredentialsFailing")
def sts_is_out_of_order(node):
    node.start()
    yield
    name = node.name_pod()
    broken = node.sts_fault("status", name, status=503)
    node.keep_asking(node.workload(name))
    yield
    node.world.clear(broken)


@fault("CredletRenewalFailing", "CredletCredentialsExpiring", follows=["CredletSTSFailing", "CredletCredentialsFailing"])
def a_renewal_fails(node):
    node.start()
    yield
    name = node.name_pod()
    # So short a life is renewed after half a minute.
    node.sts_fault("expiry", name, offset=150, count=1)
    pod = node.workload(name)
    node.serve(pod)
    broken = node.sts_fault("status", name, status=503)
    yield
    node.world.clear(broken)


@fault("CredletSTSThrottled", "CredletCredentialsFailing", "CredletRequestsFailing")
def sts_throttles(node):
    node.start()
    yield
    name = node.name_pod()
    broken = node.sts_fault("error", name, code="Throttling")
    node.keep_asking(node.workload(name))
    yield
    node.world.clear(broken)


@fault("CredletCredentialsFailing")
def a_trust_policy_refuses(node):
    """The tenant's own mistake: no alert that wakes anybody."""
    node.start()
    yield
    name = node.name_pod()
    node.keep_asking(node.workload(name, role_fields={"subjects": "system:serviceaccount:prod:somebody-else"}))
    yield
    node.world.role(name, subjects=f"system:serviceaccount:prod:{name}")


@fault("CredletTokensUnobtainable", "CredletCredentialsFailing", "CredletRequestsFailing")
def token_requests_are_forbidden(node):
    node.start()
    yield
    name = node.name_pod()
    broken = node.world.fault("kube", "error", code="Forbidden", status=403,
                              match={"resource": "serviceaccounts/token", "name": f"^{name}$"})
    node.keep_asking(node.workload(name))
    yield
    node.world.clear(broken)


def api_refuses(node):
    return node.world.fault("kube", "status", status=503, match={"path": f"/pods\\?.*{node.name}"})


@fault("CredletWatchStale")
def the_watch_breaks(node):
    node.start()
    yield
    broken = api_refuses(node)
    node.world.post("/watches", resource="pods", how="close")  # those of other nodes go on where they were
    yield
    node.world.clear(broken)


@fault("CredletNotReady", follows=["CredletWatchStale"])
def the_pods_are_never_listed(node):
    yield
    broken = api_refuses(node)
    node.start(ready=False)
    yield
    node.world.clear(broken)


@fault("CredletDown", follows=["CredletNotReady"])
def the_daemon_is_gone(node):
    daemon = node.start()
    yield
    daemon.stop()
    yield
    node.start()


@fault("CredletRestarting", follows=["CredletNotReady"])
def the_daemon_restarts_again_and_again(node):
    node.start()
    yield
    for _ in range(3):
        started = max(node.wait_scraped("process_start_time_seconds"))
        node.daemon.stop()
        node.start()
        wait_until(lambda before=started: max(node.series("process_start_time_seconds"), default=0) > before, 10,
                   "a scrape of the new process", 0.1)
    yield


@fault("CredletClockSkewed", world="second")
def the_clock_is_wrong(node):
    node.start()

    def call_sts():
        node.serve(node.workload())
    call_sts()
    yield
    node.world.settings(clock_offset=90)
    call_sts()
    yield
    node.world.settings(clock_offset=0)
    call_sts()


@fault("CredletKeysNotFetched", world="second")
def the_signing_keys_cannot_be_fetched(node):
    yield
    broken = node.world.fault("kube", "status", status=500, match={"path": "^/openid/v1/jwks"})
    node.start()
    yield
    node.world.clear(broken)


@fault("CredletReloadFailing")
def the_token_file_is_broken(node):
    node.start()
    with open(node.token_file, encoding="ascii") as file:
        good = file.read()
    yield
    with open(node.token_file, "w", encoding="ascii") as file:
        file.write("no token at all\n")
    stop = node.keep(node.workload, every=4)  # each takes a token request, for which the file is read
    yield
    stop()
    with open(node.token_file, "w", encoding="ascii") as file:
        file.write(good)


@fault("CredletSlow")
def sts_is_slow(node):
    daemon = node.start()
    yield
    slow = node.world.fault("sts", "delay", ms=2600, match={"role": f"/{node.name}-"})
    stops = [node.keep(lambda: daemon.credentials(node.workload()["ip"]), every=0.1) for _ in range(4)]
    yield
    for stop in stops:
        stop()
    node.world.clear(slow)


@fault("CredletConnectionsRefused")
def all_connections_are_taken(node):
    daemon = node.start("--max-connections", "8", "--max-connections-per-pod", "8")
    yield
    crowd = []

    def press():
        """Heads that are never finished; they are cut off after five seconds."""
        for connection in crowd:
            connection.close()
        crowd.clear()
        for i in range(1, 13):
            crowd.append(socket.create_connection(daemon.address, 5, (f"127.72.0.{i}", 0)))
            crowd[-1].sendall(b"GET /v1/credentials HTTP/1.1\r\n")
    stop = node.keep(press, every=2)
    yield
    stop()


@fault("CredletDescriptorsLow")
def descriptors_run_out(node):
    pid = node.start().process.pid
    usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    yield
    used = int(max(node.wait_scraped("process_open_fds")))
    # A few are left: nothing fails yet.
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used * 10 // 9, usual[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)


@fault("CredletLogLinesDropped", world="third")
def nobody_reads_the_log(node):
    daemon = node.start("--log-level", "debug", "--sts-rate", "600", "--sts-burst", "600")
    fcntl.fcntl(daemon.output_pipe, fcntl.F_SETPIPE_SZ, os.sysconf("SC_PAGESIZE"))
    yield
    daemon.reading.clear()
    # Two lines for each service account; 1024 are kept.
    node.world.post("/bulk", service_accounts=600, pods=600, namespace="logs", prefix=node.name, node=node.name,
                    realistic=False, first_address="127.71.0.1")
    yield
    daemon.reading.set()


@fault("CredletIdentityMismatch", plain=True)
def a_pod_presents_anothers_token(node):
    daemon = node.start()
    robbed, thief = node.workload(), node.workload()
    token = node.world.mint(pod=f"prod/{robbed['name']}")
    node.serve(robbed, token)
    yield
    stop = node.keep(lambda: daemon.credentials(thief["ip"], token), every=2)
    yield
    stop()


@fault("CredletPodListenersFailing")
def a_container_has_the_listeners_port(node):
    node.start_in_pods()
    node.sandboxed()
    node.wait_listening(1)
    yield
    _, sandbox = node.sandboxed(begun=False)
    host, port = IN_PODS.split(":")
    with sandbox.inside():
        taken = socket.create_server((host, int(port)))
    sandbox.start_sandbox()
    yield
    taken.close()
    sandbox.start_container()  # whatever comes into the pod's control group has the daemon look at once
    node.wait_listening(2)


@fault("CredletPodListenersExhausted", "CredletPodListenersFailing")
def more_pods_than_may_have_listeners(node):
    node.start_in_pods("--max-pod-namespaces", "1")
    node.sandboxed()
    node.wait_listening(1)
    yield
    pod, sandbox = node.sandboxed()
    yield
    node.world.delete_pod(pod["namespace"], pod["name"])
    sandbox.end()


@fault("CredletPodListenersSlow")
def networks_come_into_being_slowly(node):
    node.start_in_pods()
    node.sandboxed()
    node.wait_listening(1)
    yield
    pause = threading.Event()

    def one_more():
        """Its address comes late, and not before is it sure that the network is this pod's."""
        pod, sandbox = node.sandboxed(["10.72.0.1"])
        pause.wait(1.3)
        sandbox.network.links.add_address("eth0", pod["ip"])
    stop = node.keep(one_more)
    yield
    pause.set()
    stop()


@fault("CredletPodListenersMissing", "CredletPodListenersFailing", follows=["CredletNotReady"])
def the_daemon_has_lost_host_pid(node):
    yield
    for _ in range(3):
        node.sandboxed()
    node.start_in_pods(node=WithoutHostPID(node.machine))
    yield
    node.daemon.stop()
    node.start_in_pods()
    node.wait_listening(3)


@fault("CredletMemoryHigh", follows=["CredletNotReady"])
def memory_runs_out(node):
    """The last to be broken and the first to be mended: no daemon is started while this process has thousands of
    connections, because what reads its log uses select()."""
    daemon = node.start()
    yield
    head = b"GET /v1/credentials HTTP/1.1\r\n" + b"".join(b"X-%d: " % i + b"x" * 6000 + b"\r\n" for i in range(3))
    crowd = []

    def press():
        for connection in crowd:
            connection.close()
        crowd.clear()
        for i in range(2500):
            crowd.append(socket.create_connection(daemon.address, 5, (f"127.70.{i // 250}.{i % 250 + 1}", 0)))
            crowd[-1].sendall(head)
    stop = node.keep(press, every=4)
    yield
    stop()
    daemon.stop()  # memory that is free again need not be given back
    node.start()
