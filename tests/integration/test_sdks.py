"""Real SDKs, current ones and Debian's, get real credentials at all addresses where SDKs look in production. Everything
runs in a network namespace of its own: nothing can leave the machine, and 169.254.169.254 is ours. What SDKs do when
credentials age or cannot be had is in tests/sdks."""

import json
import os
import pathlib
import subprocess

import botocore.session
import pytest
from daemon import ROOT, Credlet, genuine
from simulator import Simulator

HERE = pathlib.Path(__file__).resolve().parent
POD_ADDRESS = "10.244.0.7"
SDKS = {}  # where the current ones are
LINK_LOCAL = ("169.254.169.254", "169.254.170.2", "169.254.170.23")


def run(*command):
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def addresses(private_network):
    """The addresses where SDKs look, and that from which they call."""
    for address in LINK_LOCAL + (POD_ADDRESS,):
        run("ip", "address", "add", f"{address}/32", "dev", "lo")
    for address in LINK_LOCAL:  # callers come from the pod's address
        run("ip", "route", "replace", "local", address, "dev", "lo", "table", "local", "src", POD_ADDRESS)


@pytest.fixture(scope="module")
def sdks():
    names = ("python", "javascript")
    built = subprocess.run([str(ROOT / "tests" / "sdks" / "setup.sh"), *names], check=True, stdout=subprocess.PIPE, text=True)
    SDKS.update(zip(names, built.stdout.split()))


@pytest.fixture(scope="module")
def world(sdks, addresses, tmp_path_factory):
    simulator = Simulator(tmp_path_factory.mktemp("world"))
    yield simulator
    simulator.stop()


@pytest.fixture(scope="module")
def pods(world):
    """One pod with the address that SDKs call from, one whose service account has another role, on the loopback."""
    return {"pod": world.workload("sdk", POD_ADDRESS), "local": world.workload("sdk-local", "127.0.0.1")}


@pytest.fixture(scope="module")
def credlet(world, pods):
    listen = [f"{address}:80" for address in LINK_LOCAL] + ["127.0.0.1:8080"]
    daemon = Credlet(world, "--availability-zone", "eu-west-1a", listen=listen)
    yield daemon
    daemon.stop()


@pytest.fixture(scope="module")
def token_credlet(world, pods):
    """One that believes nothing but tokens: who gets credentials from it has sent one."""
    daemon = Credlet(world, "--identity", "token", listen=["127.0.0.1:8081"])
    yield daemon
    daemon.stop()


CLIENTS = {
    "awscli-debian": "/usr/bin/aws configure export-credentials",
    "awscli-current": "{python}/bin/aws sts get-caller-identity",  # it shows who it is, not what it holds
    "boto3-debian": "/usr/bin/python3 {here}/boto.py",
    "boto3-current": "{python}/bin/python {here}/boto.py",
    "javascript-v3": "node {here}/javascript.js",
    "c-crt": "{python}/bin/python {here}/crt.py",
}
KNOWS_TOKEN_FILES = ("awscli-current", "boto3-current", "javascript-v3", "c-crt")
KNOWS_LINK_LOCAL = KNOWS_TOKEN_FILES
IMDS_ANYWHERE = ("awscli-debian", "awscli-current", "boto3-debian", "boto3-current", "javascript-v3")
BY_TOKEN = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:8081/v1/credentials"}
LOCAL = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:8080/v1/credentials"}


def ask(world, client, **environment):
    """Runs a client, with nothing but what is named here to find credentials by."""
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AWS_REGION": world.region, "AWS_DEFAULT_REGION": world.region,
             "AWS_CONFIG_FILE": "/nonexistent/config", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
             "STS_URL": world.sts_url, "STS_CA": world.sts_ca_file, "NODE_EXTRA_CA_CERTS": world.sts_ca_file,
             "JAVASCRIPT_SDK": SDKS["javascript"], "AWS_EC2_METADATA_DISABLED": "true"}
    if client == "awscli-current":
        clean.update(AWS_ENDPOINT_URL_STS=world.sts_url, AWS_CA_BUNDLE=world.sts_ca_file)
    clean.update(environment)
    command = [part.format(here=HERE / "sdks", **SDKS) for part in CLIENTS[client].split()]
    return subprocess.run(command, env={k: v for k, v in clean.items() if v is not None}, capture_output=True,
                          timeout=60, check=False)


def find(world, client, **environment):
    """The credentials that a client finds."""
    ended = ask(world, client, **environment)
    assert ended.returncode == 0, ended.stderr.decode()[-2000:]
    return json.loads(ended.stdout)


def check(world, found, pod):
    """They are this pod's, and STS says so too when they are used."""
    if "Arn" in found:
        mine = [i for i in world.issued() if i["role_arn"] == pod["role_arn"] and i["sub"].endswith(f":{pod['service_account']}")]
        assert found["Arn"] in [issued["arn"] for issued in mine]
        return
    issued = world.issued(found["AccessKeyId"], secrets=True)
    assert found["SecretAccessKey"] == issued["secret_access_key"] and found["SessionToken"] == issued["session_token"]
    assert issued["role_arn"] == pod["role_arn"] and issued["sub"] == f"system:serviceaccount:prod:{pod['service_account']}"
    if "Identity" in found:
        assert found["Identity"] == issued["arn"]
        return
    sts = botocore.session.Session().create_client(
        "sts", world.region, endpoint_url=world.sts_url, verify=world.sts_ca_file, aws_access_key_id=found["AccessKeyId"],
        aws_secret_access_key=found["SecretAccessKey"], aws_session_token=found["SessionToken"])
    assert sts.get_caller_identity()["Arn"] == issued["arn"]


@pytest.mark.parametrize("client", CLIENTS)
def test_container_credentials_by_address(world, credlet, pods, client):
    check(world, find(world, client, **LOCAL), pods["local"])


@pytest.mark.parametrize("client", CLIENTS)
def test_container_credentials_with_a_token_in_the_environment(world, token_credlet, pods, client):
    token = world.mint(pod="prod/sdk-local-pod")
    check(world, find(world, client, **BY_TOKEN, AWS_CONTAINER_AUTHORIZATION_TOKEN=token), pods["local"])


@pytest.mark.parametrize("client", KNOWS_TOKEN_FILES)
def test_container_credentials_with_a_token_file(world, token_credlet, pods, client, tmp_path):
    file = tmp_path / "token"
    file.write_text(world.mint(pod="prod/sdk-local-pod"))
    check(world, find(world, client, **BY_TOKEN, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(file)), pods["local"])


@pytest.mark.parametrize("client", KNOWS_LINK_LOCAL)
def test_container_credentials_at_the_eks_address(world, credlet, pods, client):
    check(world, find(world, client, AWS_CONTAINER_CREDENTIALS_FULL_URI="http://169.254.170.23/v1/credentials"), pods["pod"])


@pytest.mark.parametrize("client", KNOWS_TOKEN_FILES)
def test_a_token_file_at_the_eks_address_must_be_the_pods_own(world, credlet, pods, client, tmp_path):
    """As EKS Pod Identity sets it up, where a token and the address both tell who asks."""
    file = tmp_path / "token"
    at_eks = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
              "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file)}
    file.write_text(world.mint(pod="prod/sdk-pod"))
    check(world, find(world, client, **at_eks), pods["pod"])
    file.write_text(world.mint(pod="prod/sdk-local-pod"))
    refused = credlet.metric("rejections_total", reason="identity_mismatch")
    assert ask(world, client, **at_eks).returncode != 0
    assert credlet.metric("rejections_total", reason="identity_mismatch") > refused


@pytest.mark.parametrize("client", CLIENTS)
def test_container_credentials_at_the_ecs_address(world, credlet, pods, client):
    check(world, find(world, client, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/v1/credentials"), pods["pod"])


@pytest.mark.parametrize("client", CLIENTS)
def test_imds_at_its_own_address(world, credlet, pods, client):
    before = credlet.metric("requests_total", protocol="imds", code="200")
    check(world, find(world, client, AWS_EC2_METADATA_DISABLED=None), pods["pod"])
    assert credlet.metric("requests_total", protocol="imds", code="200") >= before + 3  # token, list, credentials


@pytest.mark.parametrize("client", IMDS_ANYWHERE)
def test_imds_at_another_address(world, credlet, pods, client):
    check(world, find(world, client, AWS_EC2_METADATA_DISABLED=None,
                      AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:8080/"), pods["local"])


def test_the_aws_cli_itself_is_who_it_should_be(world, credlet, pods):
    ended = subprocess.run(["/usr/bin/aws", "--endpoint-url", world.sts_url, "--ca-bundle", world.sts_ca_file, "--region",
                            world.region, "sts", "get-caller-identity"], capture_output=True, timeout=60, check=False,
                           env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **LOCAL})
    assert ended.returncode == 0, ended.stderr.decode()
    assert json.loads(ended.stdout)["Arn"].startswith("arn:aws:sts::123456789012:assumed-role/sdk-local/")


def test_the_pods_own_answer_is_what_sdks_got(world, credlet, pods):
    genuine(world, credlet.credentials("127.0.0.1", where=("127.0.0.1", 8080)), pods["local"])
