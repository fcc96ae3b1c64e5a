"""Where the faults of faults.py take place: simulated worlds with many nodes, and on each node a credlet that
Prometheus scrapes as the chart's PodMonitor would have it."""

import itertools
import os
import shutil
import threading

import sandboxes
from daemon import Credlet, served
from namespaces import new_network, process_ids
from simulator import wait_until

# Of a node's own, so that nothing takes its port while its daemon is away; of a run's own, so that two may run at once.
INSTANCES = (f"127.73.{os.getpid() % 256}.{low}:9798" for low in range(1, 255))
ADDRESSES = (f"127.{net}.{high}.{low}" for net in range(20, 60) for high in range(256) for low in range(1, 255))

IN_PODS = "127.0.0.1:9799"
# Of pods with a network of their own, which nobody else sees.
POD_ADDRESSES = (f"10.73.{high}.{low}" for high in range(256) for low in range(1, 255))


class Machine(sandboxes.Node):
    """What all nodes with listeners in pods are on: each daemon looks for its own node's pods only."""

    def __init__(self):
        super().__init__()
        self.links.close()
        with new_network():
            self.links = sandboxes.Links()  # pods' cables end there, and not in the network of whoever runs the tests


class WithoutHostPID:
    """A daemon that runs on the machine like this has process ids of its own, as a pod without hostPID."""

    def __init__(self, machine):
        self.command = [*machine.command, "unshare", "--mount-proc"]
        self.process_ids = process_ids


class OnNode:
    """A world, as the daemon on one of its nodes sees it: with a token file of its own."""

    def __init__(self, world, node_name, token_file):
        self.world, self.node_name, self.token_file = world, node_name, token_file

    def __getattr__(self, name):
        return getattr(self.world, name)


class Node:
    """`plain`: scraped without any label but job and instance. `machine`: which makes sandboxes for its pods."""

    def __init__(self, name, world, prometheus, directory, plain=False, machine=None):
        self.name, self.world, self.prometheus, self.plain, self.machine = name, world, prometheus, plain, machine
        self.token_file = str(directory / f"token-{name}")
        shutil.copy(world.token_file, self.token_file)
        self.instance, self.daemon = next(INSTANCES), None
        self.numbers = itertools.count(1)
        self.stops, self.errors = [], []

    def start(self, *flags, ready=True, **how):
        """Its daemon. A later one listens where the first did, so that it is the same target."""
        first = self.daemon is None
        self.daemon = Credlet(OnNode(self.world, self.name, self.token_file), "--metrics-listen", self.instance, *flags,
                              wait=False, **how)
        listeners = ["admin", "metrics"] + (["pods"] if ready else [])
        try:
            wait_until(lambda: all(self.daemon.listeners[name] for name in listeners), 30, "listening")
            if ready:
                self.daemon.wait_ready()
        except AssertionError as error:
            raise AssertionError(f"{self.name}: {error}, {self.daemon.errors}, {self.daemon.logs[-5:]}") from None
        if first:
            labels = {} if self.plain else {"namespace": "credlet", "pod": f"credlet-{self.name}", "node": self.name,
                                            "container": "credlet", "endpoint": "metrics"}
            self.prometheus.scrape(self.instance, **labels)
        return self.daemon

    def start_in_pods(self, *flags, **how):
        """Its daemon, which listens in pods too."""
        return self.start("--pod-listen", IN_PODS, *flags, **{"node": self.machine, **how})

    def stop(self):
        for stop in self.stops:
            stop()
        if self.daemon is not None and self.daemon.process.poll() is None:
            self.daemon.stop()

    def name_pod(self):
        """The name of the next workload here: its role's and its service account's too."""
        return f"{self.name}-{next(self.numbers)}"

    def workload(self, name=None, **fields):
        return self.world.workload(name or self.name_pod(), next(ADDRESSES), node=self.name, **fields)

    def sandboxed(self, addresses=None, begun=True):
        """(a workload, its sandbox), which has its address, or others, and runs, or has a network only."""
        pod = self.world.workload(self.name_pod(), next(POD_ADDRESSES), node=self.name)
        sandbox = self.machine.pod(pod["uid"], addresses or [pod["ip"]], cable=False)
        sandbox.make_group()
        sandbox.make_network()
        if begun:
            sandbox.start_sandbox()
        return pod, sandbox

    def wait_listening(self, pods):
        """The daemon listens in so many."""
        wait_until(lambda: self.daemon.metric("pod_listeners", state="listening") == pods, 15, f"listeners of {self.name}", 0.1)

    def sts_fault(self, kind, name, **fields):
        """A fault of the calls to STS for the role of this name."""
        return self.world.fault("sts", kind, match={"role": f"/{name}$"}, **fields)

    def keep(self, action, every=0.5):
        """Does this again and again, from now until the end, or until what is returned is called."""
        enough = threading.Event()

        def run():
            while not enough.is_set():
                try:
                    action()
                except Exception as error:
                    self.errors.append(error)
                    return
                enough.wait(every)
        thread = threading.Thread(target=run, daemon=True)

        def stop():
            enough.set()
            thread.join(20)
            assert not thread.is_alive(), f"something on {self.name} does not end"
        self.stops.append(stop)
        thread.start()
        return stop

    def serve(self, pod, token=None):
        """The pod has its credentials."""
        answers = []

        def has_come():
            answers.append(self.daemon.credentials(pod["ip"], token))
            return served(answers[-1])
        try:
            wait_until(has_come, 15, "credentials", 0.1)
        except AssertionError:
            raise AssertionError(f"no credentials on {self.name}: {answers[-1]}, {self.daemon.logs[-5:]}") from None

    def ask(self, pod):
        """As an SDK's IMDS provider asks: answered within a second, whatever the answer."""
        return self.daemon.imds_credentials(pod["ip"], pod["role_arn"].rsplit("/", 1)[1])

    def keep_asking(self, pod, every=0.5):
        self.keep(lambda: self.ask(pod), every)

    def series(self, expression):
        """The values that Prometheus has of it for this node."""
        return [value for labels, value in self.prometheus.query(expression) if labels.get("instance") == self.instance]

    def wait_scraped(self, expression, seconds=10):
        return wait_until(lambda: self.series(expression), seconds, f"{expression} of {self.name}", 0.1)
