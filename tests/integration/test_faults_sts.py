"""STS misbehaves; what pods see of it. Never 200 with what is not good, and back to normal soon after."""

import concurrent.futures
import math
import time

import pytest
from daemon import genuine, served
from simulator import wait_until

BAD_CERTIFICATES = ("expired", "not_yet_valid", "wrong_name", "cn_only", "unknown_ca", "self_signed", "client_only", "tls11",
                    "plaintext", "garbage", "mute")


def role_name(pod):
    return pod["role_arn"].rsplit("/", 1)[1]


def quick(credlet, pod):
    """By way of IMDS, which answers within a second whatever happens."""
    return credlet.imds_credentials(pod["ip"], role_name(pod))


def recovers(world, credlet, pod, seconds=5):
    """Genuine credentials within so many seconds."""
    started = time.monotonic()
    answer = wait_until(lambda: served(credlet.credentials(pod["ip"])), seconds, "recovery", 0.05)
    assert time.monotonic() - started <= seconds + 0.5
    return genuine(world, answer, pod)


def in_parallel(action, things):
    with concurrent.futures.ThreadPoolExecutor(len(things)) as pool:
        return list(pool.map(action, things))


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_F1_a_burst_of_server_errors(world, credlet, new_pod, warm_pod, status):
    warm, mark = warm_pod(), world.mark()
    fault = world.fault("sts", "status", status=status, match={"operation": "AssumeRole"})
    started = time.monotonic()
    cold = new_pod()
    assert quick(credlet, cold).status == 503
    tries, took = len(world.calls("sts", mark, role=cold["role_arn"])), time.monotonic() - started
    assert 1 <= tries <= 3 * math.ceil(took)  # in any second three at most
    assert credlet.credentials(warm["ip"]).json["AccessKeyId"] == warm["access_key_id"]
    world.clear(fault)
    recovers(world, credlet, cold)


def test_F2_throttling_slows_the_daemon_down_and_everybody_is_served(start_world, start_credlet):
    world = start_world()
    daemon = start_credlet(world)
    world.fault("sts", "throttle", rate=10, burst=10)
    pods = world.post("/bulk", service_accounts=40, pods=40, first_address="127.60.0.1")["pods"]
    started = time.monotonic()

    def persist(pod):
        return wait_until(lambda: served(daemon.credentials(pod["ip"])), 40, "being served", 0.5)
    for pod, answer in zip(pods, in_parallel(persist, pods)):
        genuine(world, answer, pod)
    calls = world.calls("sts")
    assert sum(call["result"] == "ok" for call in calls) == 40
    # 1.2 times what is needed, and the one round of calls in flight together that found the limit.
    assert len(calls) <= 48 + 16, f"{len(calls)} calls for 40 roles"
    assert daemon.metric("sts_allowed_rate") < 20 and time.monotonic() - started < 40
    assert daemon.metric("sts_requests_total", result="Throttling") == sum(c["result"] == "Throttling" for c in calls)


def test_F3_accepted_and_never_answered(world, credlet, new_pod, warm_pod):
    warm = warm_pod()
    fault = world.fault("sts", "hang", match={"operation": "AssumeRole"})
    cold = new_pod()
    started = time.monotonic()
    assert quick(credlet, cold).status == 503 and time.monotonic() - started < 1.2
    assert credlet.credentials(warm["ip"]).status == 200
    world.clear(fault)
    recovers(world, credlet, cold)


def demanded(daemon):
    """Calls made because somebody waited for them."""
    return daemon.metric("refresh_total", trigger="demand", result="ok")


@pytest.fixture
def on_demand(start_world, start_credlet):
    """A world, and a daemon that fetches nothing ahead there, because only callers bring it tokens: each call is one
    of its caller's."""
    world = start_world()
    return world, start_credlet(world, "--token-source", "caller")


def test_F4_slow_but_working(on_demand, new_pod):
    world, daemon = on_demand
    patient, hasty = (new_pod(in_world=world, sts_fault={"kind": "delay", "ms": 2000}) for _ in range(2))
    patients_token, hasty_token = (world.mint(pod=f"prod/{pod['name']}") for pod in (patient, hasty))
    session = daemon.session(hasty["ip"], token=hasty_token).body.decode()

    def in_haste():
        return daemon.imds(f"meta-data/iam/security-credentials/{role_name(hasty)}", hasty["ip"], session)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        held = pool.submit(daemon.credentials, patient["ip"], patients_token)
        assert in_haste().status == 503
        genuine(world, wait_until(lambda: served(in_haste()), 3), hasty)
        genuine(world, held.result(), patient)
    for pod in (patient, hasty):
        assert len(world.calls("sts", role=pod["role_arn"])) == 1  # the call went on without its caller
    assert demanded(daemon) == 2


@pytest.mark.parametrize("others", [0, 20], ids=["alone", "among others"])
def test_F34_a_caller_hangs_up_while_its_call_runs(on_demand, new_pod, others):
    world, daemon = on_demand
    pod = new_pod(in_world=world, sts_fault={"kind": "delay", "ms": 1500})
    token = world.mint(pod=f"prod/{pod['name']}")
    leaving = daemon.connect(pod["ip"])
    leaving.request("GET", "/v1/credentials", headers={"Authorization": token})
    wait_until(lambda: world.stats()["sts"]["in_flight"] == 1, 3, "its call")
    with concurrent.futures.ThreadPoolExecutor(max(others, 1)) as pool:
        waiting = [pool.submit(daemon.credentials, pod["ip"], token) for _ in range(others)]
        wait_until(lambda: daemon.metric("connections") >= 1 + others, 3, "the others")
        leaving.close()
        for answer in waiting:
            genuine(world, answer.result(), pod)
    wait_until(lambda: demanded(daemon) == 1, 5, "the end of the call")
    genuine(world, daemon.credentials(pod["ip"], token), pod)
    assert len(world.calls("sts", role=pod["role_arn"])) == 1


def test_F30_new_tokens_of_one_service_account_cost_no_calls(world, credlet, warm_pod):
    pod = warm_pod()
    tokens = [world.mint(pod=f"prod/{pod['name']}", expires_in=3600 + i) for i in range(220)]
    assert len(set(tokens)) == len(tokens)
    mark = world.mark()
    for token in tokens:
        assert credlet.credentials(pod["ip"], token).json["AccessKeyId"] == pod["access_key_id"]
    assert not world.calls("sts", mark)


def test_F5_connections_reset_anywhere_in_the_answer(world, credlet, new_pod):
    offsets = (None, 0, 1, 9, 40, 150, 300, 500, 800, 1000, 1200)
    pods = [new_pod(sts_fault={"kind": "reset", "count": 1, **({} if offset is None else {"bytes": offset})})
            for offset in offsets]
    for pod, answer in zip(pods, in_parallel(lambda pod: credlet.credentials(pod["ip"]), pods)):
        genuine(world, answer, pod)


def test_F6_truncated_answers_are_never_parsed(world, credlet, new_pod):
    offsets = (0, 1, 12, 80, 200, 400, 700, 1000, 1300, -200, -30, -2, -1)
    pods = [new_pod(sts_fault={"kind": "truncate", "count": 1, "bytes": offset}) for offset in offsets]
    for pod, answer in zip(pods, in_parallel(lambda pod: credlet.credentials(pod["ip"]), pods)):
        genuine(world, answer, pod)
        assert len([c for c in world.calls("sts", role=pod["role_arn"])]) >= 2  # it was asked again


GARBAGE = ("", " ", "<html><body>Please log in</body></html>", "{}", "{\"AssumeRoleWithWebIdentityResponse\":{}}", "null",
           "<", "<?xml version='1.0'?>", "<a><b></a></b>", "\x00\x01\x02", "<AssumeRoleWithWebIdentityResponse/>",
           "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>",
           "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId></AccessKeyId>"
           "<SecretAccessKey></SecretAccessKey><SessionToken></SessionToken><Expiration></Expiration></Credentials>"
           "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>")


def test_F7_garbage_with_status_200(world, credlet, new_pod, warm_pod):
    warm = warm_pod()
    pods = [new_pod(sts_fault={"kind": "garbage", "body": body}) for body in GARBAGE]
    for body, answer in zip(GARBAGE, in_parallel(lambda pod: quick(credlet, pod), pods)):
        assert answer.status == 503 or "AccessKeyId" not in answer.json, (body, answer)
    assert credlet.credentials(warm["ip"]).json["AccessKeyId"] == warm["access_key_id"]
    world.clear()
    in_parallel(lambda pod: recovers(world, credlet, pod, 8), pods)


def test_F8_huge_and_dripping_answers_are_cut_off(world, credlet, new_pod):
    before, mark = credlet.memory(), world.mark()
    pods = [new_pod(sts_fault=fault) for fault in ({"kind": "huge"}, {"kind": "huge", "content_length": True},
                                                   {"kind": "drip", "bytes_per_second": 20})]
    for answer in in_parallel(lambda pod: quick(credlet, pod), pods):
        assert answer.status == 503
    assert credlet.memory() - before < 2 << 20
    for pod in pods:
        cut = wait_until(lambda role=pod["role_arn"]: world.calls("sts", mark, role=role), 5, "cutting it off")
        assert all(call["result"] == "dropped" and call["took"] < 4 for call in cut)
    world.clear()
    for pod in pods:
        recovers(world, credlet, pod)


@pytest.mark.parametrize("certificate", BAD_CERTIFICATES)
def test_F9_T32_bad_certificates_get_no_byte_of_a_token(world, credlet, new_pod, warm_pod, certificate):
    warm, mark = warm_pod(), world.mark()
    world.post("/tls", target="sts", certificate=certificate)
    cold = new_pod()
    assert quick(credlet, cold).status == 503
    assert credlet.credentials(warm["ip"]).json["AccessKeyId"] == warm["access_key_id"]
    heard = world.stats()["sts"]["heard"]
    assert not world.calls("sts", mark) and "WebIdentityToken" not in heard and "eyJ" not in heard
    world.post("/tls", target="sts", certificate="good")
    recovers(world, credlet, cold)


def test_F9_a_bad_certificate_is_named_in_log_and_metrics(world, credlet, new_pod):
    before = credlet.metric("sts_requests_total", operation="AssumeRoleWithWebIdentity", result="tls_failed")
    world.post("/tls", target="sts", certificate="expired")
    assert quick(credlet, new_pod()).status == 503
    assert credlet.metric("sts_requests_total", operation="AssumeRoleWithWebIdentity", result="tls_failed") > before
    wait_until(lambda: any("certificate" in str(entry) for entry in credlet.logs), 2)


@pytest.mark.parametrize("offset, usable", [(-3600, False), (-1, False), (30, False), (300, True)])
def test_F10_expired_and_short_lived_credentials(world, credlet, new_pod, offset, usable):
    pod = new_pod(sts_fault={"kind": "expiry", "offset": offset})
    if usable:
        genuine(world, credlet.credentials(pod["ip"]), pod)
        mark = world.mark()
        for _ in range(20):
            assert credlet.credentials(pod["ip"]).status == 200
        assert len(world.calls("sts", mark, role=pod["role_arn"])) <= 1  # not once for every request
    else:
        assert quick(credlet, pod).status == 503
        world.clear()
        recovers(world, credlet, pod, 31)


@pytest.mark.parametrize("chained", [False, True], ids=["one role", "a target role"])
@pytest.mark.parametrize("hours", [2, -2])
def test_F11_lifetimes_and_signatures_go_by_the_clock_of_sts(start_world, start_credlet, new_pod, hours, chained):
    """This node's clock is wrong: the cluster's and STS's agree with each other."""
    world = start_world(settings={"clock_offset": hours * 3600})
    daemon = start_credlet(world)
    pod = new_pod(in_world=world)
    if chained:
        target = world.role("target", trusted_roles=[pod["role_arn"]])
        world.service_account("prod", pod["service_account"], role_arn=pod["role_arn"], target_role_arn=target)
        pod["role_arn"] = target

    def answer_of_that_role():
        answer = daemon.credentials(pod["ip"])
        return answer if answer.status == 200 and answer.json["RoleArn"] == pod["role_arn"] else None
    issued = genuine(world, wait_until(answer_of_that_role, 5), pod)
    for _ in range(5):
        assert daemon.credentials(pod["ip"]).json["AccessKeyId"] == issued["access_key_id"]
    assert abs(abs(daemon.metric("clock_skew_seconds")) - 7200) < 10
    if chained:  # the Date of a refusal, or of the first call's answer, is what the signature goes by
        assert sum(call["result"] != "ok" for call in world.calls("sts", operation="AssumeRole")) <= 1


@pytest.mark.parametrize("code", ["ExpiredTokenException", "InvalidIdentityToken"])
def test_F12_a_rejected_token_is_replaced_once(world, credlet, new_pod, code):
    mark = world.mark()
    lucky = new_pod(sts_fault={"kind": "error", "code": code, "message": "rejected", "count": 1})
    unlucky = new_pod(sts_fault={"kind": "error", "code": code, "message": "rejected"})
    genuine(world, credlet.credentials(lucky["ip"]), lucky)
    assert len(world.calls("kube", mark, resource="serviceaccounts/token", name=lucky["service_account"])) == 2
    answer = credlet.credentials(unlucky["ip"])
    assert answer.status == 403 and answer.code == code
    again = world.mark()
    assert credlet.credentials(unlucky["ip"]).status == 403
    assert not world.calls("sts", again, role=unlucky["role_arn"])  # negative cache
    assert len(world.calls("sts", mark, role=unlucky["role_arn"])) == 2


def test_F12_a_key_that_sts_could_not_fetch_is_a_passing_trouble(world, credlet, new_pod):
    pod = new_pod(sts_fault={"kind": "error", "code": "InvalidIdentityToken", "count": 2, "message":
                             "Couldn't retrieve verification key from your identity provider, please reference "
                             "AssumeRoleWithWebIdentity documentation for requirements"})
    recovers(world, credlet, pod, 6)


def test_F13_idp_communication_error_is_retried(world, credlet, new_pod):
    pod = new_pod(sts_fault={"kind": "error", "code": "IDPCommunicationError", "count": 2})
    recovers(world, credlet, pod, 6)


def test_F14_access_denied_until_the_policy_is_mended(world, credlet, new_pod):
    mark = world.mark()
    pod = new_pod(role_fields={"subjects": "system:serviceaccount:prod:other"})
    for _ in range(5):
        answer = credlet.credentials(pod["ip"])
        assert answer.status == 403 and answer.code == "AccessDenied"
    assert len(world.calls("sts", mark, role=pod["role_arn"])) == 1
    world.role(role_name(pod), subjects=f"system:serviceaccount:prod:{pod['service_account']}")
    recovers(world, credlet, pod, 10)


def test_an_endpoint_of_ones_own_is_signed_for_the_region_also_in_legacy_mode(world, start_credlet, new_pod):
    daemon = start_credlet(world, "--sts-regional-endpoints", "legacy")
    pod = new_pod()
    target = world.role(pod["service_account"] + "-target", trusted_roles=[pod["role_arn"]])
    world.service_account("prod", pod["service_account"], role_arn=pod["role_arn"], target_role_arn=target)
    wait_until(lambda: (a := daemon.credentials(pod["ip"])).status == 200 and a.json["RoleArn"] == target, 5)


def test_F15_a_disabled_region_is_a_mistake_of_the_daemons_configuration(world, credlet, new_pod):
    pod = new_pod(sts_fault={"kind": "error", "code": "RegionDisabledException",
                             "message": "STS is not activated in this region for account:123456789012."})
    assert quick(credlet, pod).status in (200, 503)
    answer = credlet.credentials(pod["ip"])
    assert answer.status == 503
    wait_until(lambda: any("RegionDisabled" in str(entry) for entry in credlet.logs), 2)
