"""The control endpoint: plain HTTP and JSON on loopback, described in README.md."""

import ipaddress
import json
import os
import time

from aiohttp import web

import sts as sts_module
from pki import Authority, write_atomically
from world import Problem, timestamp


class DaemonFiles:
    """The daemon's own service-account directory, written as the kubelet does: a symbolic link swapped at once."""

    def __init__(self, directory, world, ca_pem):
        self.directory, self.world, self.good_ca = directory, world, ca_pem
        self.ca = ca_pem
        self.token = ""
        os.makedirs(directory, exist_ok=True)

    def fresh_token(self, expires_in=None):
        world = self.world
        pod = world.pods.objects[(world.daemon_namespace, world.daemon_account)].body
        lifetime = world.daemon_token_lifetime if expires_in is None else expires_in
        now = world.now() if lifetime > 0 else world.now() + lifetime - 3600
        claims = world.claims(world.daemon_namespace, world.daemon_account, pod, None, lifetime, now)
        if lifetime <= 0:
            claims["exp"] = int(world.now() + lifetime)
        return world.sign(claims)

    def write(self):
        data = f"..{time.time_ns()}"
        os.mkdir(os.path.join(self.directory, data))
        contents = {"token": self.token, "ca.crt": self.ca, "namespace": self.world.daemon_namespace}
        for name, content in contents.items():
            if content is not None:
                write_atomically(os.path.join(self.directory, data, name), content, 0o600)
        link = os.path.join(self.directory, "..data")
        old = os.readlink(link) if os.path.islink(link) else None
        os.symlink(data, link + ".new")
        os.replace(link + ".new", link)
        for name in contents:
            if not os.path.islink(os.path.join(self.directory, name)):
                os.symlink(f"..data/{name}", os.path.join(self.directory, name))
        if old:
            for name in os.listdir(os.path.join(self.directory, old)):
                os.unlink(os.path.join(self.directory, old, name))
            os.rmdir(os.path.join(self.directory, old))

    def set_token(self, mode, expires_in=None):
        choices = {"fresh": lambda: self.fresh_token(expires_in), "empty": lambda: "", "missing": lambda: None,
                   "garbage": lambda: "\x00not a token\n", "expired": lambda: self.fresh_token(-60)}
        if mode not in choices:
            raise Problem(f"no such mode: {mode}")
        self.token = choices[mode]()
        self.write()

    def set_ca(self, mode):
        choices = {"good": lambda: self.good_ca, "empty": lambda: b"", "missing": lambda: None,
                   "garbage": lambda: b"not PEM\n", "other": lambda: Authority("another cluster").pem,
                   "both": lambda: Authority("another cluster").pem + self.good_ca}
        if mode not in choices:
            raise Problem(f"no such mode: {mode}")
        self.ca = choices[mode]()
        self.write()


class Control:
    def __init__(self, world, faults, journal, listeners, kube, files):
        self.world, self.faults, self.journal, self.listeners = world, faults, journal, listeners
        self.kube, self.files = kube, files

    def application(self):
        application = web.Application(middlewares=[self._answer], client_max_size=1 << 26)
        routes = application.router
        for method, path, handler in (
                ("GET", "/stats", self.stats), ("POST", "/stats/reset", self.reset), ("GET", "/calls", self.calls),
                ("GET", "/issued", self.issued), ("GET", "/issued/{id}", self.issued_one),
                ("GET", "/faults", self.list_faults), ("POST", "/faults", self.add_fault),
                ("DELETE", "/faults", self.clear_faults), ("DELETE", "/faults/{id}", self.clear_faults),
                ("GET", "/settings", self.settings), ("POST", "/settings", self.settings),
                ("GET", "/pods", self.list_pods), ("POST", "/pods", self.create_pods),
                ("PATCH", "/pods/{namespace}/{name}", self.patch_pod),
                ("DELETE", "/pods/{namespace}/{name}", self.delete_pod),
                ("POST", "/serviceaccounts", self.put_accounts),
                ("DELETE", "/serviceaccounts/{namespace}/{name}", self.delete_account),
                ("POST", "/roles", self.put_roles), ("DELETE", "/roles", self.delete_role),
                ("POST", "/bulk", self.bulk), ("POST", "/mint", self.mint), ("GET", "/jwks", self.jwks),
                ("POST", "/keys/rotate", self.rotate), ("POST", "/keys/publish", self.publish),
                ("POST", "/tls", self.tls), ("POST", "/listen", self.listen), ("POST", "/drop", self.drop),
                ("POST", "/watches", self.end_watches), ("GET", "/watches", self.list_watches),
                ("POST", "/compact", self.compact), ("POST", "/token-file", self.token_file),
                ("POST", "/ca-file", self.ca_file), ("POST", "/batch", self.batch)):
            routes.add_route(method, path, handler)
        return application

    @web.middleware
    async def _answer(self, request, handler):
        try:
            return web.json_response(await handler(request))
        except (Problem, ValueError, KeyError, TypeError) as problem:
            return web.json_response({"error": f"{type(problem).__name__}: {problem}"}, status=400)

    # What happened

    async def stats(self, _):
        listeners = {name: listener.stats() for name, listener in self.listeners.items()}
        stats = {name: {**self.journal.stats(name), **listeners[name]} for name in listeners}
        stats["kube"]["open_watches"] = {r: sum(w.resource == r for w in self.kube.watches.values())
                                         for r in ("pods", "serviceaccounts")}
        stats["issued"] = len(self.world.issued)
        return stats

    async def reset(self, _):
        self.journal.reset()
        return {}

    async def calls(self, request):
        since = int(request.query.get("since", 0))
        return [call for call in self.journal.calls[request.query.get("target", "sts")] if call["number"] > since]

    def _shown(self, issued, request):
        hidden = () if request.query.get("secrets") else ("secret_access_key", "session_token")
        shown = {name: value for name, value in issued.items() if name not in hidden}
        return {**shown, "expiration": timestamp(issued["expires"])}

    async def issued(self, request):
        return [self._shown(issued, request) for issued in self.world.issued.values()]

    async def issued_one(self, request):
        issued = self.world.issued.get(request.match_info["id"])
        if issued is None:
            raise Problem("these credentials were not issued here")
        return self._shown(issued, request)

    # Faults

    async def list_faults(self, _):
        return [fault.describe() for fault in self.faults.all]

    async def add_fault(self, request):
        body = await request.json()
        return [self.faults.add(b).describe() for b in body] if isinstance(body, list) else \
            self.faults.add(body).describe()

    async def clear_faults(self, request):
        number = request.match_info.get("id")
        self.faults.clear(int(number) if number else None)
        return {}

    async def tls(self, request):
        body = await request.json()
        await self.listeners[body["target"]].switch(body["certificate"])
        return {}

    async def listen(self, request):
        body = await request.json()
        listener = self.listeners[body["target"]]
        if body["up"] != listener.up:
            await (listener.start() if body["up"] else listener.stop())
        return {}

    async def drop(self, request):
        return {"dropped": self.listeners[(await request.json())["target"]].drop_connections()}

    async def end_watches(self, request):
        body = await request.json()
        ended = [w for w in self.kube.watches.values() if body.get("resource") in (None, w.resource)]
        for watch in ended:
            watch.ending = body
        return {"ended": len(ended)}

    async def list_watches(self, _):
        return [watch.describe() for watch in self.kube.watches.values()]

    async def compact(self, _):
        for store in (self.world.pods, self.world.accounts):
            store.compact(self.world.versions.value)
        return {"horizon": self.world.versions.value}

    async def token_file(self, request):
        body = await request.json()
        self.files.set_token(body.get("mode", "fresh"), body.get("expires_in"))
        return {}

    async def ca_file(self, request):
        self.files.set_ca((await request.json())["mode"])
        return {}

    # The world

    async def settings(self, request):
        if request.method == "POST":
            self.world.configure(await request.json())
        return self.world.settings

    async def list_pods(self, _):
        return [describe_pod(pod.body) for pod in self.world.pods.objects.values()]

    async def create_pods(self, request):
        return self._each(await request.json(), self._create_pod)

    def _create_pod(self, body):
        return describe_pod(self.world.create_pod(**body))

    async def patch_pod(self, request):
        changes = await request.json()
        silent = changes.pop("silent", False)
        return describe_pod(self.world.patch_pod(request.match_info["namespace"], request.match_info["name"], changes,
                                                 silent))

    async def delete_pod(self, request):
        self.world.delete_pod(request.match_info["namespace"], request.match_info["name"],
                              bool(request.query.get("silent")))
        return {}

    async def put_accounts(self, request):
        return self._each(await request.json(), self._put_account)

    def _put_account(self, body):
        return self.world.put_account(**body)["metadata"]

    async def delete_account(self, request):
        self.world.delete_account(request.match_info["namespace"], request.match_info["name"],
                                  bool(request.query.get("silent")))
        return {}

    async def put_roles(self, request):
        return self._each(await request.json(), self._put_role)

    def _put_role(self, body):
        if body.get("trust") is not None:
            sts_module.check_trust(body["trust"])
        return self.world.put_role(**body)

    async def delete_role(self, request):
        if self.world.roles.pop(request.query["arn"], None) is None:
            raise Problem("no such role")
        return {}

    @staticmethod
    def _each(body, action):
        return [action(one) for one in body] if isinstance(body, list) else action(body)

    async def bulk(self, request):
        return self.make_bulk(**await request.json())

    def make_bulk(self, service_accounts, pods, namespace="load", first_address="127.1.0.1", node=None, prefix="app",
                  annotation="credlet.io/role-arn", realistic=None, phase="Running"):
        """Service accounts with a role each, and pods spread over them, each with an address of its own."""
        world, made = self.world, []
        roles = []
        for i in range(service_accounts):
            name = f"{prefix}-{i:04d}"
            role = world.put_role(f"{namespace}-{name}", subjects=f"system:serviceaccount:{namespace}:{name}")
            roles.append(role["arn"])
            world.put_account(namespace, name, {annotation: role["arn"]})
        address = ipaddress.ip_address(first_address)
        for j in range(pods):
            account = f"{prefix}-{j % service_accounts:04d}"
            body = world.create_pod(namespace, f"{account}-{j:05d}", account, node, ip=str(address + j),
                                    realistic=realistic, phase=phase)
            made.append({**describe_pod(body), "role_arn": roles[j % service_accounts]})
        return {"pods": made, "roles": roles}

    async def batch(self, request):
        """Several changes with nothing in between: [{"do": "create_pod", ...}, ...]."""
        actions = {"create_pod": self._create_pod, "put_account": self._put_account, "put_role": self._put_role,
                   "patch_pod": lambda b: describe_pod(self.world.patch_pod(b.pop("namespace"), b.pop("name"), b)),
                   "delete_pod": lambda b: self.world.delete_pod(**b)}
        return [actions[body.pop("do")](body) for body in await request.json()]

    async def mint(self, request):
        token, claims = self.world.mint(**await request.json())
        return {"token": token, "claims": claims}

    async def jwks(self, _):
        return self.world.jwks()

    async def rotate(self, request):
        body = json.loads(await request.text() or "{}")
        return {"kid": self.world.rotate_keys(**body)}

    async def publish(self, _):
        self.world.publish_keys()
        return {}


def describe_pod(body):
    return {"namespace": body["metadata"]["namespace"], "name": body["metadata"]["name"],
            "uid": body["metadata"]["uid"], "ips": [ip["ip"] for ip in body["status"].get("podIPs", [])],
            "ip": body["status"].get("podIP", ""), "service_account": body["spec"]["serviceAccountName"],
            "node": body["spec"].get("nodeName", ""), "phase": body["status"]["phase"]}


def load_scenario(control, scenario):
    """The same bodies as the control endpoint takes, at once. Settings were applied before."""
    for account in scenario.get("service_accounts", []):
        control._put_account(account)
    for role in scenario.get("roles", []):
        control._put_role(role)
    for pod in scenario.get("pods", []):
        control._create_pod(pod)
    if "bulk" in scenario:
        control.make_bulk(**scenario["bulk"])
    for fault in scenario.get("faults", []):
        control.faults.add(fault)
