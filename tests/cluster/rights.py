"""What the daemon asks of the API server for each token source, and what it must not be allowed to ask."""

import objects

STS = ["sts.amazonaws.com"]
READ = ("get", "list", "watch")


def url(verb, collection, name, selector=""):
    """As the daemon asks."""
    if verb == "get":
        return f"{collection[0]}/{name}"
    query = f"fieldSelector={selector}&" if selector else ""
    return f"{collection[1]}?{query}" + ("watch=1&resourceVersion=0&timeoutSeconds=5" if verb == "watch" else "limit=1")


def needed(world, source):
    """(what, an Api, method, path, body) of each request that must be allowed."""
    if source in ("impersonate", "auto"):
        world.replace_daemon()
    pods = "/api/v1/namespaces/enabled/pods", "/api/v1/pods"
    accounts = "/api/v1/namespaces/enabled/serviceaccounts", "/api/v1/serviceaccounts"
    as_node = world.daemon.impersonating("system:node:here")
    for verb in READ:
        yield f"{verb} service accounts", world.daemon, "GET", url(verb, accounts, "app"), None
    who = as_node if source == "impersonate" else world.daemon
    for verb in READ:
        yield f"{verb} pods of the node", who, "GET", url(verb, pods, "own", "spec.nodeName=here"), None
    request = objects.token_path("enabled", "app"), objects.token_request(STS, 3600, world.own)
    if source in ("request", "auto"):
        yield "request a token", world.daemon, "POST", *request
    if source in ("impersonate", "auto"):
        yield "request a token as the node", as_node, "POST", *request


def forbidden(world, source):
    """The same of requests that must be refused."""
    namespace = "/api/v1/namespaces/enabled"
    daemon, as_node = world.daemon, world.daemon.impersonating("system:node:here")
    body = objects.pod_body("intruder", "app", "here")
    yield "read secrets", daemon, "GET", "/api/v1/secrets", None
    yield "read config maps", daemon, "GET", f"{namespace}/configmaps", None
    yield "read nodes", daemon, "GET", "/api/v1/nodes/here", None
    yield "create pods", daemon, "POST", f"{namespace}/pods", body
    yield "delete pods", daemon, "DELETE", f"{namespace}/pods/own?dryRun=All", None
    yield "change pods", daemon, "PATCH", f"{namespace}/pods/own?dryRun=All", {}
    yield "change service accounts", daemon, "PATCH", f"{namespace}/serviceaccounts/app?dryRun=All", {}
    yield "reach kubelets", daemon, "GET", "/api/v1/nodes/here/proxy/pods", None
    yield "review tokens", daemon, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}}
    yield "act as an administrator", daemon.impersonating("admin"), "GET", "/api/v1/pods", None
    yield "act as another node", daemon.impersonating("system:node:there"), "GET", "/api/v1/pods", None
    yield "act as a node without being bound to it", world.unbound_daemon.impersonating("system:node:here"), "GET", \
        "/api/v1/pods?fieldSelector=spec.nodeName=here", None
    yield "read secrets as the node", as_node, "GET", f"{namespace}/secrets", None
    yield "change the node as the node", as_node, "PATCH", "/api/v1/nodes/here?dryRun=All", {}
    yield "delete pods as the node", as_node, "DELETE", f"{namespace}/pods/own?dryRun=All", None
    yield "list pods of other nodes as the node", as_node, "GET", "/api/v1/pods?fieldSelector=spec.nodeName=there", None
    yield "request a token of another node's pod as the node", as_node, "POST", objects.token_path("enabled", "app"), \
        objects.token_request(STS, 3600, world.foreign)
    yield "request a token for another audience as the node", as_node, "POST", objects.token_path("enabled", "app"), \
        objects.token_request(["vault"], 3600, world.own)
    if source == "impersonate":
        yield "list pods", daemon, "GET", "/api/v1/pods", None
    if source not in ("impersonate", "auto"):
        yield "list pods as the node", as_node, "GET", "/api/v1/pods?fieldSelector=spec.nodeName=here", None
    if source not in ("request", "auto"):
        yield "request a token", daemon, "POST", objects.token_path("enabled", "app"), \
            objects.token_request(STS, 3600, world.own)
