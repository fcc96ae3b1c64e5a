"""STS and the Kubernetes API are both gone for a minute: pods that run notice nothing. In the same minute, in worlds of
their own: a watch that falls silent, the daemon's own token being replaced without anybody refusing the old one, and
credentials that cannot be renewed until they expire."""

import base64
import concurrent.futures
import json
import time

import pytest
from daemon import genuine, served
from simulator import wait_until

MINUTE = 62


@pytest.fixture
def pods(new_pod):
    def make(world, daemon, count, **fields):
        made = [new_pod(in_world=world, **fields) for _ in range(count)]
        for pod in made:
            genuine(world, wait_until(lambda ip=pod["ip"]: served(daemon.credentials(ip))), pod)
        return made
    return make


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor() as executor:
        yield executor


def fades(world, daemon, pod, first):
    """STS has failed since `first` was issued: it is served until a minute before its end, then nothing is; and soon
    after STS is back, so is everything."""
    name, answer = pod["role_arn"].rsplit("/", 1)[1], None
    while answer is None or answer.status == 200:
        # However long this takes: who gets an answer asked before it was given, and reads it afterwards. STS's times
        # are in whole seconds.
        asked = time.time()
        answer = daemon.imds_credentials(pod["ip"], name)
        if answer.status == 200:
            assert answer.json["AccessKeyId"] == first["access_key_id"] and first["expires"] - asked > 59
        time.sleep(0.1)
    assert answer.status == 503 and first["expires"] - time.time() < 62
    assert world.calls("sts", result=""), "no renewal was tried"
    world.clear()
    back = time.monotonic()
    genuine(world, wait_until(lambda: served(daemon.credentials(pod["ip"])), 8), pod)
    assert time.monotonic() - back <= 8


def failed_renewals(daemon):
    return daemon.metric("refresh_total", trigger="renewal") - daemon.metric("refresh_total", trigger="renewal", result="ok")


def test_F20_F26_F29_F37_F52_an_hour_is_long_but_a_minute_shows(start_world, start_credlet, pods, new_pod, pool):
    dark, silent, rotated, fading = (start_world() for _ in range(4))
    daemons = {id(w): start_credlet(w) for w in (dark, silent, rotated, fading)}
    # Credentials that live so shortly are renewed after half a minute: that falls into the dark one.
    restless = pods(dark, daemons[id(dark)], 4, sts_fault={"kind": "expiry", "offset": 250})
    in_dark = restless + pods(dark, daemons[id(dark)], 16)
    in_silent = pods(silent, daemons[id(silent)], 2)
    pods(rotated, daemons[id(rotated)], 1)

    fader = new_pod(in_world=fading, sts_fault={"kind": "expiry", "offset": 98})
    first = genuine(fading, daemons[id(fading)].credentials(fader["ip"]), fader)
    fading.fault("sts", "status", status=503)
    faded = pool.submit(fades, fading, daemons[id(fading)], fader, first)

    for target in ("sts", "kube"):
        dark.post("/listen", target=target, up=False)
    wait_until(lambda: silent.stats()["kube"]["open_watches"]["pods"], 5)
    silent.fault("kube", "silent_watch", match={"verb": "watch"}, duration=20)
    gone = in_silent[0]
    silent.delete_pod(gone["namespace"], gone["name"])
    rotated.post("/token-file", mode="fresh")
    new_token = json.loads(base64.urlsafe_b64decode(rotated.daemon_token().split(".")[1] + "=="))["jti"]

    began = time.monotonic()
    answers = {pod["ip"]: 0 for pod in in_dark}
    detected = None
    while (passed := time.monotonic() - began) < MINUTE:
        for pod in in_dark:
            answer = daemons[id(dark)].credentials(pod["ip"])
            assert answer.status == 200, f"after {passed:.0f} s: {answer}"
            assert answer.json["RoleArn"] == pod["role_arn"]
            answers[pod["ip"]] += 1
        assert daemons[id(dark)].admin("/healthz").status == 200
        if detected is None and daemons[id(silent)].refuses(gone["ip"]):
            detected = time.monotonic() - began
            moved_in = new_pod(in_world=silent)
            genuine(silent, daemons[id(silent)].credentials(moved_in["ip"]), moved_in)
        time.sleep(0.25)
    assert min(answers.values()) >= 60
    assert failed_renewals(daemons[id(dark)]) >= len(restless)
    assert detected is not None and detected <= 60, "the silent watch was not noticed"
    assert daemons[id(silent)].metric("watch_restarts_total", reason="idle") >= 1

    # The new token of the daemon's own is in use within the minute, although nothing was wrong with the old one.
    mark, newcomer = rotated.mark(), new_pod(in_world=rotated)
    genuine(rotated, daemons[id(rotated)].credentials(newcomer["ip"]), newcomer)
    requests = rotated.calls("kube", mark, resource="serviceaccounts/token", code=201)
    assert [call["token_id"] for call in requests] == [new_token]

    faded.result(30)

    # And when they are back, so is everything, new pods included.
    dark.clear()
    for target in ("sts", "kube"):
        dark.post("/listen", target=target, up=True)
    late = new_pod(in_world=dark)
    genuine(dark, wait_until(lambda: served(daemons[id(dark)].credentials(late["ip"])), 40), late)
    for pod in in_dark:
        genuine(dark, daemons[id(dark)].credentials(pod["ip"]), pod)
