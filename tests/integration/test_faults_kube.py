"""The Kubernetes API misbehaves; what pods see of it."""

import concurrent.futures
import json
import time

import pytest
from daemon import genuine, served
from simulator import Simulator, wait_until

PODS = {"resource": "^pods$"}
WATCH = {"resource": "^pods$", "verb": "watch"}


def recovers(world, daemon, pod, seconds):
    answer = wait_until(lambda: served(daemon.credentials(pod["ip"])), seconds, "recovery", 0.05)
    return genuine(world, answer, pod)


def watching(world):
    return wait_until(lambda: world.stats()["kube"]["open_watches"]["pods"] == 1, 5, "a watch of pods")


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A world without a daemon; each test that needs it starts one of its own."""
    simulator = Simulator(tmp_path_factory.mktemp("ground"))
    yield simulator
    simulator.stop()


@pytest.fixture
def own(ground, start_credlet):
    """A daemon of a test's own, and its world."""
    before = ground.get("/settings")
    daemon = start_credlet(ground)
    watching(ground)
    yield ground, daemon
    ground.clear()
    ground.settings(**before)
    if not ground.stats()["kube"]["up"]:
        ground.post("/listen", target="kube", up=True)
    ground.post("/ca-file", mode="good")
    ground.post("/token-file", mode="fresh")


def test_F19_the_api_server_is_down_at_the_start(start_world, start_credlet, new_pod):
    world = start_world()
    pod = new_pod(in_world=world)
    world.post("/listen", target="kube", up=False)
    daemon = start_credlet(world, ready=False)
    assert daemon.admin("/healthz").status == 200 and daemon.admin("/readyz").status == 503
    answer = daemon.session(pod["ip"])
    assert answer.status == 503 and answer.json["Code"] == "CredentialsUninitialized"
    assert answer.headers["Retry-After"] == "1"
    world.post("/listen", target="kube", up=True)
    recovers(world, daemon, pod, 5)
    wait_until(lambda: daemon.admin("/readyz").status == 200, 5, "readiness")


def test_F20_the_api_server_goes_down(own, new_pod):
    world, daemon = own
    known = new_pod(in_world=world)
    recovers(world, daemon, known, 5)
    world.post("/listen", target="kube", up=False)
    unknown = new_pod(in_world=world)
    for _ in range(3):
        assert daemon.credentials(known["ip"]).status == 200
        assert daemon.session(unknown["ip"]).status == 503
    assert daemon.admin("/healthz").status == 200
    world.post("/listen", target="kube", up=True)
    recovers(world, daemon, unknown, 35)


@pytest.mark.parametrize("mode", ["event", "http"])
def test_F21_an_expired_version_leads_to_a_list_at_once(own, new_pod, mode):
    world, daemon = own
    gone, stays = new_pod(in_world=world), new_pod(in_world=world)
    for pod in (gone, stays):
        recovers(world, daemon, pod, 5)
    world.delete_pod(gone["namespace"], gone["name"], silent=True)
    mark = world.mark()
    if mode == "event":
        world.post("/watches", resource="pods", how="gone")
    else:
        world.fault("kube", "gone", mode="http", match=WATCH, count=1)
        world.post("/watches", resource="pods", how="close")
    wait_until(lambda: daemon.refuses(gone["ip"]), 3, "the list")
    assert daemon.credentials(stays["ip"]).status == 200
    assert world.calls("kube", mark, resource="pods", verb="list")


def test_F21_an_expired_continue_token_starts_the_list_again(start_world, start_credlet):
    world = start_world()
    pods = world.post("/bulk", service_accounts=2, pods=120, first_address="127.61.0.1", realistic=False)["pods"]
    world.fault("kube", "status", match={"path": "pods.*continue="}, status=410, count=1, content_type="application/json",
                body='{"kind":"Status","status":"Failure","reason":"Expired","code":410}')
    daemon = start_credlet(world)
    for pod in (pods[0], pods[60], pods[119]):
        recovers(world, daemon, pod, 5)


@pytest.mark.parametrize("verb", ["watch", "list"])
def test_F22_retry_after_is_honoured(own, new_pod, verb):
    world, daemon = own
    known = new_pod(in_world=world)
    recovers(world, daemon, known, 5)
    mark = world.mark()
    # What asks for an address directly is not the watch: only the watch's own requests are meant here.
    world.fault("kube", "status", match={"verb": verb, "path": "/pods\\?(?!.*podIP)"}, status=429, retry_after=2, count=1)
    world.post("/watches", resource="pods", how="close" if verb == "watch" else "gone")
    refused = wait_until(lambda: world.calls("kube", mark, resource="pods", code=429), 3)[0]
    assert daemon.credentials(known["ip"]).status == 200
    late = new_pod(in_world=world)
    watching(world)
    calls = [c for c in world.calls("kube", refused["number"], resource="pods") if "podIP" not in c["query"]]
    opened = min([c["started"] for c in calls] or [time.time()])
    assert opened - refused["started"] >= 1.9
    recovers(world, daemon, late, 5)
    assert daemon.metric("watch_restarts_total", resource="pods", reason="throttled") >= 1


def test_F23_a_token_that_is_refused_is_read_again(own, new_pod):
    world, daemon = own
    known = new_pod(in_world=world)
    recovers(world, daemon, known, 5)
    mark = world.mark()
    world.post("/keys/rotate", overlap=False)  # the daemon's token is void now, and there is no other one yet
    world.post("/watches", how="close")
    wait_until(lambda: world.calls("kube", mark, resource="pods", code=401), 5, "a refusal")
    assert daemon.credentials(known["ip"]).status == 200
    world.post("/token-file", mode="fresh")
    late = new_pod(in_world=world)
    recovers(world, daemon, late, 10)
    watching(world)
    assert daemon.credentials(known["ip"]).status == 200


def test_F23_rights_taken_away_and_given_back(own, new_pod):
    world, daemon = own
    known = new_pod(in_world=world)
    recovers(world, daemon, known, 5)
    world.settings(denied=[{"resource": "pods"}])
    world.post("/watches", resource="pods", how="close")
    wait_until(lambda: not world.stats()["kube"]["open_watches"]["pods"])  # and none is let in again
    late = new_pod(in_world=world)
    wait_until(lambda: world.calls("kube", resource="pods", code=403), 5)
    assert daemon.credentials(known["ip"]).status == 200 and daemon.session(late["ip"]).status in (403, 503)
    wait_until(lambda: any("forbidden" in json.dumps(e).lower() for e in daemon.logs), 3, "a word in the log")
    world.settings(denied=[])
    recovers(world, daemon, late, 35)


BAD_FRAMES = ('{"type":"ADDED","object":{"ki', "nonsense\n", '{"type":"ADDED"}\n', '{"type":"ADDED","object":null}\n', "[]\n",
              '{"type":"MODIFIED","object":{"kind":"Pod","metadata":{"uid":7}}}\n', '{"type":"SURPRISE","object":{}}\n',
              '{"type":"ADDED","object":' + '{"a":' * 2000 + "1" + "}" * 2000 + "}\n",
              '{"type":"ADDED","object":{"metadata":{"name":"' + "x" * (5 << 20) + '"}}}\n', "\x00" * 1000 + "\n")


@pytest.mark.parametrize("number", range(len(BAD_FRAMES)))
def test_F24_a_bad_frame_does_no_harm(own, new_pod, number):
    world, daemon = own
    known = new_pod(in_world=world)
    recovers(world, daemon, known, 5)
    before = daemon.memory()
    world.post("/watches", resource="pods", how="raw", text=BAD_FRAMES[number])
    wait_until(lambda: sum(daemon.metric("watch_restarts_total", resource="pods", reason=reason)
                           for reason in ("decode", "connection", "other")), 5, "noticing")
    assert daemon.credentials(known["ip"]).status == 200
    recovers(world, daemon, new_pod(in_world=world), 5)
    watching(world)
    assert daemon.memory() - before < 12 << 20


def test_F24_frames_come_in_any_pieces(start_world, start_credlet, new_pod):
    world = start_world(settings={"watch_split_bytes": 7, "realistic_pods": True})
    daemon = start_credlet(world)
    watching(world)
    for _ in range(3):
        recovers(world, daemon, new_pod(in_world=world), 5)


def test_F25_a_slow_watch_is_made_up_for_by_asking_directly(own, new_pod):
    world, daemon = own
    world.fault("kube", "slow_watch", match=WATCH, seconds=10)
    mark, pod = world.mark(), new_pod(in_world=world)
    recovers(world, daemon, pod, 5)
    direct = [c for c in world.calls("kube", mark, resource="pods", verb="list") if "status.podIP" in c["query"]]
    assert 1 <= len(direct) <= 5 and all("spec.nodeName" in c["query"] for c in direct)


def test_F25_strangers_cannot_make_the_daemon_ask_without_end(own):
    world, daemon = own
    mark = world.mark()
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(daemon.session, [f"127.62.0.{i}" for i in range(1, 121)]))
    assert {answer.status for answer in answers} <= {403, 429, 503}
    took = time.monotonic() - started
    direct = [c for c in world.calls("kube", mark, resource="pods") if "status.podIP" in c["query"]]
    assert len(direct) <= 5 * took + 10


def test_F27_a_watch_that_ends_goes_on_where_it_was(own, new_pod):
    world, daemon = own
    for _ in range(3):
        watching(world)
        mark = world.mark()
        world.post("/watches", resource="pods", how="close")
        recovers(world, daemon, new_pod(in_world=world), 3)
        watching(world)
        lists = [c for c in world.calls("kube", mark, resource="pods", verb="list") if "podIP" not in c["query"]]
        assert not lists
        assert all(w["resourceVersion"] not in ("", "0") for w in world.get("/watches") if w["resource"] == "pods")
    assert daemon.metric("watch_restarts_total", resource="pods", reason="closed") >= 3


def test_F27_a_reset_watch_goes_on_too(own, new_pod):
    world, daemon = own
    world.post("/watches", resource="pods", how="reset")
    recovers(world, daemon, new_pod(in_world=world), 5)
    assert daemon.metric("watch_restarts_total", resource="pods", reason="connection") >= 1


def test_F28_a_thousand_pods_are_listed_again_in_little_memory(start_world, start_credlet):
    world = start_world()
    pods = world.post("/bulk", service_accounts=20, pods=1000, first_address="127.63.0.1")["pods"]
    daemon = start_credlet(world)
    recovers(world, daemon, pods[999], 15)
    watching(world)
    before, most = daemon.memory(), 0
    lists = daemon.metric("watch_restarts_total", resource="pods", reason="expired")
    world.post("/watches", resource="pods", how="gone")
    deadline = time.monotonic() + 30
    while daemon.metric("watch_restarts_total", resource="pods", reason="expired") == lists \
            or not world.stats()["kube"]["open_watches"]["pods"]:
        most = max(most, daemon.memory())
        assert time.monotonic() < deadline
    assert most - before <= 8 << 20
    recovers(world, daemon, pods[0], 5)


@pytest.mark.parametrize("mode", ["empty", "missing", "garbage"])
def test_F29_a_bad_token_file_leaves_the_old_token_in_use(own, new_pod, mode):
    world, daemon = own
    world.post("/token-file", mode=mode)
    recovers(world, daemon, new_pod(in_world=world), 5)
    world.post("/token-file", mode="fresh")
    world.post("/watches", how="close")
    recovers(world, daemon, new_pod(in_world=world), 5)


def test_F29_the_clusters_ca_may_be_replaced(own, new_pod):
    world, daemon = own
    for mode in ("both", "empty", "good"):
        world.post("/ca-file", mode=mode)
        world.post("/drop", target="kube")
        recovers(world, daemon, new_pod(in_world=world), 8)


UNRELATED = "no relationship found between node 'node-1' and this object"
TRANSIENT = [{"kind": "status", "status": 500}, {"kind": "hang"}, {"kind": "reset"}, {"kind": "garbage"},
             {"kind": "truncate", "bytes": -5}, {"kind": "throttle", "rate": 0.001, "burst": 0},
             {"kind": "error", "code": "Forbidden", "status": 403, "message": UNRELATED},
             {"kind": "error", "code": "Invalid", "status": 422, "message": "bound pod is not on the caller's node"}]
DEFINITIVE = [{"kind": "error", "code": "Forbidden", "status": 403}, {"kind": "error", "code": "Invalid", "status": 422},
              {"kind": "error", "code": "NotFound", "status": 404}, {"kind": "error", "code": "Conflict", "status": 409}]


def token_request_fails(world, credlet, new_pod, warm_pod, fault):
    """What a pod is told whose token requests fail so. Nobody else notices, and it goes on when they succeed again."""
    warm, cold = warm_pod(), new_pod(kube_fault=fault)
    answer = credlet.imds_credentials(cold["ip"], cold["role_arn"].rsplit("/", 1)[1])
    assert credlet.credentials(warm["ip"]).json["AccessKeyId"] == warm["access_key_id"]
    world.clear()
    recovers(world, credlet, cold, 8)
    return answer


@pytest.mark.parametrize("fault", TRANSIENT)
def test_F31_token_requests_fail_for_a_time(world, credlet, new_pod, warm_pod, fault):
    answer = token_request_fails(world, credlet, new_pod, warm_pod, fault)
    assert answer.status == 503 and answer.json["Code"] == "ServiceUnavailable"


@pytest.mark.parametrize("fault", DEFINITIVE)
def test_F31_token_requests_are_refused(world, credlet, new_pod, warm_pod, fault):
    answer = token_request_fails(world, credlet, new_pod, warm_pod, fault)
    assert answer.status == 503 and answer.json["Code"] == fault["code"] and "no token for service account" in answer.json["Message"]


def test_F31_the_node_authorizer_lags_behind_a_pod_that_is_new(start_world, start_credlet, new_pod):
    """That is no refusal: it is asked again at once."""
    world = start_world(settings={"constrained_impersonation": True})
    daemon = start_credlet(world, "--token-source", "impersonate")
    lag = {"kind": "error", "code": "Forbidden", "status": 403, "message": UNRELATED, "count": 1}
    pod = new_pod(in_world=world, kube_fault=lag)
    recovers(world, daemon, pod, 4)  # a refusal would be remembered for 5 s
    assert daemon.metric("token_requests_total", source="impersonate", result="ok") == 1


def test_F31_a_pod_that_cannot_be_bound_is_not_the_end(world, credlet, new_pod):
    """The pod chosen to bind the token to has just gone: another of the same service account will do."""
    pod = new_pod(kube_fault={"kind": "error", "code": "NotFound", "status": 404, "count": 1})
    recovers(world, credlet, pod, 6)


# Token sources

NEW = {"constrained_impersonation": True}


@pytest.mark.parametrize("source, settings, used", [("request", {"admission_policy": True}, "request"),
                                                    ("impersonate", NEW, "impersonate"), ("auto", {}, "request"),
                                                    ("auto", NEW, "impersonate"),
                                                    # Nodes may not request our audience: the daemon itself may.
                                                    ("auto", {**NEW, "node_audiences": []}, "request")])
def test_tokens_are_obtained_in_every_way(start_world, start_credlet, new_pod, source, settings, used):
    world = start_world(settings=settings)
    daemon = start_credlet(world, "--token-source", source)
    pod = new_pod(in_world=world)
    recovers(world, daemon, pod, 5)
    assert daemon.metric("token_requests_total", source=used, result="ok") >= 1


def test_T23_a_token_dies_with_its_pod_also_where_the_daemon_acts_as_its_node(start_world, start_credlet, new_pod, address):
    """To a node the API server says of a pod that is gone what it says of another node's."""
    world = start_world(settings={"constrained_impersonation": True})
    daemon = start_credlet(world, "--token-source", "impersonate")
    pod = new_pod(in_world=world)
    token = world.mint(pod=f"prod/{pod['name']}")
    genuine(world, wait_until(lambda: served(daemon.credentials(address, token=token)), 5, "an answer"), pod)
    world.delete_pod("prod", pod["name"])
    wait_until(lambda: daemon.credentials(address, token=token).status == 403, 2, "the token's end")


def test_the_callers_own_token_needs_no_right_at_all(start_world, start_credlet, new_pod, address):
    world = start_world(settings={"denied": [{"resource": "serviceaccounts/token"}]})
    daemon = start_credlet(world, "--token-source", "caller")
    pod = new_pod(in_world=world)
    token = world.mint(pod=f"prod/{pod['name']}")
    genuine(world, daemon.credentials(pod["ip"], token=token), pod)
    assert not world.calls("kube", resource="serviceaccounts/token")
