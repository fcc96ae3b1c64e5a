"""What the page is played on: a real control plane, one node, an AWS account, and the shell of somebody who administers
both. It is one kind of cluster after the other."""

import contextlib
import json
import os
import pathlib
import subprocess

import openshift
import yaml
from control_plane import ControlPlane, Program, programs
from daemon import BINARY
from machine import AWS_ADDRESS, NODE_ADDRESS, Machine
from pki import write_atomically
from simulator import Simulator, stop_all, wait_until

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ACCOUNT, REGION, NODE = "111122223333", "eu-west-1", "node-1"
TRUSTED = "/etc/ssl/certs/ca-certificates.crt"
CONTROLLERS = ("daemonset-controller", "namespace-controller", "garbage-collector-controller", "serviceaccount-controller",
               "root-ca-certificate-publisher-controller")
ROSA_ISSUER = "https://oidc.op1.openshiftapps.com/2f8k7s1example"
EKS_ISSUER = f"https://oidc.eks.{REGION}.amazonaws.com/id/5D0A1E6EXAMPLE"


class Stage:
    def __init__(self, directory):
        self.directory = directory
        self.started = []
        self.stuck = None  # the journey that was not gone to its end

    def start(self, machine, buckets):
        """buckets: the names under which S3 will be called."""
        self.aws = Simulator(self.directory / "aws", {"settings": {"account": ACCOUNT, "region": REGION}},
                             ["--aws-listen", f"{AWS_ADDRESS}:443"])
        self.started.append(self.aws)
        names = [f"{service}.{REGION}.amazonaws.com" for service in ("sts", "s3", "cloudtrail", "eks")]
        names += ["iam.amazonaws.com", *(f"{bucket}.s3.{REGION}.amazonaws.com" for bucket in buckets)]
        machine.name({name: AWS_ADDRESS for name in names})
        machine.trust(self.aws.sts_ca_file)
        self.plane = ControlPlane(self.directory / "plane", address=NODE_ADDRESS, issuer=ROSA_ISSUER)
        self.started.append(self.plane)
        self.plane.start_controller_manager("--controllers", ",".join(CONTROLLERS))
        self.plane.start_scheduler()
        self._publish_issuer()
        self._start_kubelet()

    def _publish_issuer(self):
        """The issuer's documents are public, as those of ROSA and EKS are; STS finds them at the API server."""
        self.plane.admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
            "metadata": {"name": "published-issuer"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                        "name": "system:service-account-issuer-discovery"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"}]})

    def _start_kubelet(self):
        serving = self.directory / "kubelet-serving.pem"
        write_atomically(str(serving), b"".join(self.plane.authority.issue([NODE_ADDRESS])), 0o600)
        settings = self.directory / "kubelet.json"
        settings.write_text(json.dumps({
            "directory": str(self.directory), "node": NODE, "address": NODE_ADDRESS, "kube_url": self.plane.url,
            "ca_file": self.plane.ca_file, "serving_certificate": str(serving),
            "client_certificate": self.plane.certificate(f"system:node:{NODE}", ["system:nodes"]),
            "service_environment": {"KUBERNETES_SERVICE_HOST": NODE_ADDRESS,
                                    "KUBERNETES_SERVICE_PORT": str(self.plane.port)},
            "images": {
                "credlet": {"programs": {"credlet": BINARY}, "entrypoint": ["/usr/local/bin/credlet"]},
                "aws-cli": {"programs": {"aws": aws_cli()}, "entrypoint": ["/usr/local/bin/aws"],
                            "environment": {"AWS_CA_BUNDLE": TRUSTED}}}}))
        self.kubelet = Program("kubelet", ["/usr/bin/python3", HERE / "kubelet.py", settings],
                               self.directory / "kubelet.log")
        self.started.append(self.kubelet)
        node = f"/api/v1/nodes/{NODE}"
        wait_until(lambda: self.kubelet.alive() and self.plane.admin.exists(node), 30, "the node")
        self.plane.admin.patch(node, {"spec": {"taints": None}})  # which the controller for nodes would take away

    def stop(self):
        stop_all(self.started[::-1])

    # Kinds of clusters

    def become(self, kind):
        getattr(self, f"_become_{kind}")()
        return self

    def _issue_as(self, issuer, flags=()):
        self.plane.issuer, self.plane.flags = issuer, list(flags)
        self.plane.restart_api_server()

    def _become_rosa(self):
        """Whose provider in IAM was made with the cluster."""
        self._account(issuer=ROSA_ISSUER, registered=True, client_ids=["openshift", "sts.amazonaws.com"])
        openshift.make(self.plane.admin, ROSA_ISSUER)

    def _become_eks(self):
        self._account(registered=False, eks_clusters={"demo": EKS_ISSUER})
        self._issue_as(EKS_ISSUER)

    def _become_own(self):
        """Whose issuer nobody knows yet, and which STS will have to find where the page publishes it."""
        self._account(registered=False, provider=None)
        self._issue_as("https://kubernetes.default.svc.cluster.local")

    def _account(self, **settings):
        self.aws.settings(**{"provider": {"url": self.plane.url, "ca_file": self.plane.ca_file}, **settings})

    def configure(self, cluster_configuration):
        """Restarts the API server with the flags of kubeadm's ClusterConfiguration."""
        given = yaml.safe_load(cluster_configuration)["apiServer"]["extraArgs"]
        flags = [(argument["name"], argument["value"]) for argument in given]
        issuer = next(value for name, value in flags if name == "service-account-issuer")
        flags.remove(("service-account-issuer", issuer))
        self._issue_as(issuer, [f"--{name}={value}" for name, value in flags])

    # Who administers it

    def environment(self):
        """What the reader's shell has: the programs, and who the reader is to Kubernetes and AWS."""
        binaries = self.directory / "bin"
        if not binaries.exists():
            binaries.mkdir()
            for name, path in {"oc": self.plane.bin / "kubectl", "kubectl": self.plane.bin / "kubectl",
                               "helm": self.plane.bin / "helm", "aws": aws_cli()}.items():
                (binaries / name).symlink_to(path)
        person = self.aws.person
        return {"PATH": f"{binaries}:{os.environ['PATH']}", "HOME": str(self.directory), "KUBECONFIG": self.plane.kubeconfig,
                "AWS_ACCESS_KEY_ID": person["access_key_id"], "AWS_SECRET_ACCESS_KEY": person["secret_access_key"],
                "AWS_CA_BUNDLE": TRUSTED}

    def desk(self, name):
        """A directory to work in, where the repository's charts are."""
        desk = self.directory / name
        desk.mkdir()
        (desk / "charts").symlink_to(ROOT / "charts")
        return desk


def aws_cli():
    built = subprocess.run([ROOT / "tests" / "sdks" / "setup.sh", "python"], stdout=subprocess.PIPE, text=True, check=True)
    return f"{built.stdout.splitlines()[-1]}/bin/aws"


@contextlib.contextmanager
def play(directory, buckets):
    """The stage, in a machine of its own."""
    programs("etcd", "kube-apiserver", "kubectl", "helm", "kube-controller-manager", "kube-scheduler")
    aws_cli()  # both may come from a registry, which the machine cannot reach
    with Machine(directory) as machine:
        stage = Stage(directory)
        try:
            stage.start(machine, buckets)
            yield stage
        finally:
            stage.stop()
