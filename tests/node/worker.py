"""A node of a real cluster on this machine: containerd with runc, pods on a bridge, and the kubelet. It runs on
what on_a_machine.sh makes, and uses the places there that these programs use on any node."""

import json
import os
import pathlib
import subprocess

from control_plane import Program, programs
from simulator import stop_all, wait_until

NAME = "worker"
ADDRESS = "10.240.0.10"  # make_machine.sh puts it there
KUBERNETES = "10.96.0.1"  # the Service of the API server
PODS = "10.244.0.0/24"
SOCKET = "/run/containerd/containerd.sock"
PAUSE = "credlet.test/asker:1"

# Pods reach the node through their bridge, where the node has the first address of the network. What they send is not
# masqueraded: the pod's address is what credlet is to see.
NETWORK = {"cniVersion": "1.0.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "pods0", "isGateway": True, "ipMasq": False,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}

# Where root has not CAP_SYS_RESOURCE, nobody can be protected from the OOM killer more than the one who starts it.
CONTAINERD = """
version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{networks}"
"""


def run(*command, **how):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False, **how)
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Worker:
    """Started at once; the constructor returns when the node is ready. images: archives by name."""

    address = ADDRESS

    def __init__(self, plane, directory, images):
        self.plane, self.directory = plane, pathlib.Path(directory)
        self.started = []
        try:
            self._route_kubernetes()
            self._start_containerd()
            for name, archive in images.items():
                self.load(name, archive)
            self._start_kubelet()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def _route_kubernetes(self):
        """What kube-proxy would do, for the only Service there is."""
        chains = "".join(f"chain {hook} {{ type nat hook {hook} priority -100; ip daddr {KUBERNETES} tcp dport 443 "
                         f"dnat to {ADDRESS}:{self.plane.port}; }}\n" for hook in ("output", "prerouting"))
        run("nft", "-f", "-", input=f"table ip kubernetes {{\n{chains}}}\n")

    def _start_containerd(self):
        networks = self.directory / "networks"
        networks.mkdir()
        (networks / "10-pods.conflist").write_text(json.dumps(NETWORK))
        config = self.directory / "containerd.toml"
        config.write_text(CONTAINERD.format(pause=PAUSE, networks=networks))
        containerd = self._start("containerd", "containerd", "--config", config)
        wait_until(lambda: containerd.alive() and os.path.exists(SOCKET), 30, "containerd's socket", 0.05)

    def load(self, name, archive):
        """Under this name and no other: names in the archive do not begin with this one, and so do not count."""
        run("ctr", "--namespace", "k8s.io", "images", "import", "--index-name", name, "--base-name", name, archive)

    def _start_kubelet(self):
        certificate, key = self.plane.authority.issue([ADDRESS, NAME])
        files = {"kubelet.crt": certificate, "kubelet.key": key}
        for name, content in files.items():
            (self.directory / name).write_bytes(content)
        config = self.directory / "kubelet.json"
        config.write_text(json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "tlsCertFile": str(self.directory / "kubelet.crt"), "tlsPrivateKeyFile": str(self.directory / "kubelet.key"),
            "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": self.plane.ca_file}},
            # No systemd here; and control groups of either version will do.
            "cgroupDriver": "cgroupfs", "cgroupRoot": "/" + os.environ["CREDLET_NODE_CGROUP"], "failCgroupV1": False,
            "failSwapOn": False, "oomScoreAdj": 0,
            "volumePluginDir": str(self.directory / "volume-plugins"),
            # The disk of the machine is not this test's.
            "evictionHard": {"memory.available": "1Mi"}, "imageGCHighThresholdPercent": 100,
            "localStorageCapacityIsolation": False}))
        self.kubelet = self._start("kubelet", programs("kubelet") / "kubelet", "--config", config, "--kubeconfig",
                                   self.plane.kubeconfig_of(f"system:node:{NAME}", ["system:nodes"]),
                                   "--hostname-override", NAME, "--node-ip", ADDRESS)

    def _start(self, name, *command):
        program = Program(name, command, self.directory / f"{name}.log")
        self.started.append(program)
        return program

    def wait_ready(self):
        path = f"/api/v1/nodes/{NAME}"

        def ready():
            if not self.kubelet.alive() or not self.plane.admin.exists(path):
                return False
            node = self.plane.admin.get(path)
            # The taint of a node that is not ready goes a moment after it is.
            return not node["spec"].get("taints") and {"type": "Ready", "status": "True"}.items() <= next(
                one for one in node["status"]["conditions"] if one["type"] == "Ready").items()
        wait_until(ready, 60, "the node's readiness", 0.1)

    def stop(self):
        stopping, self.started = self.started[::-1], []
        stop_all(stopping)
