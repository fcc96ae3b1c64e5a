"""The Kubernetes API behaves as kube-apiserver does, where credlet looks."""

import base64
import email.utils
import json
import time

import jwt
import pytest

from simulator import wait_until

PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


def get(sim, path, **kwargs):
    status, headers, body = sim.request("kube", "GET", path, **kwargs)
    return status, json.loads(body), headers


def listing(sim, query, resource="pods"):
    status, body, _ = get(sim, f"/api/v1/{resource}?{query}")
    assert status == 200, body
    return body


class Watch:
    """A watch as a client sees it: an iterator over frames."""

    def __init__(self, sim, query, resource="pods", headers=None, timeout=10):
        self.connection = sim.connect("kube", timeout)
        self.connection.request("GET", f"/api/v1/{resource}?watch=1&{query}", headers={
            "Authorization": f"Bearer {sim.daemon_token()}", **(headers or {})})
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()
        assert self.response.headers["Transfer-Encoding"] == "chunked"

    def next(self):
        """The next frame, or None at the end."""
        line = self.response.readline()
        return json.loads(line) if line else None

    def close(self):
        self.connection.sock.close()
        self.connection.close()


@pytest.fixture
def watch(sim):
    opened = []

    def start(*args, **kwargs):
        opened.append(Watch(sim, *args, **kwargs))
        return opened[-1]
    yield start
    for one in opened:
        one.response.close()
        one.connection.close()


# Authentication and authorization

def test_who_has_no_good_token_is_unauthorized(sim):
    sim.workload("auth", "127.0.0.41")
    for token in ("", "nonsense", sim.mint(pod="credlet/credlet", audiences=["sts.amazonaws.com"]),
                  sim.mint(pod="credlet/credlet", audiences=["https://kubernetes.default.svc"], algorithm="none"),
                  sim.mint(pod="credlet/credlet", audiences=["https://kubernetes.default.svc"], key="foreign"),
                  sim.mint(pod="credlet/credlet", audiences=["https://kubernetes.default.svc"], expires_in=-1,
                           issued_in=-100)):
        status, body, _ = get(sim, "/api/v1/pods", token=token or " ")
        assert (status, body["kind"], body["reason"]) == (401, "Status", "Unauthorized")


def test_another_service_account_may_not_read_pods(sim):
    sim.workload("nosy", "127.0.0.42")
    status, body, _ = get(sim, "/api/v1/pods", token=sim.mint(pod="prod/nosy-pod",
                                                              audiences=["https://kubernetes.default.svc"]))
    assert status == 403 and body["reason"] == "Forbidden"
    assert 'User "system:serviceaccount:prod:nosy" cannot list resource "pods"' in body["message"]


def test_rights_can_be_taken_away(sim):
    sim.settings(denied=[{"verb": "watch", "resource": "pods"}])
    assert get(sim, "/api/v1/pods?limit=1")[0] == 200
    assert get(sim, "/api/v1/pods?watch=1")[0] == 403


def test_a_token_dies_with_its_pod(sim, unique):
    sim.pod("credlet", unique, service_account="credlet")
    token = sim.mint(pod=f"credlet/{unique}", audiences=["https://kubernetes.default.svc"])
    assert get(sim, "/api/v1/pods?limit=1", token=token)[0] == 200
    sim.delete_pod("credlet", unique)
    assert get(sim, "/api/v1/pods?limit=1", token=token)[0] == 401


# Lists

def test_pods_are_listed_by_node_and_address(sim, unique):
    sim.pod("lists", f"{unique}-a", ips=["127.0.0.51", "fd00::51"], node="node-9")
    sim.pod("lists", f"{unique}-b", ip="127.0.0.52", node="node-9")
    names = [p["metadata"]["name"] for p in listing(sim, "fieldSelector=spec.nodeName%3Dnode-9")["items"]]
    assert names == [f"{unique}-a", f"{unique}-b"]
    query = "fieldSelector=spec.nodeName%3Dnode-9%2Cstatus.podIP%3D127.0.0.51"
    assert [p["metadata"]["name"] for p in listing(sim, query)["items"]] == [f"{unique}-a"]
    assert listing(sim, "fieldSelector=status.podIP%3Dfd00::51")["items"] == []  # the first address only
    assert get(sim, "/api/v1/pods?fieldSelector=spec.hostIP%3Dx")[0] == 400


def test_a_realistic_pod_is_about_ten_kilobytes(sim, unique):
    sim.pod("lists", unique)
    _, body, _ = get(sim, f"/api/v1/namespaces/lists/pods/{unique}")
    assert 8_000 < len(json.dumps(body)) < 16_000 and body["metadata"]["managedFields"]


def test_one_that_is_not_there_is_404(sim):
    for resource in ("pods", "serviceaccounts"):
        status, body, _ = get(sim, f"/api/v1/namespaces/x/{resource}/nobody")
        assert status == 404 and body["details"] == {"name": "nobody", "kind": resource}
    assert get(sim, "/api/v1/secrets")[0] == 404


def test_lists_come_in_pages_of_one_moment(sim):
    sim.post("/bulk", service_accounts=1, pods=25, namespace="pages", node="node-pages")
    query = "fieldSelector=spec.nodeName%3Dnode-pages&limit=10"
    first = listing(sim, query)
    sim.pod("pages", "late", node="node-pages")
    seen, page = len(first["items"]), first
    while page["metadata"].get("continue"):
        page = listing(sim, f"{query}&continue={page['metadata']['continue']}")
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        seen += len(page["items"])
    assert seen == 25


def test_a_continue_token_may_be_used_again(sim, unique):
    sim.post("/bulk", service_accounts=1, pods=3, namespace=unique, node=unique)
    query = f"fieldSelector=spec.nodeName%3D{unique}&limit=1"
    token = listing(sim, query)["metadata"]["continue"]
    first, again = (listing(sim, f"{query}&continue={token}")["items"] for _ in range(2))
    assert first == again and len(first) == 1


def test_an_old_continue_token_is_gone(sim):
    sim.post("/bulk", service_accounts=1, pods=3, namespace="continue", node="node-continue")
    sim.settings(continue_seconds=0)
    query = "fieldSelector=spec.nodeName%3Dnode-continue&limit=1"
    token = listing(sim, query)["metadata"]["continue"]
    time.sleep(0.01)
    status, body, _ = get(sim, f"/api/v1/pods?{query}&continue={token}")
    assert (status, body["reason"], body["code"]) == (410, "Expired", 410)


def test_a_version_from_the_future_times_out(sim):
    status, body, _ = get(sim, "/api/v1/pods?resourceVersion=99999999")
    assert status == 504 and body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_service_accounts_come_as_metadata_for_who_asks_so(sim):
    sim.service_account("metadata", "sa", role_arn="arn:aws:iam::123456789012:role/x")
    status, body, _ = get(sim, "/api/v1/namespaces/metadata/serviceaccounts/sa", headers={"Accept": PARTIAL})
    assert body["kind"] == "PartialObjectMetadata" and body["metadata"]["annotations"]
    status, body, _ = get(sim, "/api/v1/serviceaccounts", headers={"Accept": PARTIAL_LIST})
    assert status == 200 and body["kind"] == "PartialObjectMetadataList"
    assert {item["kind"] for item in body["items"]} == {"PartialObjectMetadata"}
    _, body, _ = get(sim, "/api/v1/serviceaccounts")
    assert body["kind"] == "ServiceAccountList"


# Watches

def test_a_watch_goes_on_from_a_list(sim, watch, unique):
    selector = f"fieldSelector=spec.nodeName%3D{unique}"
    sim.pod("watch", f"{unique}-before", node=unique)
    version = listing(sim, selector)["metadata"]["resourceVersion"]
    sim.pod("watch", f"{unique}-a", node=unique, phase="Pending")
    events = watch(f"{selector}&resourceVersion={version}")
    sim.patch_pod("watch", f"{unique}-a", ip="127.0.0.61", phase="Running")
    sim.pod("watch", f"{unique}-elsewhere", node="node-other")
    sim.delete_pod("watch", f"{unique}-a")
    frames = [events.next() for _ in range(3)]
    assert [f["type"] for f in frames] == ["ADDED", "MODIFIED", "DELETED"]
    assert "podIP" not in frames[0]["object"]["status"]
    assert frames[2]["object"]["status"]["podIP"] == "127.0.0.61"
    versions = [int(f["object"]["metadata"]["resourceVersion"]) for f in frames]
    assert versions == sorted(versions) and versions[0] > int(version)


def test_an_object_that_leaves_the_selector_is_deleted_with_its_last_state(sim, watch, unique):
    sim.pod("watch", unique, node=unique)
    version = listing(sim, "limit=1")["metadata"]["resourceVersion"]
    events = watch(f"fieldSelector=spec.nodeName%3D{unique}&resourceVersion={version}")
    sim.patch_pod("watch", unique, node="elsewhere")
    frame = events.next()
    assert frame["type"] == "DELETED" and frame["object"]["spec"]["nodeName"] == unique


def test_a_watch_without_a_version_begins_with_what_is_there(sim, watch, unique):
    sim.pod("watch", unique, node=unique)
    assert watch(f"fieldSelector=spec.nodeName%3D{unique}").next()["type"] == "ADDED"


def test_a_watch_ends_at_its_timeout_with_a_bookmark_for_who_wants_one(sim, watch):
    version = listing(sim, "limit=1")["metadata"]["resourceVersion"]
    events = watch(f"resourceVersion={version}&timeoutSeconds=1&allowWatchBookmarks=true")
    frame = events.next()
    assert frame["type"] == "BOOKMARK" and int(frame["object"]["metadata"]["resourceVersion"]) >= int(version)
    assert events.next() is None
    assert watch(f"resourceVersion={version}&timeoutSeconds=1").next() is None


def test_a_watch_that_ends_while_events_are_queued_loses_none(sim, watch, unique):
    selector = f"fieldSelector=spec.nodeName%3D{unique}&allowWatchBookmarks=true"
    version = listing(sim, "limit=1")["metadata"]["resourceVersion"]
    sim.fault("kube", "slow_watch", match={"verb": "watch"}, seconds=1.3)
    events = watch(f"{selector}&resourceVersion={version}&timeoutSeconds=1")
    for name in ("a", "b"):
        sim.pod("watch", f"{unique}-{name}", node=unique)
    frames = []
    while frame := events.next():
        frames.append(frame)
    assert [f["type"] for f in frames] == ["ADDED", "BOOKMARK"]
    sim.clear()
    rest = watch(f"{selector}&resourceVersion={frames[-1]['object']['metadata']['resourceVersion']}")
    assert rest.next()["object"]["metadata"]["name"] == f"{unique}-b"


def test_bookmarks_come_at_their_interval(sim, watch):
    sim.settings(bookmark_seconds=0.1)
    version = listing(sim, "limit=1")["metadata"]["resourceVersion"]
    events = watch(f"resourceVersion={version}&allowWatchBookmarks=true")
    assert [events.next()["type"] for _ in range(2)] == ["BOOKMARK", "BOOKMARK"]


@pytest.mark.parametrize("mode", ["event", "http"])
def test_a_compacted_version_is_gone(sim, unique, mode):
    version = listing(sim, "limit=1")["metadata"]["resourceVersion"]
    sim.pod("watch", unique)
    sim.post("/compact")
    sim.settings(gone_mode=mode)
    status, _, body = sim.request("kube", "GET", f"/api/v1/pods?watch=1&resourceVersion={version}")
    frame = json.loads(body)
    status_object = frame["object"] if mode == "event" else frame
    assert status == (200 if mode == "event" else 410)
    assert status_object["code"] == 410 and status_object["reason"] == "Expired"
    assert listing(sim, "limit=1")


def test_initial_events_are_refused_by_an_older_server_and_sent_by_a_newer_one(sim, watch, unique):
    sim.pod("watch", unique, node=unique)
    query = (f"fieldSelector=spec.nodeName%3D{unique}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
             "&allowWatchBookmarks=true")
    assert get(sim, f"/api/v1/pods?watch=1&{query}")[0] == 422
    sim.settings(watch_list=True)
    events = watch(query)
    assert events.next()["type"] == "ADDED"
    assert events.next()["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_a_closed_watch_is_forgotten(sim):
    before = sim.stats()["kube"]["open_watches"]["serviceaccounts"]
    version = listing(sim, "limit=1")["metadata"]["resourceVersion"]
    events = Watch(sim, f"resourceVersion={version}", "serviceaccounts")
    wait_until(lambda: sim.stats()["kube"]["open_watches"]["serviceaccounts"] == before + 1)
    events.response.close()
    events.close()
    wait_until(lambda: sim.stats()["kube"]["open_watches"]["serviceaccounts"] == before)


# TokenRequest

@pytest.fixture(scope="module")
def bound(sim):
    pod = sim.workload("bound", "127.0.0.71")
    sim.service_account("prod", "unbound")
    return {"kind": "Pod", "apiVersion": "v1", "name": pod["name"], "uid": pod["uid"]}


def request_token(sim, account="bound", reference=None, headers=None, body=None, **spec):
    spec = {"audiences": ["sts.amazonaws.com"], "expirationSeconds": 3600, "boundObjectRef": reference, **spec}
    body = body or {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    status, answer_headers, answer = sim.request(
        "kube", "POST", f"/api/v1/namespaces/prod/serviceaccounts/{account}/token", body, headers)
    return status, json.loads(answer), answer_headers


def claims_of(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def test_a_bound_token_carries_the_real_claims(sim, bound):
    status, answer, _ = request_token(sim, reference=bound)
    assert status == 201 and answer["kind"] == "TokenRequest"
    claims = claims_of(answer["status"]["token"])
    assert claims["aud"] == ["sts.amazonaws.com"] and claims["iss"] == sim.issuer
    assert claims["sub"] == "system:serviceaccount:prod:bound" and claims["exp"] - claims["iat"] == 3600
    assert claims["kubernetes.io"]["pod"] == {"name": bound["name"], "uid": bound["uid"]}
    assert claims["kubernetes.io"]["node"]["name"] == sim.node_name
    assert claims["kubernetes.io"]["serviceaccount"]["uid"] == answer["metadata"]["uid"]
    _, keys, headers = get(sim, "/openid/v1/jwks")
    assert headers["Content-Type"] == "application/jwk-set+json"
    header = jwt.get_unverified_header(answer["status"]["token"])
    key = next(k for k in keys["keys"] if k["kid"] == header["kid"])
    assert jwt.decode(answer["status"]["token"], jwt.PyJWK(key).key, algorithms=["RS256"],
                      audience="sts.amazonaws.com")


@pytest.mark.parametrize("case, code, message", [
    ({"expirationSeconds": 599}, 422, "may not specify a duration less than 10 minutes"),
    ({"expirationSeconds": 2 ** 32 + 1}, 422, "larger than 2^32"),
    ({"expirationSeconds": "3600"}, 400, "cannot unmarshal"),
    ({"audiences": "sts"}, 400, "cannot unmarshal"),
    ({"account": "nobody"}, 404, 'serviceaccounts "nobody" not found'),
    ({"account": "unbound"}, 400, "cannot bind token for serviceaccount"),
    ({"reference": {"name": "nobody"}}, 404, 'pods "nobody" not found'),
    ({"reference": {"uid": "00000000-0000-0000-0000-000000000000"}}, 409, "does not match the UID in record"),
    ({"reference": {"kind": "Deployment"}}, 400, "cannot bind token to object of type"),
    ({"reference": {"apiVersion": ""}}, 400, "cannot bind token to object of type"),
    ({"body": {"kind": "Pod"}}, 400, "must be of type TokenRequest"),
    ({"body": {"metadata": {"name": "other"}}}, 400, "does not match"),
    ({"body": {"metadata": {"uid": "other"}}}, 409, "does not match"),
])
def test_a_request_that_is_not_right_is_refused(sim, bound, case, code, message):
    case = {**case, "reference": {**bound, **case.get("reference", {})}}
    status, answer, _ = request_token(sim, **case)
    assert (status, answer["kind"], answer["code"]) == (code, "Status", code) and message in answer["message"]


@pytest.mark.parametrize("reference, message", [({}, "cannot bind token to object of type"), ("", "cannot unmarshal"),
                                                ("bound-pod", "cannot unmarshal"), ([], "cannot unmarshal")])
def test_a_reference_that_is_none_is_refused(sim, bound, reference, message):
    status, answer, _ = request_token(sim, reference=reference)
    assert status == 400 and message in answer["message"]


def test_a_body_of_another_type_is_refused(sim, bound):
    assert request_token(sim, reference=bound, headers={"Content-Type": "text/plain"})[0] == 415


def test_without_audiences_the_token_is_for_the_api_server(sim, bound):
    _, answer, _ = request_token(sim, reference=bound, audiences=[])
    assert claims_of(answer["status"]["token"])["aud"] == ["https://kubernetes.default.svc"]


def test_the_lifetime_may_be_capped(sim, bound):
    sim.settings(max_token_expiration=900)
    status, answer, headers = request_token(sim, reference=bound)
    claims = claims_of(answer["status"]["token"])
    assert status == 201 and claims["exp"] - claims["iat"] == 900 and headers["Warning"]
    assert answer["spec"]["expirationSeconds"] == 900


def test_the_admission_policy_confines_the_daemon_to_its_node(sim, bound):
    sim.settings(admission_policy=True)
    elsewhere = sim.pod("prod", "bound-elsewhere", service_account="bound", node="node-2")
    assert request_token(sim, reference=bound)[0] == 201
    for case in ({"reference": {**bound, "name": elsewhere["name"], "uid": elsewhere["uid"]}},
                 {"reference": bound, "audiences": ["https://kubernetes.default.svc"]},
                 {"reference": bound, "expirationSeconds": 7200}, {"reference": None}):
        status, answer, _ = request_token(sim, **case)
        assert status == 422 and "denied request" in answer["message"], case


# Impersonation

NODE = {"Impersonate-User": "system:node:node-1"}


def test_impersonation_is_refused_by_an_older_server(sim, bound):
    status, answer, _ = request_token(sim, reference=bound, headers=NODE)
    assert status == 403 and "cannot impersonate" in answer["message"]


def test_the_daemon_may_be_its_own_node_and_no_other(sim, bound):
    sim.settings(constrained_impersonation=True)
    elsewhere = sim.pod("prod", "bound-far", service_account="bound", node="node-2")
    far = {**bound, "name": elsewhere["name"], "uid": elsewhere["uid"]}
    assert request_token(sim, reference=bound, headers=NODE)[0] == 201
    assert request_token(sim, reference=bound, headers={"Impersonate-User": "system:node:node-2"})[0] == 403
    assert request_token(sim, reference=bound, headers={**NODE, "Impersonate-Group": "system:masters"})[0] == 403
    status, answer, _ = request_token(sim, reference=far, headers=NODE)
    assert status == 403 and "different node" in answer["message"]
    assert request_token(sim, reference={**bound, "uid": ""}, headers=NODE)[0] == 403
    assert request_token(sim, reference=None, headers=NODE)[0] == 403
    assert get(sim, "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1", headers=NODE)[0] == 200
    assert get(sim, "/api/v1/pods", headers=NODE)[0] == 403
    assert get(sim, "/api/v1/serviceaccounts", headers=NODE)[0] == 403
    assert get(sim, "/api/v1/namespaces/prod/serviceaccounts/bound", headers=NODE)[0] == 200
    assert get(sim, "/api/v1/namespaces/prod/serviceaccounts/unbound", headers=NODE)[0] == 403


@pytest.mark.parametrize("verb, resource", [("impersonate:associated-node", "nodes"),
                                            ("impersonate-on:associated-node:create", "serviceaccounts/token")])
def test_impersonation_takes_a_right_of_its_own_for_each_verb(sim, bound, verb, resource):
    sim.settings(constrained_impersonation=True, denied=[{"verb": verb, "resource": resource}])
    status, answer, _ = request_token(sim, reference=bound, headers=NODE)
    assert status == 403 and "system:serviceaccount:credlet:credlet" in answer["message"]
    assert request_token(sim, reference=bound)[0] == 201  # what it may do itself is another matter
    read = get(sim, "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1", headers=NODE)[0]
    assert read == (403 if resource == "nodes" else 200)


# TokenReview, discovery

def review(sim, token, **spec):
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, **spec}}
    return json.loads(sim.request("kube", "POST", "/apis/authentication.k8s.io/v1/tokenreviews", body)[2])["status"]


def test_tokens_are_reviewed(sim, bound):
    token = sim.mint(pod="prod/bound-pod")
    status = review(sim, token, audiences=["sts.amazonaws.com"])
    assert status["authenticated"] and status["audiences"] == ["sts.amazonaws.com"]
    assert status["user"]["username"] == "system:serviceaccount:prod:bound"
    assert status["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["bound-pod"]
    assert not review(sim, token).get("authenticated")
    assert not review(sim, sim.mint(pod="prod/bound-pod", key="foreign"),
                      audiences=["sts.amazonaws.com"]).get("authenticated")


def test_a_pod_that_should_have_ended_a_minute_ago_has_no_tokens(sim, unique):
    sim.pod("credlet", unique, service_account="credlet")
    token = sim.mint(pod=f"credlet/{unique}", audiences=["https://kubernetes.default.svc"])
    for ended, valid in ((-30, True), (-62, False)):
        sim.patch_pod("credlet", unique, terminating=ended)
        assert bool(review(sim, token).get("authenticated")) == valid
        assert get(sim, "/api/v1/pods?limit=1", token=token)[0] == (200 if valid else 401)


def test_the_cluster_has_a_clock_of_its_own(sim, unique):
    token = sim.mint(pod="credlet/credlet", audiences=["https://kubernetes.default.svc"])
    for ahead, valid in ((7200, False), (-7200, False), (0, True)):
        sim.settings(clock_offset=ahead)
        assert get(sim, "/api/v1/pods?limit=1", token=token)[0] == (200 if valid else 401)
        status, _, headers = get(sim, "/api/v1/pods?limit=1", token=sim.mint(
            pod="credlet/credlet", audiences=["https://kubernetes.default.svc"]))
        date = email.utils.parsedate_to_datetime(headers["Date"])
        assert status == 200 and abs(date.timestamp() - time.time() - ahead) < 5


def test_discovery_needs_authentication_unless_it_is_public(sim):
    for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
        assert get(sim, path, token=False)[0] == 401
        assert get(sim, path)[0] == 200
    sim.settings(public_discovery=True)
    assert get(sim, "/.well-known/openid-configuration", token=False)[1]["issuer"] == sim.issuer


def test_the_daemons_token_is_swapped_as_the_kubelet_does(sim):
    before = sim.daemon_token()
    sim.post("/token-file", mode="fresh")
    assert sim.daemon_token() != before and get(sim, "/api/v1/pods?limit=1")[0] == 200
    sim.post("/token-file", mode="expired")
    assert get(sim, "/api/v1/pods?limit=1")[0] == 401
    sim.post("/token-file", mode="fresh")


def test_a_watch_can_be_made_to_end_in_half_a_frame(sim, watch):
    version = listing(sim, "limit=1")["metadata"]["resourceVersion"]
    events = watch(f"resourceVersion={version}")
    sim.post("/watches", resource="pods", how="raw", text='{"type":"ADDED","object":{"ki')
    assert events.response.readline() == b'{"type":"ADDED","object":{"ki'
    assert events.response.readline() == b""
