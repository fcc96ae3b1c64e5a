"""Faults do what they are named for, to whom they are meant, and then stop."""

import http.client
import json
import ssl
import time

import pytest

from simulator import wait_until

PODS = "/api/v1/pods?limit=1"


def get(sim, path=PODS, timeout=5):
    status, headers, body = sim.request("kube", "GET", path, timeout=timeout)
    return status, headers, body


def sts(sim, timeout=5):
    body = "Action=GetCallerIdentity&Version=2011-06-15"
    return sim.request("sts", "POST", "/", body, {"Content-Type": "application/x-www-form-urlencoded"},
                       timeout=timeout)


def test_a_fault_is_spent_after_its_count(sim):
    sim.fault("kube", "status", status=503, body="no", count=2, retry_after=7)
    answers = [get(sim) for _ in range(3)]
    assert [a[0] for a in answers] == [503, 503, 200] and answers[0][1]["Retry-After"] == "7"


def test_a_fault_is_over_after_its_duration(sim):
    sim.fault("kube", "status", status=500, duration=0.2)
    assert get(sim)[0] == 500
    wait_until(lambda: get(sim)[0] == 200, 2)


def test_a_fault_can_let_some_pass_first(sim):
    sim.fault("kube", "status", status=500, skip=1)
    assert [get(sim)[0] for _ in range(2)] == [200, 500]


def test_a_fault_hits_only_what_it_matches(sim):
    sim.fault("kube", "status", match={"resource": "^serviceaccounts$", "verb": "list"}, status=500)
    sim.fault("sts", "error", match={"operation": "^AssumeRole$"}, code="Throttling")
    assert get(sim)[0] == 200 and get(sim, "/api/v1/serviceaccounts")[0] == 500
    assert b"MissingAuthenticationToken" in sts(sim)[2]


@pytest.mark.parametrize("code, status", [("Throttling", 400), ("IDPCommunicationError", 400), ("AccessDenied", 403),
                                          ("InternalFailure", 500), ("ServiceUnavailable", 503)])
def test_sts_errors_come_with_their_status(sim, code, status):
    sim.fault("sts", "error", code=code, message="why")
    answer = sts(sim)
    assert answer[0] == status and f"<Code>{code}</Code>".encode() in answer[2] and b"why" in answer[2]


def test_delay(sim):
    sim.fault("sts", "delay", ms=200)
    started = time.monotonic()
    sts(sim)
    assert time.monotonic() - started >= 0.2


def test_hang_lasts_until_it_is_cleared(sim):
    number = sim.fault("sts", "hang")
    with pytest.raises(TimeoutError):
        sts(sim, timeout=0.3)
    sim.clear(number)
    assert sts(sim)[0] == 403


def test_reset_at_once_and_after_some_bytes(sim):
    sim.fault("sts", "reset", count=1)
    with pytest.raises((ConnectionResetError, ssl.SSLError)):
        sts(sim)
    sim.fault("sts", "reset", bytes=200, count=1)
    with pytest.raises((ConnectionResetError, ssl.SSLError, http.client.IncompleteRead)):
        sts(sim)
    assert sts(sim)[0] == 403


def test_truncate(sim):
    sim.fault("sts", "truncate", bytes=-5, count=1)
    with pytest.raises(http.client.IncompleteRead):
        sts(sim)
    sim.fault("sts", "truncate", bytes=10, count=1)
    with pytest.raises(http.client.HTTPException):
        sts(sim)


def test_garbage_huge_and_raw(sim):
    sim.fault("sts", "garbage", count=1)
    assert sts(sim)[0] == 200
    sim.fault("sts", "huge", bytes=1 << 20, count=1)
    assert len(sts(sim)[2]) == 1 << 20
    sim.fault("sts", "raw", text="HTTP/1.0 200 OK\r\n\r\nhello", count=1)
    assert sts(sim)[2] == b"hello"


def test_drip(sim):
    sim.fault("sts", "drip", bytes_per_second=2000, count=1)
    started = time.monotonic()
    assert sts(sim)[0] == 403
    assert time.monotonic() - started > 0.2


def test_throttle(sim):
    sim.fault("sts", "throttle", rate=5, burst=2)
    codes = [b"Throttling" in sts(sim)[2] for _ in range(4)]
    assert codes[:2] == [False, False] and codes[-1]
    sim.clear()
    sim.fault("kube", "throttle", rate=1, burst=1)
    answers = [get(sim) for _ in range(2)]
    assert answers[1][0] == 429 and answers[1][1]["Retry-After"] == "1"


def test_short_lived_and_incomplete_credentials(sim, unique):
    sim.workload(unique, "127.0.0.81")
    form = (f"Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=xx&RoleArn="
            f"arn:aws:iam::123456789012:role/{unique}&WebIdentityToken={sim.mint(pod=f'prod/{unique}-pod')}")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    sim.fault("sts", "expiry", offset=-3600, match={"role": unique}, count=1)
    assert sim.request("sts", "POST", "/", form, headers)[0] == 200
    assert sim.issued()[-1]["expires"] < time.time() - 3500
    sim.fault("sts", "incomplete", field="SessionToken", count=1)
    assert b"SessionToken" not in sim.request("sts", "POST", "/", form, headers)[2]


@pytest.mark.parametrize("certificate", ["expired", "not_yet_valid", "wrong_name", "unknown_ca", "self_signed", "cn_only",
                                         "client_only", "tls11", "plaintext", "garbage"])
@pytest.mark.parametrize("target", ["sts", "kube"])
def test_bad_certificates_are_bad(sim, target, certificate):
    sim.post("/tls", target=target, certificate=certificate)
    # A call is counted when it is over, which may be a moment after its answer.
    wait_until(lambda: sim.stats()[target]["in_flight"] == 0, 5, "the end of the calls before")
    total = sim.stats()[target]["total"]
    try:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            sim.request(target, "GET", "/")
        assert sim.stats()[target]["total"] == total
    finally:
        sim.post("/tls", target=target, certificate="good")
    assert sim.request(target, "GET", "/")[0] in (400, 404)


def test_a_server_can_be_down_and_up_again(sim):
    sim.post("/listen", target="sts", up=False)
    with pytest.raises(ConnectionRefusedError):
        sts(sim)
    sim.post("/listen", target="sts", up=True)
    assert sts(sim)[0] == 403


def open_watch(sim, timeout=5):
    version = json.loads(get(sim)[2])["metadata"]["resourceVersion"]
    connection = sim.connect("kube", timeout)
    connection.request("GET", f"/api/v1/pods?watch=1&resourceVersion={version}",
                       headers={"Authorization": f"Bearer {sim.daemon_token()}"})
    return connection, connection.getresponse()


def test_a_slow_watch_is_late(sim, unique):
    connection, response = open_watch(sim)
    sim.fault("kube", "slow_watch", match={"resource": "pods"}, seconds=0.4)
    started = time.monotonic()
    sim.pod("slow", unique)
    assert b'"ADDED"' in response.readline()
    assert time.monotonic() - started >= 0.35
    connection.close()


def test_a_silent_watch_says_nothing_any_more(sim, unique):
    connection, response = open_watch(sim, timeout=0.5)
    sim.fault("kube", "silent_watch", match={"resource": "pods"})
    sim.pod("silent", unique)
    with pytest.raises(TimeoutError):
        response.readline()
    connection.close()


@pytest.mark.parametrize("how, last", [("close", b""), ("gone", b'"code": 410'), ("status", b'"code": 500')])
def test_watches_end_as_they_are_told(sim, how, last):
    connection, response = open_watch(sim)
    wait_until(lambda: sim.post("/watches", how=how)["ended"])
    assert last in response.readline()
    connection.close()


def test_watches_can_be_reset(sim):
    connection, response = open_watch(sim)
    wait_until(lambda: sim.post("/watches", how="reset")["ended"])
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead, ssl.SSLError)):
        if response.readline() == b"":
            raise ConnectionResetError
    connection.close()


def test_what_cannot_be_done_says_so(sim):
    for path, body in (("/faults", {"target": "s3", "kind": "delay"}), ("/faults", {"target": "sts", "kind": "magic"}),
                       ("/settings", {"nonsense": 1}), ("/tls", {"target": "sts", "certificate": "gold"})):
        with pytest.raises(Exception, match="no such|target is"):
            sim.post(path, **body)
