"""STS refuses what STS refuses."""

import datetime
import email.utils
import json
import time
import urllib.parse
import xml.etree.ElementTree as xml

import pytest

from simulator import Simulator

NAMES = {"sts": "https://sts.amazonaws.com/doc/2011-06-15/"}
PROVIDER = "oidc.credlet.test/cluster-1"


@pytest.fixture(scope="module")
def world(sim):
    pod = sim.workload("app", "127.0.0.21")
    sim.role("chained", trusted_roles=[pod["role_arn"]])
    sim.role("chained-external", trusted_roles=[pod["role_arn"]], external_id="ext-1")
    return pod


def ask(sim, token, drop=(), raw=None, headers=None, **changes):
    fields = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleSessionName": "session",
              "RoleArn": "arn:aws:iam::123456789012:role/app", "WebIdentityToken": token, **changes}
    body = raw if raw is not None else urllib.parse.urlencode({k: v for k, v in fields.items() if k not in drop})
    status, answer_headers, body = sim.request("sts", "POST", "/", body, {
        "Content-Type": "application/x-www-form-urlencoded", **(headers or {})})
    return status, answer_headers, body


def refusal(answer):
    """(status, code, message) of an error answer."""
    status, headers, body = answer
    assert headers["x-amzn-requestid"] and headers["Date"]
    root = xml.fromstring(body)
    return status, root.findtext("sts:Error/sts:Code", None, NAMES), root.findtext("sts:Error/sts:Message", None, NAMES)


def test_a_genuine_token_is_traded_for_credentials(sim, world):
    token = sim.mint(pod="prod/app-pod")
    status, headers, body = ask(sim, token)
    root = xml.fromstring(body)
    result = root.find("sts:AssumeRoleWithWebIdentityResult", NAMES)
    assert status == 200 and headers["Content-Type"].startswith("text/xml")
    assert result.findtext("sts:SubjectFromWebIdentityToken", None, NAMES) == "system:serviceaccount:prod:app"
    assert result.findtext("sts:Audience", None, NAMES) == "sts.amazonaws.com"
    assert result.findtext("sts:AssumedRoleUser/sts:Arn", None, NAMES) == \
        "arn:aws:sts::123456789012:assumed-role/app/session"
    key_id = result.findtext("sts:Credentials/sts:AccessKeyId", None, NAMES)
    assert key_id.startswith("ASIA") and len(key_id) == 20
    issued = sim.issued(key_id, secrets=True)
    assert issued["secret_access_key"] == result.findtext("sts:Credentials/sts:SecretAccessKey", None, NAMES)
    assert issued["role_arn"] == world["role_arn"] and issued["sub"] == "system:serviceaccount:prod:app"
    assert issued["pod"]["uid"] == world["uid"]


def test_json_is_given_to_who_accepts_json(sim, world):
    _, _, body = ask(sim, sim.mint(pod="prod/app-pod"), headers={"Accept": "application/json"})
    result = json.loads(body)["AssumeRoleWithWebIdentityResponse"]["AssumeRoleWithWebIdentityResult"]
    assert isinstance(result["Credentials"]["Expiration"], float)


@pytest.mark.parametrize("forgery, code", [
    ({"algorithm": "none"}, "InvalidIdentityToken"),
    ({"algorithm": "HS256"}, "InvalidIdentityToken"),
    ({"algorithm": "PS256"}, "InvalidIdentityToken"),
    ({"algorithm": "RS512"}, "InvalidIdentityToken"),
    ({"tamper": "signature"}, "InvalidIdentityToken"),
    ({"tamper": "payload"}, "InvalidIdentityToken"),
    ({"key": "foreign"}, "InvalidIdentityToken"),
    ({"header": {"kid": "unknown"}}, "InvalidIdentityToken"),
    ({"omit": ["kid"]}, "InvalidIdentityToken"),
    ({"header": {"crit": ["exp"]}}, "InvalidIdentityToken"),
    ({"audiences": ["somebody.else"]}, "InvalidIdentityToken"),
    ({"claims": {"iss": "https://other.example"}}, "InvalidIdentityToken"),
    ({"claims": {"exp": None}}, "InvalidIdentityToken"),
    ({"claims": {"sub": None}}, "InvalidIdentityToken"),
    ({"claims": {"aud": None}}, "InvalidIdentityToken"),
    ({"claims": {"exp": 1e11}}, "InvalidIdentityToken"),
    ({"claims": {"nbf": 99999999999}}, "InvalidIdentityToken"),
    ({"expires_in": -5, "issued_in": -3600}, "ExpiredTokenException"),
    ({"claims": {"sub": "system:serviceaccount:prod:other"}}, "AccessDenied"),
])
def test_a_token_that_is_not_right_is_refused(sim, world, forgery, code):
    status, got, _ = refusal(ask(sim, sim.mint(pod="prod/app-pod", **forgery)))
    assert got == code and status == (403 if code == "AccessDenied" else 400)


@pytest.mark.parametrize("token", ["nope", "a.b.c", "....", "e30.e30.e30"])
def test_what_is_no_token_is_refused(sim, world, token):
    assert refusal(ask(sim, token))[:2] == (400, "InvalidIdentityToken")


@pytest.mark.parametrize("changes, message", [
    ({"drop": ("RoleArn",)}, "Value null at 'roleArn'"),
    ({"drop": ("RoleSessionName",)}, "Value null at 'roleSessionName'"),
    ({"drop": ("WebIdentityToken",)}, "Value null at 'webIdentityToken'"),
    ({"RoleArn": "arn:aws:iam::1:role/x"}, "is invalid"),
    ({"RoleArn": "arn:aws:iam::123456789012:user/not-a-role"}, "is invalid"),
    ({"RoleArn": "short"}, "Member must have length greater than or equal to 20"),
    ({"RoleArn": "arn:aws:iam::123456789012:role/" + "x" * 2048}, "Member must have length less than or equal to 2048"),
    ({"RoleSessionName": "x"}, "Member must have length greater than or equal to 2"),
    ({"RoleSessionName": "x" * 65}, "Member must have length less than or equal to 64"),
    ({"RoleSessionName": "a b"}, "regular expression pattern"),
    ({"RoleSessionName": "prod:app"}, "regular expression pattern"),
    ({"RoleSessionName": "ünïcode"}, "regular expression pattern"),
    ({"DurationSeconds": "899"}, "Member must have value greater than or equal to 900"),
    ({"DurationSeconds": "43201"}, "Member must have value less than or equal to 43200"),
    ({"DurationSeconds": "3600s"}, "not a valid integer"),
    ({"DurationSeconds": "7200"}, "exceeds the MaxSessionDuration set for this role."),
    ({"WebIdentityToken": "x" * 20001}, "Member must have length less than or equal to 20000"),
    ({"ProviderId": "www.amazon.com"}, "ProviderId"),
    ({"ExternalId": "tenant-7"}, "has no parameter ExternalId"),
    ({"Tags.member.1.Key": "k", "Tags.member.1.Value": "v"}, "has no parameter Tags.member.1.Key"),
    ({"Surprise": "1"}, "has no parameter Surprise"),
    ({"Policy": ""}, "Member must have length greater than or equal to 1"),
    ({"Policy": "{" + " " * 2048}, "Member must have length less than or equal to 2048"),
    ({"PolicyArns.member.1.arn": "arn:aws:iam::aws:"}, "'policyArns.1.member.arn' failed to satisfy constraint: Member must "
                                                      "have length greater than or equal to 20"),
    ({"PolicyArns.member.1.arn": "arn:aws:iam::aws:policy/" + "x" * 2048}, "Member must have length less than or equal to 2048"),
    ({"PolicyArns.member.11.arn": "arn:aws:iam::aws:policy/ReadOnly"}, "'policyArns' failed to satisfy constraint: Member "
                                                                      "must have length less than or equal to 10"),
    ({"PolicyArns.member.0.arn": "arn:aws:iam::aws:policy/ReadOnly"}, "has no parameter PolicyArns.member.0.arn"),
    ({"PolicyArns.member.1": "arn:aws:iam::aws:policy/ReadOnly"}, "has no parameter PolicyArns.member.1"),
])
def test_every_parameter_has_its_limits(sim, world, changes, message):
    fields = {"token": sim.mint(pod="prod/app-pod"), **changes}
    fields.setdefault("WebIdentityToken", fields["token"])
    status, code, text = refusal(ask(sim, **fields))
    assert (status, code) == (400, "ValidationError") and message in text


@pytest.mark.parametrize("policy", ["nonsense", "[]", "{}", '"text"'])
def test_a_session_policy_is_a_policy(sim, world, policy):
    assert refusal(ask(sim, sim.mint(pod="prod/app-pod"), Policy=policy))[:2] == (400, "MalformedPolicyDocument")


def test_what_is_within_the_limits_is_taken(sim, world):
    arns = {f"PolicyArns.member.{i}.arn": f"arn:aws:iam::aws:policy/Policy{i}" for i in range(1, 11)}
    assert ask(sim, sim.mint(pod="prod/app-pod"), Policy='{"Version":"2012-10-17","Statement":[]}', **arns)[0] == 200


def test_sts_has_one_clock(sim, world):
    """Tokens, credentials, Date and Expiration all go by it."""
    token = sim.mint(pod="prod/app-pod")
    for ahead, code in ((7200, "ExpiredTokenException"), (-7200, "InvalidIdentityToken")):
        sim.settings(clock_offset=ahead)
        assert refusal(ask(sim, token))[1] == code
        status, headers, body = ask(sim, sim.mint(pod="prod/app-pod"))
        date = email.utils.parsedate_to_datetime(headers["Date"])
        expiration = xml.fromstring(body).findtext(".//sts:Expiration", None, NAMES)
        lifetime = datetime.datetime.fromisoformat(expiration) - date
        assert status == 200 and 3598 <= lifetime.total_seconds() <= 3600
        assert abs(date.timestamp() - time.time() - ahead) < 5


def test_a_parameter_given_twice_is_refused(sim, world):
    raw = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=a&RoleArn=b"
    assert refusal(ask(sim, "", raw=raw))[1] == "ValidationError"


@pytest.mark.parametrize("changes", [{"Version": "2010-01-01"}, {"Action": "AssumeEverything"},
                                     {"Action": "answer"}, {"drop": ("Version",)}])
def test_an_unknown_action_or_version_is_refused(sim, world, changes):
    assert refusal(ask(sim, "token", **changes))[:2] == (400, "InvalidAction")


def test_get_is_refused(sim, world):
    query = urllib.parse.urlencode({"Action": "GetCallerIdentity", "Version": "2011-06-15"})
    status, _, _ = sim.request("sts", "GET", "/?" + query)
    assert status == 400


def trust(**condition):
    return {"Statement": {"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
                          "Principal": {"Federated": f"arn:aws:iam::123456789012:oidc-provider/{PROVIDER}"},
                          "Condition": condition}}


SUB, AUD = f"{PROVIDER}:sub", f"{PROVIDER}:aud"
ME = "system:serviceaccount:prod:app"


@pytest.mark.parametrize("policy, allowed", [
    (trust(StringEquals={SUB: ME, AUD: "sts.amazonaws.com"}), True),
    (trust(StringEquals={SUB: ["x", ME]}), True),
    (trust(StringEquals={SUB: "system:serviceaccount:prod:*"}), False),
    (trust(StringLike={SUB: "system:serviceaccount:prod:*"}), True),
    (trust(StringLike={SUB: "system:serviceaccount:dev:*"}), False),
    (trust(StringLike={SUB: "serviceaccount:prod:app"}), False),
    (trust(StringEquals={AUD: "other"}), False),
    (trust(StringEquals={SUB: ME}, StringLike={AUD: "nothing*"}), False),
    (trust(StringEquals={"other.example:sub": ME}), False),
    (trust(StringNotEquals={SUB: ME}), False),
    (trust(), True),
    ({"Statement": [trust()["Statement"], {**trust(StringEquals={SUB: ME})["Statement"], "Effect": "Deny"}]}, False),
    ({"Statement": {**trust()["Statement"], "Action": "sts:AssumeRole"}}, False),
    ({"Statement": {**trust()["Statement"], "Action": ["sts:TagSession", "sts:*"]}}, True),
    ({"Statement": {**trust()["Statement"], "Principal": {"Federated": "arn:aws:iam::1:oidc-provider/x"}}}, False),
    ({"Statement": {**trust()["Statement"], "Principal": {"AWS": "123456789012"}}}, False),
    ({"Statement": []}, False),
])
def test_trust_policies_are_evaluated(sim, world, unique, policy, allowed):
    arn = sim.role(unique, trust=policy)
    answer = ask(sim, sim.mint(pod="prod/app-pod"), RoleArn=arn)
    if allowed:
        assert answer[0] == 200
    else:
        assert refusal(answer) == (403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")


def test_a_role_that_is_not_there_is_denied_like_one_that_does_not_trust(sim, world):
    answer = ask(sim, sim.mint(pod="prod/app-pod"), RoleArn="arn:aws:iam::123456789012:role/nowhere")
    assert refusal(answer)[:2] == (403, "AccessDenied")


def test_a_policy_that_is_not_understood_cannot_be_made(sim, world):
    with pytest.raises(Exception, match="not understood"):
        sim.role("strange", trust=trust(IpAddress={"aws:SourceIp": "10.0.0.0/8"}))


def test_tokens_of_a_key_that_is_no_longer_published_are_refused(sim, world):
    token = sim.mint(pod="prod/app-pod")
    sim.post("/keys/rotate", overlap=True, algorithm="ES256")
    assert ask(sim, token)[0] == 200
    assert ask(sim, sim.mint(pod="prod/app-pod"))[0] == 200
    sim.post("/keys/rotate", overlap=False)
    assert "Couldn't retrieve verification key" in refusal(ask(sim, token))[2]
    assert ask(sim, sim.mint(pod="prod/app-pod"))[0] == 200
    sim.post("/token-file", mode="fresh")


def test_an_issuer_elsewhere_is_asked_for_its_keys(sim, world, tmp_path_factory):
    """As beside a real cluster; here another simulator's API server is the cluster."""
    cluster = Simulator(tmp_path_factory.mktemp("cluster"), {"settings": {"public_discovery": True}})
    try:
        cluster.settings(jwks_uri=f"{cluster.kube_url}/openid/v1/jwks")
        cluster.pod("prod", "app-pod", service_account="app", ip="127.0.0.22")
        assert "Couldn't retrieve verification key" in refusal(ask(sim, cluster.mint(pod="prod/app-pod")))[2]
        sim.settings(provider={"url": cluster.kube_url, "ca_file": cluster.ca_file})
        assert ask(sim, cluster.mint(pod="prod/app-pod"))[0] == 200
        assert "Couldn't retrieve verification key" in refusal(ask(sim, sim.mint(pod="prod/app-pod")))[2]
        old = cluster.mint(pod="prod/app-pod")
        cluster.post("/keys/rotate", overlap=False)
        assert ask(sim, cluster.mint(pod="prod/app-pod"))[0] == 200
        assert "Couldn't retrieve verification key" in refusal(ask(sim, old))[2]
        cluster.settings(issuer="https://somebody.else")  # whose document it is not
        cluster.post("/keys/rotate")
        token = cluster.mint(pod="prod/app-pod", claims={"iss": sim.issuer})
        assert "Couldn't retrieve verification key" in refusal(ask(sim, token))[2]
    finally:
        cluster.stop()
