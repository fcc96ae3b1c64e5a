"""IAM, S3, CloudTrail and EKS, with botocore as the client: what is decided in one service holds in the others."""

import json
import socket

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from simulator import Simulator

ACCOUNT, REGION = "123456789012", "eu-west-1"
ISSUER = "oidc-documents.s3.eu-west-1.amazonaws.com"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
SUBJECT = "system:serviceaccount:prod:app"


@pytest.fixture(scope="module")
def names():
    """The names of AWS lead to this machine."""
    genuine = socket.getaddrinfo

    def resolve(host, *arguments, **how):
        name = host.decode() if isinstance(host, bytes) else host
        return genuine("127.0.0.1" if name.endswith(".amazonaws.com") else host, *arguments, **how)
    socket.getaddrinfo = resolve
    yield
    socket.getaddrinfo = genuine


@pytest.fixture(scope="module")
def sim(names, tmp_path_factory):
    simulator = Simulator(tmp_path_factory.mktemp("aws"), {"settings": {"registered": False}},
                          ["--aws-listen", "127.0.0.1:0"])
    yield simulator
    simulator.stop()


def client(sim, service, credentials=None):
    """Somebody's view of a service: a pod's, the platform engineer's, or (False) anybody's."""
    host = "iam.amazonaws.com" if service == "iam" else f"{service}.{REGION}.amazonaws.com"
    keys = {} if credentials is False else {"aws_access_key_id": sim.person["access_key_id"],
                                            "aws_secret_access_key": sim.person["secret_access_key"]}
    if credentials:
        keys = {"aws_access_key_id": credentials["AccessKeyId"],
                "aws_secret_access_key": credentials["SecretAccessKey"],
                "aws_session_token": credentials["SessionToken"]}
    config = Config(retries={"max_attempts": 0}, s3={"addressing_style": "virtual"},
                    signature_version=None if keys else botocore.UNSIGNED)
    return botocore.session.Session().create_client(
        service, "us-east-1" if service == "iam" else REGION, endpoint_url=f"https://{host}:{sim.aws_port}",
        verify=sim.sts_ca_file, config=config, **keys)


def refused(call, code, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code
    return error.value.response["Error"]["Message"]


def policy(action, resource, **more):
    return json.dumps({"Version": "2012-10-17",
                       "Statement": [{"Effect": "Allow", "Action": action, "Resource": resource, **more}]})


TRUST = {"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"Federated": PROVIDER},
    "Condition": {"StringEquals": {f"{ISSUER}:sub": SUBJECT, f"{ISSUER}:aud": "sts.amazonaws.com"}}}]}


@pytest.fixture(scope="module")
def role(sim):
    """A role that the service account prod/app may assume, and that may read and write one bucket."""
    made = client(sim, "iam").create_role(RoleName="app", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    allowed = client(sim, "iam").create_policy(PolicyName="orders", PolicyDocument=policy(
        ["s3:ListBucket", "s3:GetObject", "s3:PutObject"], ["arn:aws:s3:::orders-1", "arn:aws:s3:::orders-1/*"]))
    client(sim, "iam").attach_role_policy(RoleName="app", PolicyArn=allowed["Policy"]["Arn"])
    assert made["AssumeRolePolicyDocument"] == TRUST
    return made["Arn"]


@pytest.fixture(scope="module")
def bucket(sim):
    for name in ("orders-1", "others-1"):
        client(sim, "s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return "orders-1"


@pytest.fixture(scope="module")
def documents(sim):
    """A public bucket with an issuer's key set."""
    s3 = client(sim, "s3")
    s3.create_bucket(Bucket="oidc-documents", CreateBucketConfiguration={"LocationConstraint": REGION})
    open_ = {"Bucket": "oidc-documents",
             "Policy": policy("s3:GetObject", "arn:aws:s3:::oidc-documents/*", Principal="*")}
    assert "BlockPublicPolicy" in refused(s3.put_bucket_policy, "AccessDenied", **open_)
    s3.put_public_access_block(Bucket="oidc-documents", PublicAccessBlockConfiguration={
        "BlockPublicPolicy": False, "RestrictPublicBuckets": False})
    s3.put_bucket_policy(**open_)
    s3.put_object(Bucket="oidc-documents", Key="keys.json", Body=json.dumps(sim.get("/jwks")).encode())


def assume(sim, role, **claims):
    token = sim.post("/mint", namespace="prod", service_account="app",
                     claims={"iss": f"https://{ISSUER}", "sub": SUBJECT, **claims})["token"]
    return client(sim, "sts", False).assume_role_with_web_identity(
        RoleArn=role, RoleSessionName="a-session", WebIdentityToken=token)["Credentials"]


@pytest.fixture(scope="module")
def credentials(sim, role, bucket):
    sim.settings(public_discovery=True, jwks_uri=f"{sim.kube_url}/openid/v1/jwks",
                 provider={"url": sim.kube_url, "ca_file": sim.ca_file})
    refused(lambda: assume(sim, role), "InvalidIdentityToken")  # nobody has told IAM of the issuer yet
    made = client(sim, "iam").create_open_id_connect_provider(Url=f"https://{ISSUER}", ThumbprintList=["0" * 40],
                                                             ClientIDList=["sts.amazonaws.com"])
    assert made["OpenIDConnectProviderArn"] == PROVIDER
    return assume(sim, role)


def test_a_role_of_iam_is_what_sts_enforces(sim, role, credentials):
    assert client(sim, "sts", credentials).get_caller_identity()["Arn"].endswith("assumed-role/app/a-session")
    refused(lambda: assume(sim, role, sub="system:serviceaccount:prod:other"), "AccessDenied")
    refused(lambda: assume(sim, role, aud=["openshift"]), "InvalidIdentityToken")
    refused(lambda: assume(sim, role, iss="https://another.example"), "InvalidIdentityToken")


def test_the_person_is_known_to_sts(sim):
    assert client(sim, "sts").get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/platform-engineer"


def test_a_role_may_do_in_s3_what_its_policy_says_and_no_more(sim, bucket, credentials):
    s3 = client(sim, "s3", credentials)
    s3.put_object(Bucket=bucket, Key="2026/a b.txt", Body=b"hello")
    assert s3.get_object(Bucket=bucket, Key="2026/a b.txt")["Body"].read() == b"hello"
    listed = s3.list_objects_v2(Bucket=bucket)
    assert [(one["Key"], one["Size"]) for one in listed["Contents"]] == [("2026/a b.txt", 5)]
    assert s3.list_objects_v2(Bucket=bucket, Delimiter="/")["CommonPrefixes"] == [{"Prefix": "2026/"}]
    refused(s3.list_objects_v2, "AccessDenied", Bucket="others-1")
    refused(s3.list_buckets, "AccessDenied")
    refused(s3.delete_object, "AccessDenied", Bucket=bucket, Key="2026/a b.txt")
    refused(s3.get_object, "AccessDenied", Bucket="others-1", Key="x")
    refused(s3.get_object, "NoSuchKey", Bucket=bucket, Key="x")
    refused(client(sim, "s3").list_objects_v2, "NoSuchBucket", Bucket="nowhere-1")


@pytest.mark.parametrize("field, value, code", [
    ("AccessKeyId", "ASIAUNKNOWNUNKNOWN00", "InvalidAccessKeyId"), ("SecretAccessKey", "wrong", "SignatureDoesNotMatch"),
    ("SessionToken", "wrong", "InvalidAccessKeyId")])
def test_s3_refuses_credentials_that_are_not_right(sim, bucket, credentials, field, value, code):
    refused(client(sim, "s3", {**credentials, field: value}).list_objects_v2, code, Bucket=bucket)


def test_nobody_reads_without_a_signature_but_what_is_public(sim, bucket, documents):
    anybody = client(sim, "s3", False)
    assert b"keys" in anybody.get_object(Bucket="oidc-documents", Key="keys.json")["Body"].read()
    for denied in ({"Bucket": bucket, "Key": "2026/a b.txt"}, {"Bucket": bucket, "Key": "none"}):
        refused(anybody.get_object, "AccessDenied", **denied)
    refused(anybody.list_objects_v2, "AccessDenied", Bucket="oidc-documents")
    refused(anybody.put_object, "AccessDenied", Bucket="oidc-documents", Key="keys.json", Body=b"{}")


def test_an_altered_upload_is_noticed(sim, bucket):
    refused(client(sim, "s3").put_object, "BadDigest", Bucket=bucket, Key="x", Body=b"hello", ChecksumCRC32="AAAAAA==")


def test_pods_may_ask_neither_iam_nor_cloudtrail(sim, credentials):
    refused(client(sim, "iam", credentials).get_role, "AccessDenied", RoleName="app")
    refused(client(sim, "cloudtrail", credentials).lookup_events, "AccessDeniedException")
    refused(client(sim, "iam", False).get_role, "MissingAuthenticationToken", RoleName="app")


def test_cloudtrail_tells_who_assumed_the_role(sim, role, credentials):
    found = client(sim, "cloudtrail").lookup_events(LookupAttributes=[
        {"AttributeKey": "EventName", "AttributeValue": "AssumeRoleWithWebIdentity"}])["Events"]
    events = [json.loads(one["CloudTrailEvent"]) for one in found]
    mine = next(e for e in events if e["responseElements"]["credentials"]["accessKeyId"] == credentials["AccessKeyId"])
    assert mine["userIdentity"]["userName"] == SUBJECT and mine["userIdentity"]["identityProvider"] == PROVIDER
    assert mine["requestParameters"] == {"roleArn": role, "roleSessionName": "a-session"}


def test_eks_knows_its_clusters_issuers(sim):
    sim.settings(eks_clusters={"shop": "https://oidc.eks.eu-west-1.amazonaws.com/id/1"})
    shown = client(sim, "eks").describe_cluster(name="shop")["cluster"]
    assert shown["identity"]["oidc"]["issuer"] == "https://oidc.eks.eu-west-1.amazonaws.com/id/1"
    refused(client(sim, "eks").describe_cluster, "ResourceNotFoundException", name="another")


@pytest.mark.parametrize("document", ["{}", "no", '{"Version": "2012-10-17", "Statement": [{"Effect": "Maybe"}]}',
                                      policy("GetObject", "*"), policy("s3:GetObject", "a-bucket"),
                                      policy("s3:GetObject", "*", Condition={})])
def test_a_policy_that_cannot_be_understood_is_refused(sim, document):
    refused(client(sim, "iam").create_policy, "MalformedPolicyDocument", PolicyName="bad", PolicyDocument=document)


def test_a_trust_policy_that_cannot_be_understood_is_refused(sim):
    good = TRUST["Statement"][0]
    for statement in ({}, {**good, "Principal": None}, {**good, "Condition": {"IpAddress": {}}}):
        refused(client(sim, "iam").create_role, "MalformedPolicyDocument", RoleName="bad",
                AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


def test_what_is_in_use_is_not_deleted(sim, role, credentials):
    iam = client(sim, "iam")
    arn = iam.list_attached_role_policies(RoleName="app")["AttachedPolicies"][0]["PolicyArn"]
    refused(iam.delete_role, "DeleteConflict", RoleName="app")
    refused(iam.delete_policy, "DeleteConflict", PolicyArn=arn)
    refused(iam.create_role, "EntityAlreadyExists", RoleName="app", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.detach_role_policy(RoleName="app", PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)
    iam.delete_role(RoleName="app")
    refused(iam.get_role, "NoSuchEntity", RoleName="app")
    refused(lambda: assume(sim, role), "AccessDenied")
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=PROVIDER)
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    refused(lambda: assume(sim, role), "InvalidIdentityToken")
