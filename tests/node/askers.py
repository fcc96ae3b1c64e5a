"""Pods that ask credlet at a steady rate: real ones, on the node's bridge, which know where to ask by injection."""

import json

import objects
import worker
from simulator import wait_until

NAMESPACE = "apps"


class Askers:
    def __init__(self, plane, sts):
        self.plane, self.sts = plane, sts
        objects.namespace(plane.admin, NAMESPACE, {"credlet.io/enabled": "true"})

    def start(self, name, rate):
        """With a role of its own. Returns when the first answer has come."""
        asker = Asker(self, name)
        asker.create(rate)
        wait_until(lambda: asker.says() and asker.tally()["answered"] > 0, 60, f"{name}'s first answer", 0.2)
        return asker


class Asker:
    def __init__(self, askers, name):
        self.admin, self.name = askers.plane.admin, name
        self.namespace = NAMESPACE
        self.path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"
        self.role_arn = askers.sts.role(name, subjects=f"system:serviceaccount:{NAMESPACE}:{name}")
        objects.service_account(self.admin, NAMESPACE, name, {"credlet.io/role-arn": self.role_arn})

    def create(self, rate):
        self.admin.create(f"/api/v1/namespaces/{NAMESPACE}/pods", objects.pod_body(
            self.name, self.name, labels={"credlet.io/inject": "true"}, restartPolicy="Never",
            containers=[{"name": "asker", "image": worker.PAUSE, "imagePullPolicy": "Never",
                         "args": ["ask", "-rate", str(rate)], "command": ["/asker"]}]))

    def object(self):
        return self.admin.get(self.path)

    def tally(self):
        """What it has been told so far."""
        return json.loads(self.says())

    def says(self):
        """Its last line, read as `kubectl logs` reads it; nothing before it has started."""
        reply = self.admin.ask("GET", f"{self.path}/log?tailLines=1")
        return reply.body if reply.status == 200 else b""

    def delete(self):
        self.admin.delete(self.path, grace=1)
        wait_until(lambda: not self.admin.exists(self.path), 30, f"the end of {self.name}", 0.1)
