"""Pods as they are created, and as the chart's policy should make them. Nothing is stored: dry runs."""

import copy

import clusters
import objects

URI = "http://169.254.170.23/v1/credentials"
ENV = [{"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": URI},
       {"name": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "value": "/var/run/secrets/credlet/token"}]
NO_METADATA = [{"name": "AWS_EC2_METADATA_DISABLED", "value": "true"}]
REGION = [{"name": "AWS_REGION", "value": clusters.REGION}]
MOUNT = {"name": "credlet-token", "mountPath": "/var/run/secrets/credlet", "readOnly": True}
VOLUME = {"name": "credlet-token", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {
    "audience": "sts.amazonaws.com", "expirationSeconds": 3600, "path": "token"}}]}}
INJECT = {"credlet.io/inject": "true"}
SIDECAR = {"add-sidecar": "true"}  # of a webhook


def container(name, **fields):
    return {"name": name, "image": objects.IMAGE, **fields}


def spec(containers=None, init=None, volumes=None, **fields):
    made = {"containers": containers or [container("app")], "automountServiceAccountToken": False, **fields}
    if init:
        made["initContainers"] = init
    if volumes:
        made["volumes"] = volumes
    return made


def injected(one, env=ENV + NO_METADATA + REGION):
    """A container as it should be."""
    made = copy.deepcopy(one)
    made["env"] = made.get("env", []) + env
    made["volumeMounts"] = made.get("volumeMounts", []) + [MOUNT]
    return made


OWN_ENV = [{"name": "MINE", "value": "1"}, {"name": "REGION", "value": "x"}]
RELATIVE = [{"name": "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "value": "/mine"}]
OWN_METADATA = [{"name": "AWS_EC2_METADATA_SERVICE_ENDPOINT", "value": "http://169.254.170.23"}]
OWN_REGION = [{"name": "AWS_REGION", "value": "mine"}]
OWN_DEFAULT_REGION = [{"name": "AWS_DEFAULT_REGION", "value": "mine"}]
FROM_SECRET = [{"name": "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}}]
SCRATCH = {"name": "scratch", "emptyDir": {}}
AT_SCRATCH = [{"name": "scratch", "mountPath": "/scratch"}]
AT_OUR_PATH = [{"name": "scratch", "mountPath": "/var/run/secrets/credlet"}]
OWN_TOKEN = {"name": "credlet-token", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {
    "audience": "sts.amazonaws.com", "expirationSeconds": 7200, "path": "token"}}]}}
ADDED = container("added")  # by the webhook
HELPER = container("helper", restartPolicy="Always")  # a sidecar

# name: (namespace, labels, spec as created, spec as wanted; None: as created)
CASES = {
    "a pod that asks": ("plain", INJECT, spec(), spec([injected(container("app"))], volumes=[VOLUME])),
    "all its containers": (
        "plain", INJECT,
        spec([container("app", env=OWN_ENV), container("other", volumeMounts=AT_SCRATCH)],
             [container("first"), HELPER], [SCRATCH]),
        spec([injected(container("app", env=OWN_ENV)), injected(container("other", volumeMounts=AT_SCRATCH))],
             [injected(container("first")), injected(HELPER)], [SCRATCH, VOLUME])),
    "a pod that does not ask": ("plain", {}, spec(), None),
    "a pod that says no": ("plain", {"credlet.io/inject": "false"}, spec(), None),
    "a namespace that asks": ("asking", {}, spec(), spec([injected(container("app"))], volumes=[VOLUME])),
    "both ask": ("asking", INJECT, spec(), spec([injected(container("app"))], volumes=[VOLUME])),
    "a pod that says no there": ("asking", {"credlet.io/inject": "false"}, spec(), None),
    "a host-network pod": ("plain", INJECT, spec(hostNetwork=True), None),
    "a Windows pod": ("plain", INJECT, spec(os={"name": "windows"}), None),
    "a Linux pod by name": ("plain", INJECT, spec(os={"name": "linux"}),
                            spec([injected(container("app"))], volumes=[VOLUME], os={"name": "linux"})),
    "a container with a variable of its own": (
        "plain", INJECT, spec([container("app", env=RELATIVE), container("other")]),
        spec([container("app", env=RELATIVE), injected(container("other"))], volumes=[VOLUME])),
    "an init container with a variable of its own": (
        "plain", INJECT, spec(init=[container("first", env=FROM_SECRET), container("second")]),
        spec([injected(container("app"))], [container("first", env=FROM_SECRET), injected(container("second"))],
             [VOLUME])),
    "containers that have said which metadata service to ask": (
        "plain", INJECT, spec([container("app", env=OWN_METADATA)], [container("first", env=OWN_METADATA)]),
        spec([injected(container("app", env=OWN_METADATA), ENV + REGION)],
             [injected(container("first", env=OWN_METADATA), ENV + REGION)], [VOLUME])),
    "containers with a region of their own": (
        "plain", INJECT,
        spec([container("app", env=OWN_REGION), container("other", env=OWN_DEFAULT_REGION)],
             [container("first", env=OWN_REGION), container("second", env=OWN_DEFAULT_REGION)]),
        spec([injected(container("app", env=OWN_REGION), ENV + NO_METADATA),
              injected(container("other", env=OWN_DEFAULT_REGION), ENV + NO_METADATA)],
             [injected(container("first", env=OWN_REGION), ENV + NO_METADATA),
              injected(container("second", env=OWN_DEFAULT_REGION), ENV + NO_METADATA)], [VOLUME])),
    "a container with a volume at the same path": (
        "plain", INJECT, spec([container("app", volumeMounts=AT_OUR_PATH), container("other")], volumes=[SCRATCH]),
        spec([container("app", volumeMounts=AT_OUR_PATH), injected(container("other"))], volumes=[SCRATCH, VOLUME])),
    "an init container with a volume at the same path": (
        "plain", INJECT, spec(init=[container("first", volumeMounts=AT_OUR_PATH)], volumes=[SCRATCH]),
        spec([injected(container("app"))], [container("first", volumeMounts=AT_OUR_PATH)], [SCRATCH, VOLUME])),
    "a pod whose containers all have variables of their own": (
        "plain", INJECT, spec([container("app", env=RELATIVE)]), None),
    "a pod whose init container alone has not": (
        "plain", INJECT, spec([container("app", env=RELATIVE)], [container("first")]),
        spec([container("app", env=RELATIVE)], [injected(container("first"))], [VOLUME])),
    "a pod with a token volume of its own": (
        "plain", INJECT, spec(volumes=[OWN_TOKEN]), spec([injected(container("app"))], volumes=[OWN_TOKEN])),
    "a container that is added later": (
        "plain", {**INJECT, **SIDECAR}, spec(),
        spec([injected(container("app")), injected(ADDED)], volumes=[VOLUME])),
}


def make_namespaces(admin):
    objects.namespace(admin, "plain")
    objects.namespace(admin, "asking", {"credlet.io/inject": "true"})
    for name in ("plain", "asking"):
        objects.service_account(admin, name, "default")


def create(admin, name):
    """What the API server would store."""
    namespace, labels, created, _ = CASES[name]
    return admin.ask("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All",
                     {"metadata": {"name": "pod", "labels": labels}, "spec": created})


def outcome(reply):
    """What there is of the fields that the policy may touch, in the order in which they are; or the refusal."""
    if reply.status != 201:
        return reply.status, reply.message
    return touched(reply.json["spec"])


def touched(pod_spec):
    def of(containers):
        return [{field: one[field] for field in ("name", "image", "env", "volumeMounts", "restartPolicy")
                 if one.get(field)} for one in containers]
    return {"containers": of(pod_spec["containers"]), "initContainers": of(pod_spec.get("initContainers", [])),
            "volumes": pod_spec.get("volumes", []), "hostNetwork": pod_spec.get("hostNetwork", False)}


def wanted(name):
    _, _, created, after = CASES[name]
    return touched(after or created)
