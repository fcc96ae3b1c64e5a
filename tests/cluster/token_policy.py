"""Requests for tokens that the chart's policies should let through, and those that they should not. Each violates one
rule and no other, as far as that is possible."""

import dataclasses

import objects

STS, API = ["sts.amazonaws.com"], ["https://kubernetes.default.svc"]


@dataclasses.dataclass
class Case:
    who: object  # an Api
    namespace: str
    account: str
    request: dict
    refused: str | None  # words of the refusal; None: the token is issued

    def ask(self):
        return self.who.ask("POST", objects.token_path(self.namespace, self.account), self.request)


class TokenWorld:
    """Two nodes, and namespaces that are enabled (one of them without pods) and one that is not."""

    def __init__(self, plane, release):
        self.plane, self.admin, self.release = plane, plane.admin, release
        admin = self.admin
        admin.patch(f"/api/v1/namespaces/{release}", {"metadata": {"labels": {"credlet.io/enabled": "true"}}})
        for name, labels in (("enabled", {"credlet.io/enabled": "true"}), ("podless", {"credlet.io/enabled": "true"}),
                             ("disabled", {"credlet.io/enabled": "false"})):
            objects.namespace(admin, name, labels)
            objects.service_account(admin, name, "app")
        objects.service_account(admin, "enabled", release)  # of the daemon's name, and not the daemon's
        objects.service_account(admin, release, "neighbour")
        for name in ("here", "there"):
            objects.node(admin, name)
        self.own = objects.pod(admin, "enabled", "own", "app", "here", ["127.40.0.1"])
        self.foreign = objects.pod(admin, "enabled", "foreign", "app", "there", ["127.40.0.2"])
        self.unscheduled = objects.pod(admin, "enabled", "unscheduled", "app", phase="Pending")
        self.namesake = objects.pod(admin, "enabled", "namesake", release, "here", ["127.40.0.3"])
        self.neighbour = objects.pod(admin, release, "neighbour", "neighbour", "here", ["127.40.0.4"])
        self.outside = objects.pod(admin, "disabled", "outside", "app", "here", ["127.40.0.5"])
        self.outside_foreign = objects.pod(admin, "disabled", "outside-foreign", "app", "there", ["127.40.0.6"])
        self.daemon_pod = objects.pod(admin, release, "credlet-here", release, "here", ["10.0.0.1"], host_network=True)
        self._new_tokens()
        self.node = admin.get("/api/v1/nodes/here")

    def _new_tokens(self):
        release = self.release
        self.daemon = self.plane.bearer(objects.token(self.admin, release, release, bound_to=self.daemon_pod))
        self.unbound_daemon = self.plane.bearer(objects.token(self.admin, release, release))

    def replace_daemon(self):
        """The same account anew, which the API server knows nothing about: for ten seconds it remembers which one it
        has let impersonate."""
        self.admin.delete(f"/api/v1/namespaces/{self.release}/serviceaccounts/{self.release}")
        objects.service_account(self.admin, self.release, self.release)
        self._new_tokens()


ask = objects.token_request

# Of a TokenWorld each.
CASES = {
    "a pod of the own node": lambda w: Case(w.daemon, "enabled", "app", ask(STS, 3600, w.own), None),
    "as short as can be": lambda w: Case(w.daemon, "enabled", "app", ask(STS, 600, w.own), None),
    "an account of the daemon's name elsewhere":
        lambda w: Case(w.daemon, "enabled", w.release, ask(STS, 3600, w.namesake), None),
    "another account of the daemon's namespace":
        lambda w: Case(w.daemon, w.release, "neighbour", ask(STS, 3600, w.neighbour), None),
    "a token that is bound to no node":
        lambda w: Case(w.unbound_daemon, "enabled", "app", ask(STS, 3600, w.unscheduled), "not bound to a node"),
    "no audience": lambda w: Case(w.daemon, "enabled", "app", ask(None, 3600, w.own), "audience"),
    "the API server's audience": lambda w: Case(w.daemon, "enabled", "app", ask(API, 3600, w.own), "audience"),
    "another audience": lambda w: Case(w.daemon, "enabled", "app", ask(["vault"], 3600, w.own), "audience"),
    "another audience besides": lambda w: Case(w.daemon, "enabled", "app", ask(STS + API, 3600, w.own), "audience"),
    "another audience before it": lambda w: Case(w.daemon, "enabled", "app", ask(API + STS, 3600, w.own), "audience"),
    "too long a life": lambda w: Case(w.daemon, "enabled", "app", ask(STS, 3601, w.own), "expirationSeconds"),
    "bound to nothing": lambda w: Case(w.daemon, "enabled", "app", ask(STS), "not bound to a pod"),
    "bound to a node": lambda w: Case(w.daemon, "enabled", "app", ask(STS, 3600, w.node, "Node"), "not bound to a pod"),
    "bound to a secret":
        lambda w: Case(w.daemon, "enabled", "app", ask(STS, 3600, ("s", "1"), "Secret"), "not bound to a pod"),
    "bound by name alone":
        lambda w: Case(w.daemon, "enabled", "app", ask(STS, 3600, ("own", "")), "not bound to a pod"),
    "the daemon's own account":
        lambda w: Case(w.daemon, w.release, w.release, ask(STS, 3600, w.daemon_pod), "off limits"),
    "a namespace that is not enabled":
        lambda w: Case(w.daemon, "disabled", "app", ask(STS, 3600, w.outside), "credlet.io/enabled"),
    "another node's pod there":
        lambda w: Case(w.daemon, "disabled", "app", ask(STS, 3600, w.outside_foreign), "credlet.io/enabled"),
    "another node's pod":
        lambda w: Case(w.daemon, "enabled", "app", ask(STS, 3600, w.foreign), "not on the caller's node"),
    "another node's pod by the own pod's name":
        lambda w: Case(w.daemon, "enabled", "app", ask(STS, 3600, ("own", w.foreign["metadata"]["uid"])),
                       "not on the caller's node"),
    "a pod without a node":
        lambda w: Case(w.daemon, "enabled", "app", ask(STS, 3600, w.unscheduled), "not on the caller's node"),
    "another account than the pod's":
        lambda w: Case(w.daemon, "enabled", w.release, ask(STS, 3600, w.own), "different serviceaccount"),
    "no such pod": lambda w: Case(w.daemon, "enabled", "app", ask(STS, 3600, ("gone", "0")), "not found"),
    "a pod that was replaced":
        lambda w: Case(w.daemon, "enabled", "app", ask(STS, 3600, ("own", "0")), "does not match the UID"),
    "no such pod among no pods": lambda w: Case(w.daemon, "podless", "app", ask(STS, 3600, ("gone", "0")), "not found"),
    "too short a life": lambda w: Case(w.daemon, "enabled", "app", ask(STS, 599, w.own), "10 minutes"),
    "somebody else, for whatever audience": lambda w: Case(w.admin, "enabled", "app", ask(API), None),
    "somebody else, among no pods": lambda w: Case(w.admin, "podless", "app", ask(API), None),
    "somebody else, for a pod anywhere": lambda w: Case(w.admin, "enabled", "app", ask(API, 7200, w.foreign), None),
}


def outcome(reply):
    """All that can be told from an answer, but for what differs from one time to the next."""
    if reply.status == 201:
        return 201
    body = reply.json
    return reply.status, body.get("reason"), body.get("message")
