"""A node of the cluster, and what the daemon on it is given: its name, a pod of its own with a token and the cluster's
CA in files, and an STS that trusts the cluster's issuer. Has what tests/integration/daemon.py takes for a world."""

import itertools
import os
import pathlib
import time

import objects
from pki import write_atomically

ADDRESSES = (f"127.30.{high}.{low}" for high in range(256) for low in range(1, 255))
NAMES = itertools.count(1)


class ProjectedDirectory:
    """A directory written as the kubelet writes projected volumes: a symbolic link swapped at once."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    def write(self, **contents):
        """By file name, with `_` for `.`."""
        data = self.path / f"..{time.time_ns()}"
        data.mkdir()
        for name, content in contents.items():
            write_atomically(str(data / name.replace("_", ".")), content)
        link = self.path / "..data"
        old = link.resolve() if link.is_symlink() else None
        new = self.path / "..data_tmp"
        new.symlink_to(data.name)
        os.replace(new, link)
        for name in contents:
            file = self.path / name.replace("_", ".")
            if not file.is_symlink():
                file.symlink_to(f"..data/{file.name}")
        if old:
            for file in old.iterdir():
                file.unlink()
            old.rmdir()


class Node:
    def __init__(self, plane, sts, directory, namespace="credlet", account="credlet", kube_url=None, name=None):
        """namespace, account: the daemon's, as the chart made them. kube_url: where it finds the API server, if there
        is something between them."""
        self.plane, self.sts, self.admin = plane, sts, plane.admin
        self.node_name = name or f"node-{next(NAMES)}"
        self.namespace, self.account = namespace, account
        self.kube_url = kube_url or plane.url
        self.sts_url, self.sts_ca_file, self.region = sts.sts_url, sts.sts_ca_file, sts.region
        objects.node(self.admin, self.node_name)
        self.daemon_pod = objects.pod(self.admin, namespace, f"credlet-{self.node_name}", account, self.node_name,
                                      ["10.0.0.1"], host_network=True)
        self.directory = pathlib.Path(directory)
        self.files = ProjectedDirectory(self.directory / "serviceaccount")
        self.token_file, self.ca_file = str(self.files.path / "token"), str(self.files.path / "ca.crt")
        self.renew_token()

    def daemon_token(self, audiences=None, seconds=3600, bound=True):
        """The daemon's own: for the API server, bound to its pod and so to this node."""
        return objects.token(self.admin, self.namespace, self.account, audiences, seconds,
                             self.daemon_pod if bound else None)

    def write_token(self, token):
        self.files.write(token=token, ca_crt=self.plane.authority.pem, namespace=self.namespace)

    def renew_token(self, seconds=3600):
        token = self.daemon_token(seconds=seconds)
        self.write_token(token)
        return token

    @property
    def daemon(self):
        """The daemon's view of the API server."""
        return self.plane.bearer(self.daemon_token())

    # Workloads

    def workload(self, name=None, ip=None, namespace="prod", annotations=None, role_fields=None, sts_fault=None, **pod):
        """A role, a service account with it, and a pod that runs as it, with an address and names nobody else has. A
        fault meets STS calls for its role only, from the first one on."""
        name = name or f"app-{next(NAMES)}"
        arn = self.sts.role(name, **{"subjects": f"system:serviceaccount:{namespace}:{name}", **(role_fields or {})})
        if sts_fault:
            self.sts.fault("sts", match={"role": arn + "$"}, **sts_fault)
        objects.service_account(self.admin, namespace, name, {"credlet.io/role-arn": arn, **(annotations or {})})
        return self.pod(name, f"{name}-pod", namespace, ip, arn, **pod)

    def pod(self, account, name, namespace="prod", ip=None, role_arn=None, **pod):
        """Another pod of a service account."""
        ip = next(ADDRESSES) if ip is None else ip
        made = objects.pod(self.admin, namespace, name, account, **{
            "node_name": self.node_name, "ips": [ip] if ip else [], "phase": "Running" if ip else "Pending", **pod})
        return {"namespace": namespace, "name": name, "uid": made["metadata"]["uid"], "ip": ip, "object": made,
                "service_account": account, "role_arn": role_arn}

    def caller_token(self, pod, audiences=("sts.amazonaws.com",), seconds=3600, bound=True):
        """What the kubelet would put into the pod's token volume."""
        return objects.token(self.admin, pod["namespace"], pod["service_account"], audiences, seconds,
                             pod["object"] if bound else None)

    def issued(self, *arguments, **how):
        return self.sts.issued(*arguments, **how)
