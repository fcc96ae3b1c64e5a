"""Pods that ask credlet at a steady rate: real ones, on the node's bridge, which know where to ask by injection or by
their manifests."""

import json

import objects
import worker
from simulator import wait_until

NAMESPACE = "apps"


class Askers:
    def __init__(self, plane, sts):
        self.plane, self.sts = plane, sts
        objects.namespace(plane.admin, NAMESPACE, {"credlet.io/enabled": "true"})

    def make(self, name, rate, uri=None, **spec):
        """With a role of its own. uri: what its manifest says, so that nothing is injected."""
        asker = Asker(self, name, rate)
        asker.create(uri, **spec)
        return asker

    def start(self, name, rate, **how):
        """Returns when the first answer has come."""
        asker, = self.start_all([name], rate, **how)
        return asker

    def start_all(self, names, rate, **how):
        started = [self.make(name, rate, **how) for name in names]
        for asker in started:
            asker.await_answer()
        return started


class Asker:
    def __init__(self, askers, name, rate):
        self.admin, self.name, self.rate = askers.plane.admin, name, rate
        self.namespace = NAMESPACE
        self.path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"
        self.role_arn = askers.sts.role(name, subjects=f"system:serviceaccount:{NAMESPACE}:{name}")
        objects.service_account(self.admin, NAMESPACE, name, {"credlet.io/role-arn": self.role_arn})

    def create(self, uri=None, **spec):
        env = [{"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": uri}] if uri else []
        self.admin.create(f"/api/v1/namespaces/{NAMESPACE}/pods", objects.pod_body(
            self.name, self.name, labels={"credlet.io/inject": "true"}, **{"restartPolicy": "Never", **spec},
            containers=[{"name": "asker", "image": worker.PAUSE, "imagePullPolicy": "Never", "env": env,
                         "args": ["ask", "-rate", str(self.rate)], "command": ["/asker"]}]))

    def object(self):
        return self.admin.get(self.path)

    def uri(self):
        """Where it was told to ask."""
        env = {one["name"]: one.get("value") for one in self.object()["spec"]["containers"][0]["env"]}
        return env["AWS_CONTAINER_CREDENTIALS_FULL_URI"]

    def tally(self):
        """What it has been told so far."""
        return json.loads(self.says())

    def says(self):
        """Its last line, read as `kubectl logs` reads it; nothing before it has started."""
        reply = self.admin.ask("GET", f"{self.path}/log?tailLines=1")
        return reply.body if reply.status == 200 else b""

    def await_answer(self):
        wait_until(lambda: self.says() and self.tally()["answered"] > 0, 60, f"{self.name}'s first answer", 0.2)


def delete(*askers):
    """Returns when they have ended."""
    for asker in askers:
        asker.admin.delete(asker.path, grace=1)
    for asker in askers:
        wait_until(lambda path=asker.path, admin=asker.admin: not admin.exists(path), 30, f"the end of {asker.name}", 0.1)


def check_no_request_failed(askers):
    """Their tallies."""
    tallies = [asker.tally() for asker in askers]
    failures = {asker.name: (tally["failed"], tally["failures"]) for asker, tally in zip(askers, tallies) if tally["failed"]}
    assert not failures
    return tallies


def check_its_own_role(asker, sts):
    """No other, in all its answers."""
    tally = asker.tally()
    assert set(tally["roles"]) == {asker.role_arn}
    for key_id in tally["key_ids"]:
        issued = sts.issued(key_id)
        assert issued["role_arn"] == asker.role_arn
        assert issued["sub"] == f"system:serviceaccount:{asker.namespace}:{asker.name}"
