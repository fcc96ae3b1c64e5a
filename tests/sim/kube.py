"""The Kubernetes API: authentication, authorization, pods and service accounts (get, list, watch), TokenRequest,
TokenReview, discovery and keys of the token issuer."""

import asyncio
import base64
import json
import re
import time
import uuid
from email.utils import formatdate

import jwt
from aiohttp import web

import faults as fault_kinds
from world import Versioned, timestamp

POD_FIELDS = {
    "metadata.name": lambda o: o["metadata"]["name"],
    "metadata.namespace": lambda o: o["metadata"]["namespace"],
    "spec.nodeName": lambda o: o["spec"].get("nodeName", ""),
    "spec.restartPolicy": lambda o: o["spec"].get("restartPolicy", ""),
    "spec.schedulerName": lambda o: o["spec"].get("schedulerName", ""),
    "spec.serviceAccountName": lambda o: o["spec"].get("serviceAccountName", ""),
    "spec.hostNetwork": lambda o: "true" if o["spec"].get("hostNetwork") else "false",
    "status.phase": lambda o: o["status"].get("phase", ""),
    "status.podIP": lambda o: o["status"].get("podIP", ""),  # the first address only, as in the real one
    "status.nominatedNodeName": lambda o: "",
}
ACCOUNT_FIELDS = {name: POD_FIELDS[name] for name in ("metadata.name", "metadata.namespace")}
PARTIAL = re.compile(r"application/json;.*\bas=PartialObjectMetadata(List)?\b")
MAX_EXPIRATION = 1 << 32
DELETION_LEEWAY = 60  # seconds


class Status(Exception):
    """An answer that is a Status object."""

    def __init__(self, code, reason, message, details=None, headers=None):
        super().__init__(message)
        self.code, self.headers = code, headers or {}
        self.body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
                     "reason": reason, **({"details": details} if details else {}), "code": code}

    def response(self):
        return web.Response(status=self.code, body=json.dumps(self.body).encode() + b"\n",
                            headers={"Content-Type": "application/json", **self.headers})


def expired(message):
    return Status(410, "Expired", message)


def not_found(resource, name):
    return Status(404, "NotFound", f'{resource} "{name}" not found', {"name": name, "kind": resource})


class User:
    def __init__(self, name, groups, extra=None, uid=""):
        self.name, self.groups, self.extra, self.uid = name, groups, extra or {}, uid

    @property
    def node(self):
        """The node this user is, if it is one."""
        return self.name.removeprefix("system:node:") if "system:nodes" in self.groups else None


class Kube:
    def __init__(self, world, faults, log):
        self.world, self.faults, self.log = world, faults, log
        self.snapshots = {}  # continue tokens: (expiry, resource version, objects left)
        self.watches = {}  # id: Watch
        self.resources = {"pods": (world.pods, POD_FIELDS), "serviceaccounts": (world.accounts, ACCOUNT_FIELDS)}

    async def handle(self, request):
        started = self.log.begin("kube")
        call = {"method": request.method, "path": request.path, "query": request.query_string, "code": 0}
        try:
            route = self._route(request)
            call.update({name: route[name] for name in ("verb", "resource", "namespace", "name")})
            facts = {**call, "path": request.path_qs}

            async def genuine():
                await self.log.latency(self.world.kube_latency_ms)
                try:
                    return await self._serve(request, route, facts, call)
                except Status as status:
                    return status.response()

            def error(code, message, status, headers):
                if code == "Throttling":
                    return Status(429, "TooManyRequests", "Too many requests, please try again later.",
                                  {"retryAfterSeconds": 1}, {"Retry-After": "1"}).response()
                return Status(status or 500, code, message, None, headers).response()

            response = await fault_kinds.inject(self.faults, "kube", request, facts, genuine, error)
            call["code"] = response.status
            return self._dated(response)
        except Status as status:
            call["code"] = status.code
            return self._dated(status.response())
        finally:
            self.log.end("kube", started, call)

    def _dated(self, response):
        """With the time by our own clock, where a response is not yet on its way."""
        if not response.prepared:
            response.headers["Date"] = formatdate(self.world.now(), usegmt=True)
        return response

    # Paths

    def _route(self, request):
        path = request.path
        route = {"verb": request.method.lower(), "resource": path, "namespace": "", "name": "", "subresource": ""}
        core = re.fullmatch(r"/api/v1(?:/namespaces/([^/]+))?/(pods|serviceaccounts)(?:/([^/]+))?(?:/(token))?", path)
        if core:
            namespace, resource, name, subresource = (part or "" for part in core.groups())
            if name and not namespace:
                raise Status(404, "NotFound", "the server could not find the requested resource")
            if subresource:
                if resource != "serviceaccounts":
                    raise Status(404, "NotFound", "the server could not find the requested resource")
                route.update(verb="create", subresource="token", resource="serviceaccounts/token")
                if request.method != "POST":
                    raise _method_not_allowed()
            else:
                if request.method != "GET":
                    raise _method_not_allowed()
                watch = request.query.get("watch", "") in ("1", "true")
                route.update(resource=resource, verb="get" if name else "watch" if watch else "list")
            route.update(namespace=namespace, name=name)
        elif path == "/apis/authentication.k8s.io/v1/tokenreviews":
            if request.method != "POST":
                raise _method_not_allowed()
            route.update(verb="create", resource="tokenreviews")
        elif path not in ("/.well-known/openid-configuration", "/openid/v1/jwks", "/version", "/livez", "/readyz"):
            raise Status(404, "NotFound", "the server could not find the requested resource")
        return route

    async def _serve(self, request, route, facts, call):
        if route["resource"].startswith("/"):
            return self._serve_discovery(request, route)
        user = self._authenticate(request)
        call["caller"], call["token_id"] = user.name, user.extra["authentication.kubernetes.io/credential-id"][0][4:]
        user = self._impersonate(request, route, user)
        self._authorize(request, route, user)
        if route["resource"] == "tokenreviews":
            return self._review(await _json_body(request))
        if route["subresource"] == "token":
            return self._request_token(await _json_body(request), route, user)
        if route["verb"] == "get":
            store, _ = self.resources[route["resource"]]
            known = store.objects.get((route["namespace"], route["name"]))
            if known is None:
                raise not_found(route["resource"], route["name"])
            partial = PARTIAL.search(request.headers.get("Accept", ""))
            return _json(known.partial if partial else known.encoded)
        if route["verb"] == "list":
            return self._list(request, route)
        return await Watch(self, request, route, facts).run()

    # Who

    def _authenticate(self, request):
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        user = self._user_of(token.strip(), self.world.api_audiences) if scheme.lower() == "bearer" else None
        if user is None:
            raise Status(401, "Unauthorized", "Unauthorized")
        return user

    def _user_of(self, token, audiences):
        """The user a token stands for, or None. Unlike STS, the API server notices when the pod is gone."""
        try:
            header = jwt.get_unverified_header(token)
            key = next((k for k in self.world.published if k.kid == header.get("kid")), None)
            if key is None:
                return None
            claims = self.world.decode(token, key, audiences)
        except jwt.PyJWTError:
            return None
        private = claims.get("kubernetes.io", {})
        namespace = private.get("namespace", "")
        wanted = private.get("serviceaccount", {})
        known = self.world.accounts.objects.get((namespace, wanted.get("name")))
        if known is None or known.body["metadata"]["uid"] != wanted.get("uid"):
            return None
        extra = {"authentication.kubernetes.io/credential-id": [f"JTI={claims.get('jti')}"]}
        if "pod" in private:
            pod = self.world.pods.objects.get((namespace, private["pod"].get("name")))
            if pod is None or pod.body["metadata"]["uid"] != private["pod"].get("uid") or self._long_deleted(pod.body):
                return None
            extra["authentication.kubernetes.io/pod-name"] = [private["pod"]["name"]]
            extra["authentication.kubernetes.io/pod-uid"] = [private["pod"]["uid"]]
        if "node" in private:
            extra["authentication.kubernetes.io/node-name"] = [private["node"]["name"]]
            extra["authentication.kubernetes.io/node-uid"] = [private["node"]["uid"]]
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
        return User(claims["sub"], groups, extra, wanted.get("uid"))

    def _long_deleted(self, pod):
        """Whether its tokens are dead although it lingers: what should have ended a minute ago counts as gone."""
        stamp = pod["metadata"].get("deletionTimestamp")
        return stamp is not None and stamp < timestamp(self.world.now() - DELETION_LEEWAY)

    def _impersonate(self, request, route, user):
        headers = [name for name in request.headers if name.lower().startswith("impersonate-")]
        if not headers:
            return user
        wanted = request.headers.get("Impersonate-User", "")
        refusal = Status(403, "Forbidden", f'users "{wanted}" is forbidden: User "{user.name}" cannot impersonate '
                                           f'resource "users" in API group "" at the cluster scope',
                         {"name": wanted, "kind": "users"})
        if not wanted:
            raise Status(400, "BadRequest", "impersonation without Impersonate-User")
        if not self.world.constrained_impersonation or len(headers) != 1 or not self._is_daemon(user):
            raise refusal
        node = user.extra.get("authentication.kubernetes.io/node-name", [None])[0]
        if node is None or wanted != f"system:node:{node}":
            raise refusal
        self._check_denied("impersonate:associated-node", "nodes", user)
        self._check_denied(f"impersonate-on:associated-node:{route['verb']}", route["resource"], user)
        return User(wanted, ["system:nodes", "system:authenticated"])

    def _is_daemon(self, user):
        return user.name == f"system:serviceaccount:{self.world.daemon_namespace}:{self.world.daemon_account}"

    # What they may do

    def _authorize(self, request, route, user):
        self._check_denied(route["verb"], route["resource"], user)
        if user.node is not None:
            return self._authorize_node(request, route, user)
        if not self._is_daemon(user):
            raise _forbidden(user, route["verb"], route["resource"])

    def _check_denied(self, verb, resource, user):
        for rule in self.world.denied:
            if rule.get("verb", verb) == verb and rule.get("resource", resource) == resource:
                raise _forbidden(user, verb, resource)

    def _authorize_node(self, request, route, user):
        """The Node authorizer: what a kubelet may do, on its own node."""
        refusal = _forbidden(user, route["verb"], route["resource"])
        unrelated = _forbidden(user, route["verb"], route["resource"],
                               f": no relationship found between node '{user.node}' and this object")
        mine = [p.body for p in self.world.pods.objects.values() if p.body["spec"].get("nodeName") == user.node]
        if route["resource"] == "pods" and route["verb"] in ("list", "watch"):
            if ("spec.nodeName", "=", user.node) not in _selector(request.query.get("fieldSelector", ""), POD_FIELDS):
                raise refusal
        elif route["resource"] == "pods":
            if not any(p["metadata"]["name"] == route["name"] and p["metadata"]["namespace"] == route["namespace"]
                       for p in mine):
                raise unrelated
        elif route["resource"] == "serviceaccounts" and route["verb"] == "get":
            if not any(p["spec"]["serviceAccountName"] == route["name"]
                       and p["metadata"]["namespace"] == route["namespace"] for p in mine):
                raise unrelated
        elif route["resource"] != "serviceaccounts/token":
            raise refusal

    # Discovery and keys

    def _serve_discovery(self, request, route):
        if request.method != "GET":
            raise _method_not_allowed()
        if not self.world.public_discovery or route["resource"] in ("/version",):
            self._authenticate(request)
        if route["resource"] == "/openid/v1/jwks":
            return web.Response(body=json.dumps(self.world.jwks()).encode(), headers={
                "Content-Type": "application/jwk-set+json", "Cache-Control": "public, max-age=3600"})
        if route["resource"] == "/.well-known/openid-configuration":
            body = {"issuer": self.world.issuer,
                    "jwks_uri": self.world.jwks_uri or f"{self.world.issuer}/openid/v1/jwks",
                    "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": sorted({k.algorithm for k in self.world.published})}
            return web.Response(body=json.dumps(body).encode(), headers={
                "Content-Type": "application/json", "Cache-Control": "public, max-age=3600"})
        if route["resource"] == "/version":
            return _json(json.dumps({"major": "1", "minor": "33", "gitVersion": "v1.33.0"}).encode())
        return web.Response(text="ok")

    # Lists

    def _list(self, request, route):
        query = request.query
        store, fields = self.resources[route["resource"]]
        selector = _selector(query.get("fieldSelector", ""), fields)
        partial = bool(PARTIAL.search(request.headers.get("Accept", "")))
        limit = _number(query, "limit", 0)
        version = query.get("resourceVersion", "")
        if query.get("resourceVersionMatch") and not version:
            raise _invalid_options("resourceVersionMatch is forbidden unless resourceVersion is provided")
        self._check_version(version)
        now = time.monotonic()
        if query.get("continue"):
            known = self.snapshots.get(query["continue"])
            if version:
                raise Status(400, "BadRequest", "specifying resource version is not allowed when using continue")
            if known is None or known[0] < now:
                raise expired("The provided continue parameter is too old to display a consistent list result. You "
                              "can start a new list without the continue parameter, or use the continue token in "
                              "this response to retrieve the remainder of the results.")
            _, at, objects = known
        else:
            at = self.world.versions.value
            objects = [o for key, o in sorted(store.objects.items())
                       if route["namespace"] in ("", key[0]) and _matches(o.body, selector, fields)]
            if version == "0":  # from the watch cache, which knows no pages
                limit = 0
        page, rest = (objects[:limit], objects[limit:]) if limit else (objects, [])
        metadata = {"resourceVersion": str(at)}
        if rest:
            token = base64.urlsafe_b64encode(json.dumps({"v": "meta.k8s.io/v1", "rv": at, "start": str(uuid.uuid4())})
                                             .encode()).decode().rstrip("=")
            self.snapshots[token] = (now + self.world.continue_seconds, at, rest)
            while len(self.snapshots) > 100:
                del self.snapshots[next(iter(self.snapshots))]
            metadata["continue"] = token
            if not selector:
                metadata["remainingItemCount"] = len(rest)
        kind, group = ("PartialObjectMetadataList", "meta.k8s.io/v1") if partial else (f"{store.kind}List", "v1")
        head = json.dumps({"kind": kind, "apiVersion": group, "metadata": metadata})[:-1]
        items = b",".join(o.partial if partial else o.encoded for o in page)
        return _json(head.encode() + b',"items":[' + items + b"]}\n")

    def _check_version(self, version):
        if version and not version.isdigit():
            raise Status(400, "BadRequest", f'resourceVersion: Invalid value: "{version}": strconv.ParseUint: '
                                            f'parsing "{version}": invalid syntax')
        if version and int(version) > self.world.versions.value:
            raise Status(504, "Timeout", f"Timeout: Too large resource version: {version}, current: "
                                         f"{self.world.versions.value}",
                         {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                          "retryAfterSeconds": 1})

    # Tokens

    def _request_token(self, body, route, user):
        world, namespace, name = self.world, route["namespace"], route["name"]
        account = world.accounts.objects.get((namespace, name))
        if account is None:
            raise not_found("serviceaccounts", name)
        account = account.body
        if not isinstance(body, dict) or body.get("kind", "TokenRequest") != "TokenRequest" \
                or body.get("apiVersion", "authentication.k8s.io/v1") != "authentication.k8s.io/v1":
            raise Status(400, "BadRequest", "the object provided is unrecognized (must be of type TokenRequest)")
        metadata, spec = body.get("metadata") or {}, body.get("spec") or {}
        reference = spec.get("boundObjectRef") if isinstance(spec, dict) else None
        if not isinstance(metadata, dict) or not isinstance(spec, dict) or not isinstance(reference, (dict, type(None))):
            raise _cannot_unmarshal()
        for field, mine in (("name", name), ("namespace", namespace)):
            if metadata.get(field) not in (None, "", mine):
                raise Status(400, "BadRequest", f"the {field} of the provided object does not match the {field} sent "
                                                f"on the request")
        audiences = spec.get("audiences") or list(world.api_audiences)
        seconds = spec.get("expirationSeconds", 3600)
        if not isinstance(audiences, list) or not all(isinstance(a, str) for a in audiences) \
                or not isinstance(seconds, int) or isinstance(seconds, bool):
            raise _cannot_unmarshal()
        if user.node is not None:
            self._restrict_node(user, namespace, audiences, reference)
        if world.admission_policy and self._is_daemon(user):
            self._admit(user, namespace, name, audiences, seconds, reference)
        self._check_expiration(name, seconds)
        if metadata.get("uid") not in (None, "", account["metadata"]["uid"]):
            raise Status(409, "Conflict", f'Operation cannot be fulfilled on serviceaccounts "{name}": the UID in the '
                                          "token request does not match the UID of the service account")
        pod = self._bound_pod(namespace, name, reference) if reference is not None else None
        headers = {}
        if world.max_token_expiration and seconds > world.max_token_expiration:
            seconds = world.max_token_expiration
            headers["Warning"] = (f'299 - "requested expiration of {spec.get("expirationSeconds")} seconds shortened '
                                  f'to {seconds} seconds"')
        claims = world.claims(namespace, name, pod, audiences, seconds)
        answer = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
                  "metadata": {"name": name, "namespace": namespace, "uid": account["metadata"]["uid"],
                               "creationTimestamp": timestamp()},
                  "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": reference},
                  "status": {"token": world.sign(claims), "expirationTimestamp": timestamp(claims["exp"])}}
        return web.Response(status=201, body=json.dumps(answer).encode(),
                            headers={"Content-Type": "application/json", **headers})

    @staticmethod
    def _check_expiration(name, seconds):
        rule = ("may not specify a duration less than 10 minutes" if seconds < 600 else
                "may not specify a duration larger than 2^32 seconds" if seconds > MAX_EXPIRATION else None)
        if rule:
            field = f"spec.expirationSeconds: Invalid value: {seconds}: {rule}"
            raise Status(422, "Invalid", f'TokenRequest.authentication.k8s.io "{name}" is invalid: {field}', {
                "group": "authentication.k8s.io", "kind": "TokenRequest", "name": name,
                "causes": [{"reason": "FieldValueInvalid", "message": field, "field": "spec.expirationSeconds"}]})

    def _bound_pod(self, namespace, name, reference):
        kind, version = reference.get("kind", ""), reference.get("apiVersion", "")
        if kind != "Pod" or version != "v1":
            raise Status(400, "BadRequest", f"cannot bind token to object of type {version}, Kind={kind}")
        known = self.world.pods.objects.get((namespace, reference.get("name", "")))
        if known is None:
            raise not_found("pods", reference.get("name", ""))
        pod = known.body
        runs_as, uid = pod["spec"]["serviceAccountName"], pod["metadata"]["uid"]
        if runs_as != name:
            raise Status(400, "BadRequest", f'cannot bind token for serviceaccount "{name}" to pod running with '
                                            f'serviceaccount "{runs_as}"')
        if reference.get("uid") and reference["uid"] != uid:
            raise Status(409, "Conflict", f'Operation cannot be fulfilled on Pod "{reference["name"]}": the UID in '
                                          f'the bound object reference ({reference["uid"]}) does not match the UID in '
                                          f"record. The object might have been deleted and then recreated",
                         {"name": reference["name"], "kind": "Pod"})
        return pod

    def _restrict_node(self, user, namespace, audiences, reference):
        """NodeRestriction: a node asks only for tokens bound to its own pods."""
        def refuse(why):
            raise Status(403, "Forbidden", f"serviceaccounts/token is forbidden: {why}")

        if not reference or reference.get("kind") != "Pod":
            refuse(f"node requested token not bound to a pod (User {user.name})")
        if not reference.get("uid"):
            refuse("node requested token with a pod binding without a uid")
        pod = self.world.pods.objects.get((namespace, reference.get("name", "")))
        if pod is None:
            raise not_found("pods", reference.get("name", ""))
        if pod.body["spec"].get("nodeName") != user.node:
            refuse("node requested token bound to a pod scheduled on a different node")
        if self.world.node_audiences is not None and not set(audiences) <= set(self.world.node_audiences):
            refuse(f"audience {audiences} not found in pod spec volume, {user.name} is not authorized to request it")

    def _admit(self, user, namespace, name, audiences, seconds, reference):
        """The admission policy that confines a daemon's token requests to its own node's pods."""
        reference = reference or {}
        node = user.extra.get("authentication.kubernetes.io/node-name", [""])[0]
        pod = self.world.pods.objects.get((namespace, reference.get("name", "")))
        problems = [
            (not node, "caller token is not bound to a node"),
            (len(audiences) != 1 or audiences[0] not in self.world.admission_audiences, "audience is not allowed"),
            (seconds > 3600, "expirationSeconds too long"),
            (reference.get("kind") != "Pod" or not reference.get("uid"), "must be bound to a Pod by name and uid"),
            (user.name == f"system:serviceaccount:{namespace}:{name}", "own service account is off limits"),
            (pod is not None and pod.body["spec"].get("nodeName") != node, "bound pod is not on the caller's node"),
        ]
        for bad, message in problems:
            if bad:
                policy = "credlet-tokenrequest"
                raise Status(422, "Invalid", f'serviceaccounts "{name}" is forbidden: ValidatingAdmissionPolicy '
                                             f"'{policy}' with binding '{policy}' denied request: {message}")

    def _review(self, body):
        spec = body.get("spec") or {}
        token, audiences = spec.get("token"), spec.get("audiences") or list(self.world.api_audiences)
        if not token:
            raise Status(422, "Invalid", "TokenReview.authentication.k8s.io \"\" is invalid: spec.token: Required value")
        status = {"user": {}}
        user = self._user_of(token, audiences)
        if user is None:
            status["error"] = "invalid bearer token"
        else:
            held = jwt.decode(token, options={"verify_signature": False})["aud"]
            status = {"authenticated": True, "audiences": [a for a in audiences if a in held], "user": {
                "username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra}}
        answer = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
                  "metadata": {"creationTimestamp": None}, "spec": spec, "status": status}
        return web.Response(status=201, body=json.dumps(answer).encode(), headers={"Content-Type": "application/json"})


class Watch:
    """One open watch."""

    def __init__(self, kube, request, route, facts):
        self.kube, self.request, self.facts = kube, request, facts
        query = request.query
        self.resource = route["resource"]
        self.store, self.fields = kube.resources[self.resource]
        self.namespace = route["namespace"]
        self.selector = _selector(query.get("fieldSelector", ""), self.fields)
        self.partial = bool(PARTIAL.search(request.headers.get("Accept", "")))
        self.version = query.get("resourceVersion", "")
        self.bookmarks = query.get("allowWatchBookmarks", "") in ("1", "true")
        self.initial = query.get("sendInitialEvents", "") in ("1", "true")
        if self.initial and not kube.world.watch_list:
            raise _invalid_options("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the "
                                   "WatchList feature gate is enabled")
        if query.get("resourceVersionMatch") and not self.initial:
            raise _invalid_options("resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch")
        kube._check_version(self.version)
        self.timeout = _number(query, "timeoutSeconds", 0) or kube.world.watch_timeout_seconds
        self.delivered = int(self.version or 0)  # all events up to this version have been sent, or were not selected
        self.stream = None
        self.ending = None  # what the control endpoint wants done with this watch

    def describe(self):
        return {"resource": self.resource, "namespace": self.namespace, "selector": self.selector,
                "resourceVersion": self.version}

    async def run(self):
        kube = self.kube
        gone = self._too_old()
        modes = [f.arguments.get("mode", kube.world.gone_mode)
                 for f in kube.faults.hitting("kube", self.facts, {"gone"})]
        mode = modes[0] if modes else kube.world.gone_mode if gone else None
        if mode == "http":
            raise expired(f"too old resource version: {self.version or 0} ({self.store.horizon + 1})")
        self.stream = kube._dated(web.StreamResponse(headers={"Content-Type": "application/json",
                                                              "Cache-Control": "no-cache"}))
        self.stream.enable_chunked_encoding()
        await self.stream.prepare(self.request)
        if mode == "event":
            await self._error(expired(f"too old resource version: {self.version or 0} ({self.store.horizon + 1})"))
            return await self._finish()
        queue = self.store.subscribe(int(self.version or 0) or kube.world.versions.value)
        number = id(self)
        kube.watches[number] = self
        try:
            await self._pump(queue)
        except (ConnectionError, asyncio.CancelledError):
            raise fault_kinds.Dropped from None
        finally:
            del kube.watches[number]
            self.store.listeners.discard(queue)
        return self.stream

    def _too_old(self):
        return self.version not in ("", "0") and int(self.version) < self.store.horizon

    async def _pump(self, queue):
        if self.version in ("", "0") or self.initial:
            at = self.delivered = self.kube.world.versions.value
            for _, known in sorted(self.store.objects.items()):
                if self._selects(known):
                    await self._frame("ADDED", known)
            if self.initial:
                await self._bookmark(at, {"k8s.io/initial-events-end": "true"})
        deadline = time.monotonic() + self.timeout
        bookmark = time.monotonic() + self.kube.world.bookmark_seconds
        while True:
            if self.ending is not None:
                return await self._end()
            if fault_kinds.gone(self.request):
                raise ConnectionResetError
            now = time.monotonic()
            if now >= deadline:
                if self.bookmarks:  # who resumes from it must get what is still queued
                    await self._bookmark(self.kube.world.versions.value if queue.empty() else self.delivered)
                return await self._finish()
            if self._faulted("silent_watch"):
                await self._be_silent()
            if self.bookmarks and now >= bookmark:
                bookmark = now + self.kube.world.bookmark_seconds
                if queue.empty():
                    await self._bookmark(self.kube.world.versions.value)
            try:
                event = await asyncio.wait_for(queue.get(), max(0.0, min(0.05, deadline - now)))
            except asyncio.TimeoutError:
                continue
            await self._slow_down(event)
            if self._faulted("silent_watch"):
                await self._be_silent()
            await self._event(event)

    def _faulted(self, kind):
        return any(f.kind == kind and f.target == "kube" and f.alive() and f.applies(self.facts)
                   for f in self.kube.faults.all)

    async def _be_silent(self):
        """Like a peer that has vanished without a word: this connection never says anything again."""
        while self.ending is None:
            if fault_kinds.gone(self.request):
                raise ConnectionResetError
            await asyncio.sleep(0.1)

    async def _slow_down(self, event):
        for fault in self.kube.faults.all:
            if fault.kind == "slow_watch" and fault.applies(self.facts):
                due = event[3] + fault.arguments["seconds"]
                while fault.alive() and time.monotonic() < due and self.ending is None:
                    await asyncio.sleep(min(0.05, max(0.0, due - time.monotonic())))

    def _selects(self, known):
        return (known is not None and self.namespace in ("", known.body["metadata"]["namespace"])
                and _matches(known.body, self.selector, self.fields))

    async def _event(self, event):
        version, old, new, _ = event
        was, is_now = self._selects(old), self._selects(new)
        if is_now:
            await self._frame("MODIFIED" if was else "ADDED", new)
        elif was:  # gone, or no longer selected: the last selected state
            await self._frame("DELETED", old.at_version(version))
        self.delivered = version

    async def _frame(self, kind, known):
        body = known.partial if self.partial else known.encoded
        await self._write(b'{"type":"' + kind.encode() + b'","object":' + body + b"}\n")

    async def _bookmark(self, version, annotations=None):
        metadata = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        body = {"kind": self.store.kind, "apiVersion": "v1", "metadata": metadata}
        if self.store.kind == "Pod":
            body.update(spec={"containers": None}, status={})
        await self._frame("BOOKMARK", Versioned(body))

    async def _error(self, status):
        await self._write(json.dumps({"type": "ERROR", "object": status.body}).encode() + b"\n")

    async def _write(self, data):
        step = self.kube.world.watch_split_bytes or len(data)
        for start in range(0, len(data), step):
            await self.stream.write(data[start:start + step])

    async def _finish(self):
        await self.stream.write_eof()
        return self.stream

    async def _end(self):
        """Ends as the control endpoint asked: {"how": close, reset, gone, status, raw}."""
        how = self.ending.get("how", "close")
        if how == "gone":
            await self._error(expired("The resourceVersion for the provided watch is too old."))
        elif how == "status":
            await self._error(Status(self.ending.get("code", 500), "InternalError", "an error on the server"))
        elif how == "raw":
            await self.stream.write(self.ending["text"].encode())
        elif how == "reset":
            fault_kinds.abort(self.request.transport)
            raise ConnectionResetError
        return await self._finish()


# Helpers of no particular resource

def _method_not_allowed():
    return Status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def _cannot_unmarshal():
    return Status(400, "BadRequest", "TokenRequest in version \"v1\" cannot be handled as a TokenRequest: json: cannot "
                                     "unmarshal")


def _forbidden(user, verb, resource, why=""):
    return Status(403, "Forbidden", f'{resource} is forbidden: User "{user.name}" cannot {verb} resource "{resource}" '
                                    f'in API group "" at the cluster scope{why}', {"kind": resource})


def _invalid_options(message):
    return Status(422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {message}',
                  {"group": "meta.k8s.io", "kind": "ListOptions"})


def _json(body):
    return web.Response(body=body, headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"})


async def _json_body(request):
    if request.headers.get("Content-Type", "").split(";")[0].strip() != "application/json":
        raise Status(415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media "
                                                  "types include: application/json")
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise Status(400, "BadRequest", f"the object provided is unrecognized: {error}") from None
    if not isinstance(body, dict):
        raise Status(400, "BadRequest", "the object provided is unrecognized")
    return body


def _number(query, name, default):
    try:
        return int(query.get(name, default))
    except ValueError:
        raise Status(400, "BadRequest", f"{name}: strconv.ParseInt: invalid syntax") from None


def _selector(text, fields):
    """[(field, operator, value), ...] of a field selector."""
    terms = []
    for term in filter(None, text.split(",")):
        match = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", term)
        if match is None:
            raise Status(400, "BadRequest", f"invalid selector: '{text}'; can't understand '{term}'")
        if match[1] not in fields:
            raise Status(400, "BadRequest", f"field label not supported: {match[1]}")
        terms.append((match[1], "!=" if match[2] == "!=" else "=", match[3]))
    return terms


def _matches(body, selector, fields):
    return all((fields[name](body) == value) == (operator == "=") for name, operator, value in selector)
