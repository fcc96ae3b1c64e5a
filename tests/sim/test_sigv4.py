"""Signed requests, with botocore as the client."""

import datetime
import urllib.parse

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
IDENTITY = "Action=GetCallerIdentity&Version=2011-06-15"


def client(sim, credentials=None, region="eu-west-1"):
    session = botocore.session.Session()
    keys = {} if credentials is None else {
        "aws_access_key_id": credentials["AccessKeyId"], "aws_secret_access_key": credentials["SecretAccessKey"],
        "aws_session_token": credentials["SessionToken"]}
    return session.create_client("sts", region, endpoint_url=sim.sts_url, verify=sim.sts_ca_file, **keys,
                                 config=Config(retries={"max_attempts": 0}, signature_version=None if keys else
                                               botocore.UNSIGNED))


@pytest.fixture(scope="module")
def base(sim):
    """Credentials of role `base`, which may assume `target` and, with an external id, `target-external`."""
    pod = sim.workload("base", "127.0.0.31")
    sim.role("target", trusted_roles=[pod["role_arn"]], max_session_duration=43200)
    sim.role("target-external", trusted_roles=[pod["role_arn"]], external_id="ext-1")
    sim.role("closed", trusted_roles=["arn:aws:iam::123456789012:role/somebody"])
    answer = client(sim).assume_role_with_web_identity(RoleArn=pod["role_arn"], RoleSessionName="base-session",
                                                       WebIdentityToken=sim.mint(pod="prod/base-pod"))
    return answer["Credentials"]


def assume(sim, base, role, **fields):
    return client(sim, base).assume_role(RoleArn=f"arn:aws:iam::123456789012:role/{role}", RoleSessionName="chained",
                                         **fields)


def code_of(error):
    return error.value.response["Error"]["Code"]


def test_credentials_know_who_they_are(sim, base):
    identity = client(sim, base).get_caller_identity()
    assert identity["Arn"] == "arn:aws:sts::123456789012:assumed-role/base/base-session"
    assert identity["Account"] == "123456789012"


def test_a_role_is_assumed_with_another_ones_credentials(sim, base):
    answer = assume(sim, base, "target")
    issued = sim.issued(answer["Credentials"]["AccessKeyId"])
    assert issued["parent"] == base["AccessKeyId"] and issued["sub"] == "system:serviceaccount:prod:base"
    assert client(sim, answer["Credentials"]).get_caller_identity()["Arn"].endswith("assumed-role/target/chained")


def test_the_external_id_must_be_the_right_one(sim, base):
    assert assume(sim, base, "target-external", ExternalId="ext-1")["Credentials"]
    for wrong in ({}, {"ExternalId": "ext-2"}):
        with pytest.raises(ClientError) as error:
            assume(sim, base, "target-external", **wrong)
        assert code_of(error) == "AccessDenied"


def test_a_role_that_does_not_trust_the_caller_is_denied(sim, base):
    for role in ("closed", "nowhere", "base"):
        with pytest.raises(ClientError) as error:
            assume(sim, base, role)
        assert code_of(error) == "AccessDenied"


def test_chained_sessions_last_at_most_an_hour(sim, base):
    assert assume(sim, base, "target", DurationSeconds=3600)
    with pytest.raises(ClientError, match="1 hour session limit for roles assumed by role chaining"):
        assume(sim, base, "target", DurationSeconds=3601)


TAG = {"Key": "team", "Value": ""}


def assume_role(**fields):
    """The body of a request by hand."""
    return urllib.parse.urlencode({"Action": "AssumeRole", "Version": "2011-06-15", "RoleSessionName": "chained",
                                   "RoleArn": "arn:aws:iam::123456789012:role/target", **fields})


def test_everything_that_assume_role_may_be_given_is_understood(sim, base):
    assert assume(sim, base, "target", Tags=[TAG, {"Key": "\u00e9t\u00e9 1", "Value": "x" * 256}], TransitiveTagKeys=["team"],
                  SourceIdentity="me", SerialNumber="arn:aws:iam::123456789012:mfa/me", TokenCode="123456",
                  Policy='{"Statement":[]}', PolicyArns=[{"arn": "arn:aws:iam::aws:policy/ReadOnly"}])
    contexts = {"ProvidedContexts.member.1.ProviderArn": "arn:aws:iam::aws:contextProvider/IdentityCenter",
                "ProvidedContexts.member.1.ContextAssertion": "a.b.c"}  # which Debian's botocore does not know
    body = assume_role(**contexts)
    assert send(sim, signed(sim, base, body), body)[0] == 200


@pytest.mark.parametrize("fields, message", [
    ({"Tags.member.1.Key": "k"}, "Value null at 'tags.1.member.value'"),
    ({"Tags.member.1.Value": "v"}, "Value null at 'tags.1.member.key'"),
    ({"Tags.member.1.Key": "", "Tags.member.1.Value": ""}, "'tags.1.member.key' failed to satisfy constraint: Member must have length greater"),
    ({"Tags.member.1.Key": "k" * 129, "Tags.member.1.Value": ""}, "length less than or equal to 128"),
    ({"Tags.member.1.Key": "k", "Tags.member.1.Value": "v" * 257}, "length less than or equal to 256"),
    ({"Tags.member.1.Key": "k", "Tags.member.1.Value": "<"}, "satisfy regular expression pattern"),
    ({"Tags.member.51.Key": "k", "Tags.member.51.Value": "v"}, "'tags' failed to satisfy constraint"),
    ({"TransitiveTagKeys.member.1": ""}, "'transitiveTagKeys.1.member' failed"),
    ({"TransitiveTagKeys.member.51": "k"}, "'transitiveTagKeys' failed"),
    ({"SourceIdentity": "x"}, "'sourceIdentity' failed"), ({"SourceIdentity": "x" * 65}, "'sourceIdentity' failed"),
    ({"SourceIdentity": "a b"}, "'sourceIdentity' failed"),
    ({"SerialNumber": "12345678"}, "'serialNumber' failed"), ({"SerialNumber": "x" * 257}, "'serialNumber' failed"),
    ({"TokenCode": "12345"}, "'tokenCode' failed"), ({"TokenCode": "12345x"}, "'tokenCode' failed"),
    ({"ProvidedContexts.member.6.ProviderArn": "a" * 20, "ProvidedContexts.member.6.ContextAssertion": "abcd"},
     "'providedContexts' failed"),
    ({"ExternalId": "x"}, "'externalId' failed"), ({"ExternalId": "a b"}, "'externalId' failed"),
    ({"WebIdentityToken": "a.b.c"}, "AssumeRole has no parameter WebIdentityToken"),
    ({"Surprise": "1"}, "AssumeRole has no parameter Surprise"),
])
def test_every_parameter_of_assume_role_has_its_limits(sim, base, fields, message):
    body = assume_role(**fields)
    status, answer = send(sim, signed(sim, base, body), body)
    assert status == 400 and "<Code>ValidationError</Code>" in answer and message in answer, answer


def test_a_caller_who_is_not_known_learns_nothing_of_his_parameters(sim, base):
    body = "Action=AssumeRole&Version=2011-06-15&Surprise=1"
    assert "SignatureDoesNotMatch" in send(sim, signed(sim, {**base, "SecretAccessKey": "wrong"}, body), body)[1]


@pytest.mark.parametrize("field, value, code", [
    ("AccessKeyId", "ASIAUNKNOWNUNKNOWN00", "InvalidClientTokenId"),
    ("SecretAccessKey", "wrong", "SignatureDoesNotMatch"),
    ("SessionToken", "wrong", "InvalidClientTokenId"),
])
def test_credentials_that_are_not_right_are_refused(sim, base, field, value, code):
    with pytest.raises(ClientError) as error:
        client(sim, {**base, field: value}).get_caller_identity()
    assert code_of(error) == code


def test_the_region_of_the_signature_must_be_the_endpoints(sim, base):
    with pytest.raises(ClientError) as error:
        client(sim, base, region="us-east-1").get_caller_identity()
    assert code_of(error) == "SignatureDoesNotMatch"


def test_expired_credentials_are_refused(sim, base):
    sim.fault("sts", "expiry", offset=-1, count=1)
    answer = assume(sim, base, "target")
    with pytest.raises(ClientError) as error:
        client(sim, answer["Credentials"]).get_caller_identity()
    assert code_of(error) == "ExpiredToken"


def signed(sim, base, body=IDENTITY, service="sts", age=0, headers=None):
    """A request signed by hand; what happens to it afterwards is the test's business."""
    request = AWSRequest("POST", sim.sts_url + "/", {**FORM, **(headers or {})}, body.encode())
    auth = SigV4Auth(Credentials(base["AccessKeyId"], base["SecretAccessKey"], base["SessionToken"]), service,
                     "eu-west-1")
    at = datetime.datetime.utcnow() - datetime.timedelta(seconds=age)
    request.context["timestamp"] = at.strftime("%Y%m%dT%H%M%SZ")
    auth._modify_request_before_signing(request)
    auth._inject_signature_to_request(request, auth.signature(
        auth.string_to_sign(request, auth.canonical_request(request)), request))
    return dict(request.headers.items())


def send(sim, headers, body=IDENTITY):
    status, _, answer = sim.request("sts", "POST", "/", body, headers)
    return status, answer.decode()


def test_a_signature_made_by_hand_is_accepted(sim, base):
    assert send(sim, signed(sim, base))[0] == 200


@pytest.mark.parametrize("age, status", [(14 * 60, 200), (16 * 60, 403), (-16 * 60, 403)])
def test_a_signature_holds_for_fifteen_minutes(sim, base, age, status):
    assert send(sim, signed(sim, base, age=age))[0] == status


def test_signatures_and_keys_go_by_the_clock_of_sts(sim, base):
    sim.settings(clock_offset=1800)
    assert "SignatureDoesNotMatch" in send(sim, signed(sim, base))[1]
    assert send(sim, signed(sim, base, age=-1800))[0] == 200
    sim.settings(clock_offset=7200)
    assert "ExpiredToken" in send(sim, signed(sim, base, age=-7200))[1]


def test_a_changed_body_is_noticed(sim, base):
    status, answer = send(sim, signed(sim, base), IDENTITY + "&X=1")
    assert status == 403 and "SignatureDoesNotMatch" in answer


def test_a_signature_for_another_service_is_refused(sim, base):
    assert send(sim, signed(sim, base, service="s3"))[0] == 403


def test_an_unsigned_amz_header_is_refused(sim, base):
    assert send(sim, {**signed(sim, base), "X-Amz-Extra": "1"})[0] == 403


def test_a_request_without_a_signature_is_refused(sim, base):
    status, answer = send(sim, FORM)
    assert status == 403 and "MissingAuthenticationToken" in answer


@pytest.mark.parametrize("header", ["AWS4-HMAC-SHA256 nonsense", "Bearer x", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e"])
def test_a_malformed_authorization_is_refused(sim, base, header):
    status, answer = send(sim, {**signed(sim, base), "Authorization": header})
    assert status == 403 and "IncompleteSignature" in answer
