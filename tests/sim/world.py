"""What the simulators share: settings, Kubernetes objects with their history, token-signing keys, IAM roles, and
what STS has issued. No networking here."""

import asyncio
import base64
import collections
import copy
import datetime
import itertools
import json
import secrets
import time
import uuid

import jwt

from pki import SigningKey

DEFAULTS = {
    "node_name": "node-1",
    "issuer": "https://oidc.credlet.test/cluster-1",
    "api_audiences": ["https://kubernetes.default.svc"],
    "account": "123456789012",
    "region": "eu-west-1",
    "client_ids": ["sts.amazonaws.com"],  # of the OIDC provider in the account
    "daemon_namespace": "credlet",
    "daemon_account": "credlet",
    "daemon_token_lifetime": 3600,
    "realistic_pods": True,  # about 10 KB each, as on a real cluster
    "kube_latency_ms": 0,
    "sts_latency_ms": 0,
    "clock_offset": 0,  # seconds by which the clocks of the API and of STS are ahead of this machine's
    "bookmark_seconds": 60.0,
    "watch_timeout_seconds": 1800.0,  # when the caller names none
    "watch_split_bytes": 0,  # cut watch frames into chunks of so many bytes
    "watch_list": False,  # sendInitialEvents understood
    "continue_seconds": 300.0,
    "gone_mode": "event",  # how a watch from too old a resourceVersion fails: event or http
    "max_token_expiration": 0,  # --service-account-max-token-expiration
    "constrained_impersonation": False,  # Kubernetes 1.36 and later
    "node_audiences": None,  # audiences nodes may request; None: any
    "admission_policy": False,  # TokenRequests of the daemon confined to its node's pods and to admission_audiences
    "admission_audiences": ["sts.amazonaws.com"],
    "public_discovery": False,  # JWKS and discovery without authentication
    "provider": None,  # {"url", "ca_file"}: STS fetches the issuer's keys there; None: ours are the issuer's
    "registered": True,  # the account has an OIDC provider for the issuer
    "eks_clusters": {},  # their issuers by their names, for DescribeCluster
    "jwks_uri": None,  # what the discovery document says, if not the issuer's own
    "token_key": "current",
    "denied": [],  # [{"verb": "list", "resource": "pods"}, ...]: RBAC without that rule
}


class Problem(Exception):
    """A control request that cannot be done."""


def timestamp(seconds=None):
    seconds = time.time() if seconds is None else seconds
    return datetime.datetime.utcfromtimestamp(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """Objects of one kind by (namespace, name), with the events that led here. Resource versions come from a
    counter shared by all kinds, as in etcd."""

    def __init__(self, kind, counter, keep=20000):
        self.kind, self.counter = kind, counter
        self.objects = {}
        self.events = collections.deque()  # (rv, old, new, monotonic time); new None: deleted
        self.keep = keep
        self.horizon = 0  # events up to this one are compacted away
        self.listeners = set()

    def apply(self, key, new, silent=False):
        """Puts (or, with None, deletes) an object. silent: no watcher ever hears of it."""
        old = self.objects.get(key)
        version = next(self.counter)
        if new is not None:
            new["metadata"]["resourceVersion"] = str(version)
            self.objects[key] = Versioned(new)
        else:
            self.objects.pop(key, None)
        if not silent:
            event = (version, old, self.objects.get(key), time.monotonic())
            self.events.append(event)
            if len(self.events) > self.keep:
                self.horizon = self.events.popleft()[0]
            for queue in self.listeners:
                queue.put_nowait(event)
        return version

    def compact(self, version):
        self.horizon = max(self.horizon, version)
        while self.events and self.events[0][0] <= self.horizon:
            self.events.popleft()

    def subscribe(self, after):
        """A queue of all events after a resource version."""
        queue = asyncio.Queue()
        for event in self.events:
            if event[0] > after:
                queue.put_nowait(event)
        self.listeners.add(queue)
        return queue


class Versioned:
    """One version of an object: never changed, encoded once."""

    def __init__(self, body):
        self.body = body
        self._encoded = None
        self._partial = None

    @property
    def encoded(self):
        if self._encoded is None:
            self._encoded = json.dumps(self.body, separators=(",", ":")).encode()
        return self._encoded

    @property
    def partial(self):
        if self._partial is None:
            body = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": self.body["metadata"]}
            self._partial = json.dumps(body, separators=(",", ":")).encode()
        return self._partial

    def at_version(self, version):
        body = {**self.body, "metadata": {**self.body["metadata"], "resourceVersion": str(version)}}
        return Versioned(body)


class Counter:
    def __init__(self, start=1000):
        self.value = start

    def __next__(self):
        self.value += 1
        return self.value


class World:
    def __init__(self, settings=None):
        self.settings = dict(DEFAULTS)
        self.configure(settings or {})
        self.versions = Counter()
        self.pods = Store("Pod", self.versions)
        self.accounts = Store("ServiceAccount", self.versions)
        self.node_uids = collections.defaultdict(lambda: str(uuid.uuid4()))
        self.keys = {"current": SigningKey("RS256")}
        self.published = [self.keys["current"]]
        self.foreign_key = None
        self.roles = {}
        self.issued = {}  # by access key id
        self.users = {}  # people's own access keys, of the same form
        self.role_ids = collections.defaultdict(lambda: "AROA" + random_id(17))
        self.addresses = itertools.count(10)

    def configure(self, changes):
        unknown = set(changes) - set(DEFAULTS)
        if unknown:
            raise Problem(f"no such setting: {', '.join(sorted(unknown))}")
        self.settings.update(changes)

    def __getattr__(self, name):  # settings read as attributes
        try:
            return self.__dict__["settings"][name]
        except KeyError:
            raise AttributeError(name) from None

    def now(self):
        """The time by the clock that the API and STS share."""
        return time.time() + self.clock_offset

    # Service accounts

    def put_account(self, namespace, name, annotations=None, uid=None):
        known = self.accounts.objects.get((namespace, name))
        metadata = copy.deepcopy(known.body["metadata"]) if known else {
            "name": name, "namespace": namespace, "uid": uid or str(uuid.uuid4()), "creationTimestamp": timestamp()}
        if annotations is not None:
            metadata["annotations"] = {k: v for k, v in annotations.items() if v is not None}
        body = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": metadata}
        self.accounts.apply((namespace, name), body)
        return body

    def delete_account(self, namespace, name, silent=False):
        if (namespace, name) not in self.accounts.objects:
            raise Problem(f"no service account {namespace}/{name}")
        self.accounts.apply((namespace, name), None, silent)

    # Pods

    def create_pod(self, namespace, name, service_account="default", node=None, ips=None, ip=None, host_network=False,
                   phase="Running", uid=None, annotations=None, realistic=None, mirror=False, silent=False, **unknown):
        if unknown:
            raise Problem(f"no such pod field: {', '.join(sorted(unknown))}")
        if (namespace, name) in self.pods.objects:
            raise Problem(f"pod {namespace}/{name} exists")
        if (namespace, service_account) not in self.accounts.objects:
            self.put_account(namespace, service_account)
        uid = uid or str(uuid.uuid4())
        node = self.node_name if node is None else node
        annotations = dict(annotations or {})
        if mirror:
            annotations["kubernetes.io/config.mirror"] = secrets.token_hex(16)
            annotations["kubernetes.io/config.source"] = "file"
        if ips is None:
            ips = [ip] if ip else ([] if ip == "" or phase == "Pending" else [f"127.0.1.{next(self.addresses)}"])
        spec = {"serviceAccountName": service_account, "serviceAccount": service_account, "nodeName": node,
                "restartPolicy": "Always", "schedulerName": "default-scheduler",
                "containers": [{"name": "app", "image": "registry.example/app:1"}]}
        if not node:
            del spec["nodeName"]
        if host_network:
            spec["hostNetwork"] = True
        body = {"kind": "Pod", "apiVersion": "v1",
                "metadata": {"name": name, "namespace": namespace, "uid": uid, "creationTimestamp": timestamp(),
                             "labels": {"app": service_account}, "annotations": annotations},
                "spec": spec, "status": {"phase": phase, "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}],
                                         "qosClass": "Burstable", "startTime": timestamp()}}
        set_addresses(body, ips)
        if self.realistic_pods if realistic is None else realistic:
            pad(body)
        self.pods.apply((namespace, name), body, silent)
        return body

    def patch_pod(self, namespace, name, changes, silent=False):
        known = self.pods.objects.get((namespace, name))
        if known is None:
            raise Problem(f"no pod {namespace}/{name}")
        body = copy.deepcopy(known.body)
        for field, value in changes.items():
            if field == "ips":
                set_addresses(body, value)
            elif field == "ip":
                set_addresses(body, [value] if value else [])
            elif field == "phase":
                body["status"]["phase"] = value
            elif field == "terminating":  # seconds of grace
                stamp = timestamp(self.now() + value)
                body["metadata"].update(deletionTimestamp=stamp, deletionGracePeriodSeconds=value)
            elif field == "annotations":
                body["metadata"]["annotations"] = value
            elif field == "node":
                body["spec"]["nodeName"] = value
            else:
                raise Problem(f"cannot patch {field}")
        self.pods.apply((namespace, name), body, silent)
        return body

    def delete_pod(self, namespace, name, silent=False):
        if (namespace, name) not in self.pods.objects:
            raise Problem(f"no pod {namespace}/{name}")
        self.pods.apply((namespace, name), None, silent)

    def pod_by_uid(self, uid):
        return next((v.body for v in self.pods.objects.values() if v.body["metadata"]["uid"] == uid), None)

    # Roles

    def put_role(self, name=None, arn=None, trust=None, max_session_duration=3600, subjects=None, audience=None,
                 trusted_roles=None, external_id=None):
        """A role by its trust policy, or by what a usual one would name: subjects (StringLike), or the roles that
        may assume it."""
        arn = arn or f"arn:aws:iam::{self.account}:role/{name}"
        provider = self.issuer.split("://", 1)[1]
        if trust is None:
            statements = []
            if subjects is not None or trusted_roles is None:
                condition = {"StringEquals": {f"{provider}:aud": audience or "sts.amazonaws.com"},
                             "StringLike": {f"{provider}:sub": subjects or "system:serviceaccount:*:*"}}
                statements.append({"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
                                   "Principal": {"Federated": self.provider_arn(arn.split(":")[4])},
                                   "Condition": condition})
            if trusted_roles is not None:
                statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": trusted_roles}}
                if external_id is not None:
                    statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
                statements.append(statement)
            trust = {"Version": "2012-10-17", "Statement": statements}
        role = {"arn": arn, "name": arn.rsplit("/", 1)[1], "trust": trust,
                "max_session_duration": max_session_duration}
        self.roles[arn] = role
        return role

    def provider_arn(self, account=None):
        return f"arn:aws:iam::{account or self.account}:oidc-provider/{self.issuer.split('://', 1)[1]}"

    # Tokens

    def claims(self, namespace, account, pod=None, audiences=None, lifetime=3600, now=None):
        now = int(self.now() if now is None else now)
        known = self.accounts.objects.get((namespace, account))
        binding = {"namespace": namespace}
        if pod is not None:
            node = pod["spec"].get("nodeName")
            if node:
                binding["node"] = {"name": node, "uid": self.node_uids[node]}
            binding["pod"] = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        uid = known.body["metadata"]["uid"] if known else str(uuid.uuid4())
        binding["serviceaccount"] = {"name": account, "uid": uid}
        return {"aud": audiences or list(self.api_audiences), "exp": now + lifetime, "iat": now, "iss": self.issuer,
                "jti": str(uuid.uuid4()), "kubernetes.io": binding, "nbf": now,
                "sub": f"system:serviceaccount:{namespace}:{account}"}

    def sign(self, claims, **kwargs):
        return self.keys[self.token_key].token(claims, **kwargs)

    def decode(self, token, key, audiences):
        """The claims of a token that holds now, by our own clock; raises jwt.PyJWTError."""
        claims = jwt.decode(token, key.public, algorithms=[key.algorithm], audience=audiences, issuer=self.issuer,
                            options={"require": ["exp", "iat", "iss", "aud", "sub"], "verify_exp": False,
                                     "verify_nbf": False, "verify_iat": False})
        times = {name: claims[name] for name in ("exp", "iat", "nbf") if name in claims}
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in times.values()):
            raise jwt.DecodeError("exp, iat and nbf are integers")
        now = self.now()
        if times["exp"] <= now:
            raise jwt.ExpiredSignatureError("the token has expired")
        if max(times["iat"], times.get("nbf", 0)) > now:
            raise jwt.ImmatureSignatureError("the token is not yet valid")
        return claims

    def jwks(self):
        return {"keys": [key.jwk() for key in self.published]}

    def rotate_keys(self, algorithm="RS256", overlap=True, publish=True):
        """A new signing key; without overlap, tokens of the old one stop being valid. publish False: in use, but not
        in the key set yet."""
        old = self.keys["current"]
        self.keys = {"current": SigningKey(algorithm), "previous": old}
        self.published = ([old] if overlap else []) + ([self.keys["current"]] if publish else [])
        return self.keys["current"].kid

    def publish_keys(self):
        self.published = [key for key in self.keys.values()]

    def mint(self, pod=None, namespace=None, service_account=None, audiences=None, expires_in=3600, issued_in=0,
             claims=None, header=None, omit=(), algorithm=None, key="current", tamper=None):
        """Any token: a genuine one for a pod, or a forged one."""
        if pod is not None:
            namespace, name = pod.split("/", 1)
            known = self.pods.objects.get((namespace, name))
            if known is None:
                raise Problem(f"no pod {pod}")
            pod_body = known.body
            service_account = service_account or pod_body["spec"]["serviceAccountName"]
        else:
            pod_body = None
        payload = self.claims(namespace or "default", service_account or "default", pod_body,
                              audiences or ["sts.amazonaws.com"], expires_in - issued_in, self.now() + issued_in)
        merge(payload, claims or {})
        if key == "foreign":
            self.foreign_key = self.foreign_key or SigningKey("RS256")
            signer = self.foreign_key
        elif key in self.keys:
            signer = self.keys[key]
        else:
            raise Problem(f"no key {key}")
        if key == "foreign":  # passes itself off as the real one
            header = {"kid": self.keys["current"].kid, **(header or {})}
        token = signer.token(payload, algorithm=algorithm, header=header, omit=omit)
        if tamper == "signature":
            head, signature = token.rsplit(".", 1)
            token = f"{head}.{('B' if signature[0] != 'B' else 'C') + signature[1:]}"
        elif tamper == "payload":
            head, body, signature = token.split(".")
            changed = {**payload, "sub": "system:serviceaccount:kube-system:admin"}
            body = base64.urlsafe_b64encode(json.dumps(changed).encode()).rstrip(b"=").decode()
            token = f"{head}.{body}.{signature}"
        return token, payload


def merge(target, changes):
    """RFC 7386: null removes."""
    for name, value in changes.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict) and isinstance(target.get(name), dict):
            merge(target[name], value)
        else:
            target[name] = value


def set_addresses(body, ips):
    status = body["status"]
    status.pop("podIP", None)
    status.pop("podIPs", None)
    if ips:
        status["podIP"] = ips[0]
        status["podIPs"] = [{"ip": ip} for ip in ips]


def random_id(length):
    return "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(length))


def pad(body):
    """Fills a pod to about 10 KB with what real ones carry: environment, volumes, conditions, managed fields."""
    uid = body["metadata"]["uid"]
    container = body["spec"]["containers"][0]
    container["env"] = [{"name": f"SETTING_{i}", "value": f"value-{i}-{uid}"} for i in range(30)]
    container["env"].append({"name": "JSON", "value": '{"podIP":"203.0.113.9","uid":"not this one","a":["]",{}]}'})
    container["resources"] = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "64Mi"}}
    container["volumeMounts"] = [{"name": "kube-api-access", "readOnly": True,
                                  "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]
    body["spec"]["volumes"] = [{"name": "kube-api-access", "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}]
    body["spec"]["tolerations"] = [{"key": f"node.kubernetes.io/{k}", "operator": "Exists", "effect": "NoExecute",
                                    "tolerationSeconds": 300} for k in ("not-ready", "unreachable")]
    conditions = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    body["status"]["conditions"] = [{"type": t, "status": "True", "lastProbeTime": None,
                                     "lastTransitionTime": timestamp()} for t in conditions]
    body["status"]["containerStatuses"] = [{
        "name": "app", "ready": True, "restartCount": 0, "image": container["image"], "started": True,
        "imageID": f"registry.example/app@sha256:{'0' * 64}", "containerID": f"cri-o://{'1' * 64}",
        "state": {"running": {"startedAt": timestamp()}}, "lastState": {}}]
    fields = {f'k:{{"name":"SETTING_{i}"}}': {".": {}, "f:name": {}, "f:value": {}} for i in range(30)}
    body["metadata"]["managedFields"] = [{
        "manager": manager, "operation": "Update", "apiVersion": "v1", "time": timestamp(), "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                     "f:spec": {"f:containers": {'k:{"name":"app"}': {".": {}, "f:env": fields}}},
                     "f:status": {"f:podIP": {}, "f:podIPs": {'k:{"ip":"203.0.113.7"}': {".": {}, "f:ip": {}}}}}}
        for manager in ("kube-controller-manager", "kubelet")]
