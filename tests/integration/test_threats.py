"""What a hostile pod, a server-side request forgery, or the author of an annotation can try."""

import base64
import concurrent.futures
import itertools
import json
import re
import socket
import time

import pytest
from daemon import genuine, served
from simulator import wait_until

LIST = "/latest/meta-data/iam/security-credentials"
ROUTES = ("/v1/credentials", LIST, LIST + "/", "/latest/meta-data/iam/info", "/latest/meta-data/placement/region",
          "/latest/dynamic/instance-identity/document")


def role_name(pod):
    return pod["role_arn"].rsplit("/", 1)[1]


def first_line(received):
    return received.split(b"\r\n", 1)[0]


def status(received):
    return int(first_line(received).split()[1]) if received else None


def head(target, *lines, method="GET", host="127.0.0.1"):
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode("latin-1")


# Paths

def mutations(path):
    yield from (path.upper(), path + ".", path + ";x", path + "%00", path + "%20", path + "%2f", path + "/.", path + "/..",
                path + "\\", path + "//", path.replace("/", "//"), path.replace("/", "/./"), "/." + path, "/.." + path,
                "/x/.." + path, path.replace("/", "%2f"), path.replace("/", "\\"), path.replace("/", "/%2e/"), "//" + path,
                "/" + path + "/", path[1:], path[:-1], path + "x", path.replace("e", "%65", 1), path.replace("e", "\u00e9", 1),
                "http://127.0.0.1" + path, "http://attacker.example" + path, "https://127.0.0.1" + path, "*" + path,
                path + "#x", path.replace("1", "2"), "/proxy" + path, path + "/../../v1/credentials", "/%76" + path[2:],
                path.replace("/", "/;/", 1), path.replace("t", "T", 1), path + "\t", "/ " + path, path + " x", path + "&a=b")


def test_T2_only_the_listed_paths_answer(world, credlet, warm_pod):
    pods = [warm_pod() for _ in range(6)]
    sessions = [credlet.session(pod["ip"]).body.decode() for pod in pods]
    mark = world.mark()
    own = {role_name(pod) for pod in pods}
    corpus = [m for path in ROUTES + (f"{LIST}/{role_name(pods[0])}", f"{LIST}/other-role", "/v1/credentials/other-role",
                                      "/latest/api/token", "/latest/meta-data/", "/latest/user-data", "/metrics")
              for m in mutations(path)]
    assert len(corpus) > 500
    for i, target in enumerate(corpus):
        pod, session = pods[i % len(pods)], sessions[i % len(pods)]
        received = credlet.raw(head(target, f"X-aws-ec2-metadata-token: {session}", "Connection: close"), pod["ip"])
        # Collapsing slashes is part of the IMDS form in one place; nothing else may lead anywhere.
        harmless = target in ROUTES or target.rstrip("/") in ROUTES or \
            target in {f"{LIST}//{name}" for name in own} | {f"{LIST}/{name}" for name in own}
        if status(received) == 200 and not harmless:
            body = received.split(b"\r\n\r\n", 1)[1]
            assert b"SecretAccessKey" not in body, target
            raise AssertionError(f"{target} was answered with {received[:200]}")
        assert status(received) in (200, 400, 401, 403, 404, 405), (target, received)
    assert not world.calls("sts", mark)


# Server-side request forgery

def test_T12_imds_needs_a_session_token_and_a_lifetime(credlet, warm_pod):
    pod = warm_pod()
    for path in ROUTES[1:]:
        assert credlet.get(path, pod["ip"]).status == 401
    for ttl in (None, "", "0", "21601", "-1", "+5", "5s", "1e3", "99999999999999999999", "1 2", "0x10", "٣"):
        lines = [] if ttl is None else [f"X-aws-ec2-metadata-token-ttl-seconds: {ttl}".encode().decode("latin-1")]
        received = credlet.raw(head("/latest/api/token", *lines, "Connection: close", method="PUT"), pod["ip"])
        assert status(received) == 400, (ttl, received)
    twice = ["X-aws-ec2-metadata-token-ttl-seconds: 60"] * 2
    assert status(credlet.raw(head("/latest/api/token", *twice, "Connection: close", method="PUT"), pod["ip"])) == 400


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_T13_what_came_through_a_proxy_is_refused_on_every_route(credlet, warm_pod, name):
    pod = warm_pod()
    session = credlet.session(pod["ip"]).body.decode()
    values = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7", "X-Real-IP": "203.0.113.7",
              "Via": "1.1 proxy"}
    for spelling, value in itertools.product((name, name.lower(), name.upper()), (values[name], "")):
        for path in ROUTES:
            answer = credlet.get(path, pod["ip"], {spelling: value, "X-aws-ec2-metadata-token": session})
            assert answer.status == 403 and b"AccessKeyId" not in answer.body, (path, spelling)
        answer = credlet.request("PUT", "/latest/api/token", pod["ip"], {
            spelling: value, "X-aws-ec2-metadata-token-ttl-seconds": "60"})
        assert answer.status == 403 and session not in answer.body.decode()


def test_T14_with_identity_by_token_a_plain_request_gets_nothing(world, start_credlet, warm_pod):
    pod = warm_pod()
    daemon = start_credlet(world, "--identity", "token")
    assert daemon.credentials(pod["ip"]).status == 403
    assert daemon.session(pod["ip"]).status == 403
    assert daemon.get(LIST, pod["ip"]).status == 401


def test_T14_a_session_token_is_good_for_its_pod_only(credlet, warm_pod, address):
    mine, other = warm_pod(), warm_pod()
    session = credlet.session(mine["ip"]).body.decode()
    assert credlet.imds("meta-data/iam/security-credentials/", mine["ip"], session).status == 200
    for source in (other["ip"], address):
        assert credlet.imds("meta-data/iam/security-credentials/", source, session).status == 401
    for i in range(0, len(session), max(1, len(session) // 20)):
        altered = session[:i] + ("A" if session[i] != "A" else "B") + session[i + 1:]
        assert credlet.imds("meta-data/iam/security-credentials/", mine["ip"], altered).status == 401


def test_T15_the_host_must_be_one_of_ours(credlet, warm_pod):
    pod = warm_pod()
    port = credlet.address[1]
    good = ("127.0.0.1", f"127.0.0.1:{port}", "localhost", f"localhost:{port}", "LOCALHOST", "169.254.170.23",
            "169.254.170.2", "169.254.169.254", "[fd00:ec2::23]", "[fd00:ec2::23]:80")
    bad = ("attacker.example", f"attacker.example:{port}", "127.0.0.1.attacker.example", "127.0.0.1@attacker.example",
           "user@127.0.0.1", "attacker.example#127.0.0.1", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "10.0.0.1",
           "[::1%25lo]", "[::ffff:10.0.0.1]", "localhost.", "localhost.attacker.example", "127.0.0.1:x", "127.0.0.1:80:80",
           "", " ", "169.254.170.24", "[fd00:ec2::24]", "xn--lcalhost-e3a", "127.0.0.1, attacker.example")
    for host in good:
        received = credlet.raw(head("/v1/credentials", "Connection: close", host=host), pod["ip"])
        assert status(received) == 200, (host, received)
    for host in bad:
        received = credlet.raw(head("/v1/credentials", "Connection: close", host=host), pod["ip"])
        assert status(received) in (400, 403) and b"AccessKeyId" not in received, (host, received)
    without = b"GET /v1/credentials HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert status(credlet.raw(without, pod["ip"])) == 400
    assert status(credlet.raw(head("/v1/credentials", "Host: 127.0.0.1", "Connection: close"), pod["ip"])) == 400


def test_T15_web_pages_are_refused_and_never_encouraged(credlet, warm_pod):
    pod = warm_pod()
    for name, value in (("Origin", "https://attacker.example"), ("Origin", "null"), ("Origin", "http://127.0.0.1"),
                        ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("sec-fetch-dest", "document")):
        answer = credlet.get("/v1/credentials", pod["ip"], {name: value})
        assert answer.status == 403
        assert not [h for h in answer.headers if h.lower().startswith("access-control-")]
    answer = credlet.request("OPTIONS", "/v1/credentials", pod["ip"], {"Origin": "https://attacker.example"})
    assert answer.status in (403, 405) and not [h for h in answer.headers if h.lower().startswith("access-control-")]


# The wire

SMUGGLING = {
    "both lengths": "Content-Length: 0\r\nTransfer-Encoding: chunked",
    "both lengths, with a body": "Content-Length: 4\r\nTransfer-Encoding: chunked",
    "chunked": "Transfer-Encoding: chunked",
    "identity": "Transfer-Encoding: identity",
    "obscured chunked": "Transfer-Encoding: xchunked",
    "chunked with a vertical tab": "Transfer-Encoding: \x0bchunked",
    "two lengths": "Content-Length: 0\r\nContent-Length: 0",
    "two different lengths": "Content-Length: 0\r\nContent-Length: 5",
    "a list of lengths": "Content-Length: 0, 0",
    "a signed length": "Content-Length: +0",
    "a negative length": "Content-Length: -1",
    "a hexadecimal length": "Content-Length: 0x0",
    "an empty length": "Content-Length:",
    "a length": "Content-Length: 5",
    "a huge length": "Content-Length: 99999999999999999999",
    "space before the colon": "Content-Length : 0",
    "a tab before the colon": "X-A\t: 1",
    "a folded line": "X-A: 1\r\n folded",
    "a folded line with a tab": "X-A: 1\r\n\tfolded",
    "a line without a colon": "nonsense",
    "an empty name": ": x",
    "a name with a space": "X A: 1",
    "a name with NUL": "X\x00A: 1",
    "a value with NUL": "X-A: a\x00b",
    "a bare CR in a value": "X-A: a\rb",
    "a bare LF": "X-A: a\nX-B: b",
    "two hosts": "Host: 127.0.0.1",
    "two different hosts": "Host: other",
    "expect": "Expect: 100-continue",
    "a name beyond ASCII": "X-\xe9: 1",
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_T16_ambiguous_framing_is_refused_and_the_connection_closed(credlet, warm_pod, name):
    pod = warm_pod()
    data = head("/v1/credentials", SMUGGLING[name]) + head("/v1/credentials")
    received = credlet.raw(data, pod["ip"])
    assert status(received) == 400, received
    assert received.count(b"HTTP/1.1 ") == 1 and b"AccessKeyId" not in received
    assert b"\r\nConnection: close\r\n" in received


@pytest.mark.parametrize("line", [b"GET /v1/credentials HTTP/1.1\nHost: 127.0.0.1\n\n", b"GET  /v1/credentials HTTP/1.1\r\n",
                                  b"GET /v1/credentials  HTTP/1.1\r\n", b" GET /v1/credentials HTTP/1.1\r\n",
                                  b"GET\t/v1/credentials\tHTTP/1.1\r\n", b"GET /v1/credentials\r\n", b"GET /v1/credentials HTTP/1.1 x\r\n",
                                  b"GET /v1/credentials HTTP/2.0\r\n", b"GET /v1/credentials HTTP/1.10\r\n", b"GET /v1/credentials http/1.1\r\n",
                                  b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"G\x00T / HTTP/1.1\r\n"])
def test_T16_malformed_request_lines_are_refused(credlet, warm_pod, line):
    pod = warm_pod()
    received = credlet.raw(line + b"Host: 127.0.0.1\r\n\r\n" + head("/v1/credentials"), pod["ip"], timeout=7)
    assert status(received) in (400, 408, 505), received
    assert received.count(b"HTTP/1.1 ") == 1 and b"AccessKeyId" not in received


def test_T17_pipelining_without_reading_costs_the_daemon_nothing(credlet, warm_pod):
    pod, other = warm_pod(), warm_pod()
    before = credlet.memory()
    with socket.create_connection(credlet.address, 5, (pod["ip"], 0)) as connection:
        connection.setblocking(False)
        batch, sent = head("/v1/credentials") * 1000, 0
        quiet = time.monotonic() + 1
        while sent < 100 * len(batch) and time.monotonic() < quiet:
            try:
                sent += connection.send(batch)
                quiet = time.monotonic() + 1
            except BlockingIOError:
                time.sleep(0.01)
            except ConnectionError:
                break
        assert credlet.credentials(other["ip"]).status == 200
        assert credlet.memory() - before <= 1 << 20


def test_T20_session_tokens_take_no_room(credlet, warm_pod):
    mine, other = warm_pod(), warm_pod()
    session = credlet.session(other["ip"], 21600).body.decode()
    connection = credlet.connect(mine["ip"])
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}

    def put():
        connection.request("PUT", "/latest/api/token", headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status
    for _ in range(300):
        put()
    before = credlet.memory()
    statuses = [put() for _ in range(4000)]
    connection.close()
    assert set(statuses) <= {200, 429}
    assert credlet.memory() - before <= 512 << 10
    assert credlet.imds("meta-data/iam/security-credentials/", other["ip"], session).status == 200


# Tokens

FORGED_HEADERS = [{"algorithm": name} for name in ("none", "HS256", "HS384", "HS512", "PS256", "PS384", "PS512", "RS384", "RS512")]
FORGED_HEADERS += [{"header": {"alg": alg}} for alg in (
    "none", "None", "NONE", "nOnE", "", "RS256 ", "rs256", "ES256", "ES384", "EdDSA", "HS256", None, 256, ["RS256"], "RS1",
    "ES256K", "A128KW", "dir")]
FORGED_HEADERS += [{"key": "foreign"}, {"key": "foreign", "header": {"jku": "https://attacker.example/jwks"}},
                   {"key": "foreign", "header": {"x5u": "https://attacker.example/cert"}},
                   {"key": "foreign", "header": {"jwk": {"kty": "oct", "k": "AA"}}},
                   {"key": "foreign", "header": {"kid": "../../dev/null"}}, {"key": "foreign", "header": {"kid": ""}},
                   {"key": "foreign", "header": {"kid": None}}, {"key": "foreign", "omit": ["kid"]},
                   {"key": "foreign", "header": {"kid": "' OR 1=1"}}, {"key": "foreign", "header": {"kid": 7}},
                   {"key": "foreign", "header": {"x5c": ["AAAA"]}},
                   {"header": {"crit": ["exp"]}}, {"header": {"crit": []}}, {"header": {"b64": False, "crit": ["b64"]}},
                   {"header": {"zip": "DEF"}, "tamper": "payload"}, {"omit": ["alg"]}, {"tamper": "signature"}, {"tamper": "payload"}]


def test_T21_forged_tokens_are_refused(world, credlet, warm_pod):
    pod = warm_pod()
    assert len(FORGED_HEADERS) >= 40
    good = world.mint(pod=f"prod/{pod['name']}")
    first, second, third = good.split(".")
    rearranged = [f"{first}.{second}.", f"{first}.{second}", f"{first}..{third}", f".{second}.{third}", f"{first}.{second}.{third}.x",
                  f"{first}.{second}.{third}=", f"{first}.{second}.{third[:-4]}", f"{first}.{second}.{third}AAAA",
                  f"{first}.{second}.{'A' * len(third)}", f"{third}.{second}.{first}", f"{first}.{second}.{third[:40]}!{third[41:]}"]
    forged = [world.mint(pod=f"prod/{pod['name']}", **how) for how in FORGED_HEADERS] + rearranged
    before = world.mark()
    with concurrent.futures.ThreadPoolExecutor(len(forged)) as pool:
        answers = list(pool.map(lambda i: credlet.credentials(f"127.70.0.{i + 1}", token=forged[i]), range(len(forged))))
    for how, answer in zip(FORGED_HEADERS + rearranged, answers):
        # A key that is not known may be one that came into use just now: 503 until the keys have been fetched again.
        unknown_key = isinstance(how, dict) and isinstance(how.get("header", {}).get("kid"), str)
        assert answer.status in ((400, 403, 503) if unknown_key else (400, 403)), (how, answer)
        assert b"AccessKeyId" not in answer.body
    assert not world.calls("sts", before)
    genuine(world, credlet.credentials("127.70.1.1", token=good), pod)


def test_T22_every_claim_counts(world, credlet, warm_pod):
    pod, other = warm_pod(), warm_pod()
    elsewhere = world.pod("prod", f"{pod['service_account']}-far", service_account=pod["service_account"], node="node-2")
    account = {"name": pod["service_account"]}
    wrong = [
        {"claims": {"iss": "https://other.example"}}, {"claims": {"iss": None}}, {"claims": {"iss": world.issuer + "/"}},
        {"audiences": ["https://kubernetes.default.svc"]}, {"claims": {"aud": None}}, {"claims": {"aud": []}},
        {"claims": {"aud": {"sts.amazonaws.com": True}}}, {"claims": {"aud": "https://other"}},
        {"expires_in": -10, "issued_in": -3600}, {"claims": {"exp": None}}, {"claims": {"exp": "9999999999"}},
        {"claims": {"exp": -1}}, {"claims": {"exp": 1e300}}, {"claims": {"nbf": 9999999999}}, {"issued_in": 3600, "expires_in": 7200},
        {"claims": {"sub": None}}, {"claims": {"sub": "system:serviceaccount:prod:" + other["service_account"]}},
        {"claims": {"sub": f"system:serviceaccount:other:{pod['service_account']}"}}, {"claims": {"sub": "system:admin"}},
        {"claims": {"kubernetes.io": None}}, {"claims": {"kubernetes.io": {"pod": None}}}, {"claims": {"kubernetes.io": []}},
        {"claims": {"kubernetes.io": {"pod": {"uid": ""}}}}, {"claims": {"kubernetes.io": {"pod": {"uid": 7}}}},
        {"claims": {"kubernetes.io": {"pod": {"uid": "00000000-0000-0000-0000-000000000000"}}}},
        {"claims": {"kubernetes.io": {"pod": {"name": elsewhere["name"], "uid": elsewhere["uid"]}, "node": {"name": "node-2"}}}},
        {"claims": {"kubernetes.io": {"namespace": "other"}}},
        {"claims": {"kubernetes.io": {"pod": {"name": other["name"], "uid": other["uid"]}, "serviceaccount": account}}},
        {"claims": {"kubernetes.io": {"serviceaccount": {**account, "uid": "00000000-0000-0000-0000-000000000000"}}}},
    ]
    for i, how in enumerate(wrong):
        answer = credlet.credentials(f"127.71.0.{i + 1}", token=world.mint(pod=f"prod/{pod['name']}", **how))
        # What the cluster's key has signed in another issuer's name may be the first token of a new one: until that has
        # been looked up, which is done once in half a minute, nobody can tell.
        refusals = (400, 403, 503) if "iss" in how.get("claims", {}) else (400, 403)
        assert answer.status in refusals and b"AccessKeyId" not in answer.body, (how, answer)
    genuine(world, credlet.credentials("127.71.1.1", token=world.mint(pod=f"prod/{pod['name']}")), pod)


def test_T23_a_token_dies_with_its_pod(world, credlet, warm_pod, address):
    pod = warm_pod()
    token = world.mint(pod=f"prod/{pod['name']}")
    genuine(world, credlet.credentials(address, token=token), pod)
    world.delete_pod("prod", pod["name"])
    wait_until(lambda: credlet.credentials(address, token=token).status == 403, 1, "the token's end")


def test_T24_another_pods_token_is_refused(world, credlet, warm_pod):
    mine, other = warm_pod(), warm_pod()
    token = world.mint(pod=f"prod/{other['name']}")
    genuine(world, credlet.credentials(other["ip"], token=token), other)
    before = credlet.metric("rejections_total", reason="identity_mismatch")
    for _ in range(3):
        assert credlet.credentials(mine["ip"], token=token).status == 403
    assert credlet.metric("rejections_total", reason="identity_mismatch") == before + 3


def test_T25_unknown_keys_do_not_make_the_daemon_fetch_keys_without_end(world, credlet, warm_pod):
    pod = warm_pod()
    good = world.mint(pod=f"prod/{pod['name']}")
    token = world.mint(pod=f"prod/{pod['name']}", key="foreign")
    body, signature = token.split(".")[1:]
    mark, started = world.mark(), time.monotonic()

    def attack(i):
        header = base64.urlsafe_b64encode(json.dumps({"alg": "RS256", "kid": f"kid-{i}"}).encode()).decode().rstrip("=")
        return credlet.credentials(f"127.72.{i % 8}.{i // 8 + 1}", token=f"{header}.{body}.{signature}").status
    with concurrent.futures.ThreadPoolExecutor(120) as pool:
        statuses = set(pool.map(attack, range(360)))
        assert statuses <= {403, 429, 503}
    fetches = world.calls("kube", mark, path="/openid/v1/jwks")
    assert len(fetches) <= 1 + (time.monotonic() - started) / 30
    genuine(world, credlet.credentials("127.72.100.1", token=good), pod)


def test_T26_huge_and_deep_tokens_and_headers(world, credlet, warm_pod):
    pod = warm_pod()

    def part(value):
        return base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")
    deep = part('{"a":' * 1000 + "1" + "}" * 1000)
    wide = part("{" + ",".join(f'"k{i}":{i}' for i in range(1000)) + "}")
    real = part('{"alg":"RS256","kid":"x"}')
    before = credlet.memory()
    for i, token in enumerate((f"{deep}.{real}.AAAA", f"{real}.{deep}.AAAA", f"{real}.{wide}.AAAA", f"{real}.{'A' * 19000}.AAAA",
                               f"{real}.{real}." + "A" * 20000, "A" * 20001, "." * 5000)):
        answer = credlet.credentials(f"127.73.0.{i + 1}", token=token)
        assert answer.status in (400, 403), answer
    for size in (24 << 10, 64 << 10, 1 << 20):
        received = credlet.raw(head("/v1/credentials", "X-Big: " + "x" * size), pod["ip"])
        assert status(received) in (400, 431, None) and b"AccessKeyId" not in received
    received = credlet.raw(head("/v1/credentials", *[f"X-{i}: 1" for i in range(500)]), pod["ip"])
    assert status(received) == 431
    assert credlet.memory() - before <= 2 << 20


def test_T27_a_flood_of_bad_signatures_is_not_verified(world, credlet, warm_pod):
    mine, other = warm_pod(), warm_pod()
    token = world.mint(pod=f"prod/{mine['name']}", key="foreign")
    head_and_body = token.rsplit(".", 1)[0]
    statuses, worst = [], 0.0
    connection = credlet.connect(mine["ip"])
    for i in range(300):
        signature = base64.urlsafe_b64encode(i.to_bytes(4, "big") * 64).decode().rstrip("=")
        connection.request("GET", "/v1/credentials", headers={"Authorization": f"{head_and_body}.{signature}"})
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
        if i % 10 == 0:
            started = time.monotonic()
            assert credlet.credentials(other["ip"]).status == 200
            worst = max(worst, time.monotonic() - started)
    connection.close()
    assert set(statuses) == {403, 429} and statuses.count(429) > statuses.count(403) and worst < 0.5


# Annotations

def test_T28_a_role_policy_is_anchored_and_exact(start_world, start_credlet, tmp_path):
    world = start_world()
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"rules": [{"namespaces": ["team-a"], "roles": ["arn:aws:iam::123456789012:role/dev/*",
                                                                                 "arn:aws:iam::123456789012:role/a"]}]}))
    daemon = start_credlet(world, "--role-policy-file", str(policy))
    cases = [("team-a", "dev/x", True), ("team-a", "a", True), ("team-a", "ab", False), ("team-a", "ModifyRoute53", False),
             ("team-a", "prod/dev/x", False), ("team-ab", "a", False), ("xteam-a", "a", False), ("team-b", "dev/x", False)]
    for i, (namespace, role, allowed) in enumerate(cases):
        arn = world.role(role, subjects="system:serviceaccount:*:*")
        world.service_account(namespace, f"sa-{i}", role_arn=arn)
        pod = world.pod(namespace, f"policy-{i}", service_account=f"sa-{i}", ip=f"127.74.0.{i + 1}")
        mark = world.mark()
        answer = daemon.credentials(pod["ip"])
        if allowed:
            genuine(world, answer, {**pod, "role_arn": arn})
        else:
            assert answer.status == 403 and answer.code == "RoleNotAllowed" and not world.calls("sts", mark, role=arn)


HOSTILE_ARNS = ["arn:aws:iam::123456789012:role/x\r\nHost: attacker.example", "arn:aws:iam::123456789012:role/x&Action=GetCallerIdentity",
                "arn:aws:iam::123456789012:role/<x/>",
                "arn:aws:iam::123456789012:role/" + "x" * (200 << 10), "arn:aws:iam::123456789012:role/r\u00f6le", "arn:aws:iam::12345678901\u0662:role/x",
                "arn:aws:iam::123456789012:role/", "arn:aws:iam::123456789012:user/x", "arn:aws:iam:us-east-1:123456789012:role/x",
                "arn:evil:iam::123456789012:role/x", "arn:aws:iam::12345678901:role/x", "role/x", "", " ", "arn:aws:iam::123456789012:role/x\x00y",
                "arn:aws:iam::123456789012:role/%0d%0a", "arn:aws:iam::123456789012:role/a b", "${jndi:ldap://x}", "arn:aws:iam::123456789012:role/" + "y" * 65]


def test_T29_hostile_annotations_reach_nobody(world, credlet):
    mark = world.mark()
    for i, arn in enumerate(HOSTILE_ARNS):
        world.service_account("hostile", f"sa-{i}", role_arn=arn)
        world.pod("hostile", f"pod-{i}", service_account=f"sa-{i}", ip=f"127.75.0.{i + 1}")
        answer = credlet.credentials(f"127.75.0.{i + 1}")
        assert answer.status in (400, 403) and b"AccessKeyId" not in answer.body, (arn[:80], answer)
        assert answer.code and all(0x20 <= ord(c) for c in answer.json["message"])
    assert not world.calls("sts", mark)


def test_T29_a_path_that_looks_like_a_parameter_is_part_of_the_role(world, credlet, address):
    arn = world.role("x&RoleArn=arn:aws:iam::123456789012:role/admin", subjects="system:serviceaccount:hostile:path")
    world.service_account("hostile", "path", role_arn=arn)
    pod = world.pod("hostile", "path", service_account="path", ip=address)
    issued = genuine(world, credlet.credentials(address), {**pod, "role_arn": arn})
    assert issued["parameters"]["RoleArn"] == arn


@pytest.mark.parametrize("annotations", [
    {"external_id": "a&Action=GetCallerIdentity"}, {"external_id": "a\r\nX: y"}, {"external_id": "x" * 2000}, {"external_id": "\u00fc"},
    {"session_duration": "3600&RoleArn=x"}, {"session_duration": "-1"}, {"session_duration": "1e4"}, {"session_duration": "99999999999999"},
    {"audience": "sts.amazonaws.com\"}},{\"x\":\""}, {"audience": "x" * 100000}, {"additional_role_arns": "nonsense," * 1000},
    {"target_role_arn": "arn:aws:iam::123456789012:role/x&y"}])
def test_T29_whatever_is_annotated_sts_gets_one_value_per_field(world, credlet, new_pod, annotations):
    mark = world.mark()
    pod = new_pod(annotations=annotations)
    answer = credlet.imds_credentials(pod["ip"], role_name(pod))
    assert answer.status in (200, 400, 403, 404, 503)
    for call in world.calls("sts", mark):
        assert call["result"] not in ("ValidationError", "MissingAction", "InvalidAction", "SignatureDoesNotMatch"), call
        assert set(call["parameters"]) <= {"Action", "Version", "RoleArn", "RoleSessionName", "DurationSeconds", "ExternalId"}
    assert credlet.admin("/healthz").status == 200


def test_T29_session_names_are_made_to_fit(world, credlet, address):
    account = "a" * 63 + ".b" * 60
    role = world.role("long-names", subjects="system:serviceaccount:*:*")
    world.service_account("n" * 63, account, role_arn=role)
    pod = world.pod("n" * 63, "p" * 253, service_account=account, ip=address)
    issued = genuine(world, credlet.credentials(address), {**pod, "role_arn": role})
    assert re.fullmatch(r"[\w+=,.@-]{2,64}", issued["session_name"])


def test_T30_nobody_shares_what_was_issued_for_another(world, credlet):
    role = world.role("shared", subjects="system:serviceaccount:prod:share-*", max_session_duration=43200)
    target = world.role("shared-target", trusted_roles=[role])
    annotated = [{}, {}, {"session_duration": "7200"}, {"target_role_arn": target}, {"target_role_arn": target, "external_id": "ab"},
                 {"target_role_arn": target, "external_id": "abc"}]
    keys = []
    for i, more in enumerate(annotated):
        world.service_account("prod", f"share-{i}", role_arn=role, **more)
        pod = world.pod("prod", f"share-pod-{i}", service_account=f"share-{i}", ip=f"127.76.0.{i + 1}")
        answer = credlet.credentials(f"127.76.0.{i + 1}")
        issued = genuine(world, answer, {**pod, "role_arn": more.get("target_role_arn", role)})
        keys.append(issued["access_key_id"])
    assert len(set(keys)) == len(annotated)


def test_T30_an_account_made_anew_is_another_one(world, credlet, warm_pod):
    pod = warm_pod()
    world.delete_pod("prod", pod["name"])
    world.call("DELETE", f"/serviceaccounts/prod/{pod['service_account']}")
    account = world.service_account("prod", pod["service_account"], role_arn=pod["role_arn"])
    again = world.pod("prod", pod["name"], service_account=pod["service_account"], ip=pod["ip"])

    def heard():  # the watches have delivered it: until then the address is the old pod's
        known = credlet.admin(f"/explain?namespace=prod&pod={pod['name']}").body.decode()
        return account["uid"] in known and again["uid"] in known
    wait_until(heard, 5, "the new pod and its account")
    answer = wait_until(lambda: served(credlet.credentials(pod["ip"])), 5)
    issued = genuine(world, answer, pod)
    assert issued["access_key_id"] != pod["access_key_id"] and issued["pod"]["uid"] == again["uid"]


def test_T31_no_annotation_says_where_sts_is(world, credlet, new_pod):
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        url = f"https://127.0.0.1:{trap.getsockname()[1]}"
        pod = new_pod(annotations={"sts_endpoint": url, "endpoint": url, "region": url, "sts_regional_endpoints": "false"})
        genuine(world, credlet.credentials(pod["ip"]), pod)
        with pytest.raises(TimeoutError):
            trap.accept()


# The API server

@pytest.mark.parametrize("certificate", ["expired", "not_yet_valid", "wrong_name", "cn_only", "unknown_ca", "self_signed",
                                         "client_only", "tls11", "plaintext", "garbage"])
def test_T34_who_poses_as_the_api_server_gets_no_byte_of_a_token(world, start_credlet, certificate):
    world.post("/tls", target="kube", certificate=certificate)
    began, before = time.time(), world.stats()["kube"]["accepted"]
    daemon = start_credlet(world, ready=False)
    wait_until(lambda: daemon.metric("watch_restarts_total", resource="pods") >= 1, 5, "a first attempt's failure")
    kube = world.stats()["kube"]
    assert kube["accepted"] > before and "Bearer" not in kube["heard"] and "eyJ" not in kube["heard"]
    assert not [call for call in world.calls("kube") if call["started"] > began]  # watches of before end now and then
    assert daemon.admin("/readyz").status == 503
    world.post("/tls", target="kube", certificate="good")
    wait_until(lambda: daemon.admin("/readyz").status == 200, 10, "readiness")


# What comes back from STS

CREDENTIALS = ("<Credentials><AccessKeyId>ASIAFORGEDFORGED0000</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
               "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>")
ENTITIES = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "lol"}">' for i in range(9))


def xml(inside, prolog=""):
    return (f'{prolog}<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>'
            f"{inside}</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>")


def test_T33_an_answer_that_tries_to_steer_is_refused(world, credlet, new_pod):
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        elsewhere = f"https://127.0.0.1:{trap.getsockname()[1]}/"
        faults = [{"kind": "status", "status": s, "headers": {"Location": elsewhere}, "body": xml(CREDENTIALS)} for s in (301, 302, 303, 307, 308)]
        faults += [{"kind": "garbage", "content_type": "text/xml", "body": body} for body in (
            xml(CREDENTIALS.replace("<AccessKeyId>", "<AccessKeyId>&l8;"), f"<!DOCTYPE x [{ENTITIES}]>"),
            xml(CREDENTIALS.replace("<SecretAccessKey>s", "<SecretAccessKey>&e;"), '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'),
            xml("<a>" * 5000 + "</a>" * 5000), xml(CREDENTIALS.replace("ASIAFORGEDFORGED0000", "A" * 70000)),
            xml(CREDENTIALS.replace("2099-01-01T00:00:00Z", "soon")))]
        faults += [{"kind": "raw", "text": "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"},
                   {"kind": "raw", "text": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"},
                   {"kind": "raw", "text": "SSH-2.0-OpenSSH_9.2\r\n"}, {"kind": "raw", "text": "HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 20000 + "\r\n"},
                   {"kind": "raw", "text": "HTTP/1.1 100 Continue\r\n\r\n" * 1000}]
        pods = [new_pod(sts_fault=fault) for fault in faults]
        started = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(len(pods)) as pool:
            answers = list(pool.map(lambda p: credlet.imds_credentials(p["ip"], role_name(p)), pods))
        for fault, answer in zip(faults, answers):
            assert b"ASIA" not in answer.body, (fault, answer)
            assert answer.status == 503 or answer.status == 200 and answer.json["Code"] != "Success", (str(fault)[:200], answer)
        assert time.monotonic() - started < 5
        with pytest.raises(TimeoutError):
            trap.accept()
    assert credlet.admin("/healthz").status == 200
