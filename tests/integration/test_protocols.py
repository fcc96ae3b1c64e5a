"""What pods get to see: every status, header and body that AWS SDKs depend on."""

import json
import re
import time

from daemon import genuine, served
from simulator import wait_until

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
LIST = "meta-data/iam/security-credentials"
ERROR_TYPE = "application/json"


def check_error(answer, status, code):
    assert (answer.status, answer.code) == (status, code), answer
    assert answer.headers["Content-Type"] == ERROR_TYPE  # compared for equality by the Go SDK
    assert answer.headers["Cache-Control"] == "no-store"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert "\n" not in answer.json["message"]
    return answer


# The container endpoint

def test_credentials_are_genuine_and_in_the_form_every_sdk_accepts(world, credlet, new_pod):
    pod = new_pod()
    answer = credlet.credentials(pod["ip"])
    genuine(world, answer, pod)
    body = answer.json
    assert body["Code"] == "Success" and body["Type"] == "AWS-HMAC"
    assert STAMP.fullmatch(body["Expiration"]) and STAMP.fullmatch(body["LastUpdated"])
    assert body["AccountId"] == "123456789012" and body["RoleArn"] == pod["role_arn"]
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert int(answer.headers["Content-Length"]) == len(answer.body) < 10000
    for absent in ("Transfer-Encoding", "Content-Encoding", "Location", "Access-Control-Allow-Origin"):
        assert absent not in answer.headers


def test_the_second_answer_is_the_same_and_costs_nothing(world, credlet, warm_pod):
    pod = warm_pod()
    mark = world.mark()
    assert credlet.credentials(pod["ip"]).json["AccessKeyId"] == pod["access_key_id"]
    assert credlet.imds_credentials(pod["ip"], pod["role_arn"].rsplit("/", 1)[1]).json["AccessKeyId"] == \
        pod["access_key_id"]
    assert not world.calls("sts", mark)


def test_a_connection_is_kept_alive(credlet, warm_pod):
    pod = warm_pod()
    connection = credlet.connect(pod["ip"])
    local = None
    for _ in range(5):
        connection.request("GET", "/v1/credentials")
        response = connection.getresponse()
        assert response.status == 200 and response.read()
        local = local or connection.sock.getsockname()
        assert connection.sock.getsockname() == local
    connection.close()


def test_pods_of_one_service_account_share_one_call(world, credlet, new_pod, address):
    mark = world.mark()
    pod = new_pod()
    world.pod(pod["namespace"], pod["name"] + "-2", service_account=pod["service_account"], ip=address)
    first, second = credlet.credentials(pod["ip"]), credlet.credentials(address)
    assert first.json["AccessKeyId"] == second.json["AccessKeyId"]
    assert len(world.calls("sts", mark)) == 1 and len(world.calls("kube", mark, resource="serviceaccounts/token")) == 1


def test_an_own_role_can_be_named(world, credlet, new_pod):
    pod = new_pod()
    genuine(world, credlet.credentials(pod["ip"], role=pod["role_arn"].rsplit("/", 1)[1]), pod)


def test_further_roles_can_be_named_when_they_are_annotated(world, credlet, new_pod):
    pod = new_pod()
    extra = world.role(pod["service_account"] + "-extra", subjects="system:serviceaccount:prod:*")
    world.service_account("prod", pod["service_account"], role_arn=pod["role_arn"], additional_role_arns=extra)
    answer = wait_until(lambda: served(credlet.credentials(pod["ip"], role=extra.rsplit("/", 1)[1])), 5)
    genuine(world, answer, {**pod, "role_arn": extra})


def test_a_target_role_is_assumed_with_the_first_ones_credentials(world, credlet, new_pod):
    pod = new_pod()
    name = pod["service_account"] + "-target"
    target = world.role(name, trusted_roles=[pod["role_arn"]], external_id="tenant-7", max_session_duration=43200)
    world.service_account("prod", pod["service_account"], role_arn=pod["role_arn"], target_role_arn=target,
                          external_id="tenant-7")
    answer = wait_until(lambda: (a := credlet.credentials(pod["ip"])).status == 200
                        and a.json["RoleArn"] == target and a, 5)
    issued = genuine(world, answer, {**pod, "role_arn": target})
    assert world.issued(issued["parent"])["role_arn"] == pod["role_arn"]
    assert issued["parameters"]["ExternalId"] == "tenant-7" and issued["duration"] <= 3600


def test_the_irsa_annotation_is_understood(world, credlet, address):
    role = world.role("irsa", subjects="system:serviceaccount:prod:irsa")
    world.post("/serviceaccounts", namespace="prod", name="irsa", annotations={"eks.amazonaws.com/role-arn": role})
    pod = world.pod("prod", "irsa-pod", service_account="irsa", ip=address)
    genuine(world, credlet.credentials(address), {**pod, "role_arn": role})


def test_a_session_longer_than_the_role_allows_falls_back_to_an_hour(world, credlet, new_pod):
    pod = new_pod(annotations={"session_duration": "7200"})
    assert genuine(world, credlet.credentials(pod["ip"]), pod)["duration"] == 3600
    pod = new_pod(annotations={"session_duration": "7200"}, role_fields={"max_session_duration": 43200})
    assert genuine(world, credlet.credentials(pod["ip"]), pod)["duration"] == 7200


def test_a_changed_annotation_takes_effect_within_a_second(world, credlet, warm_pod):
    pod = warm_pod()
    other = world.role(pod["service_account"] + "-new", subjects="system:serviceaccount:prod:*")
    world.service_account("prod", pod["service_account"], role_arn=other)
    wait_until(lambda: credlet.credentials(pod["ip"]).json.get("RoleArn") == other, 1)
    for _ in range(10):
        assert credlet.credentials(pod["ip"]).json["RoleArn"] == other


def test_an_unknown_address_is_refused(credlet, address):
    check_error(credlet.credentials(address), 403, "AccessDenied")


def test_a_pod_without_a_role_is_told_so(world, credlet, address):
    world.pod("prod", "roleless", ip=address)
    check_error(credlet.credentials(address), 403, "NoRoleAssociated")


def test_another_pods_role_is_refused_without_asking_sts(world, credlet, warm_pod):
    mine, other = warm_pod(), warm_pod()
    mark = world.mark()
    name = other["role_arn"].rsplit("/", 1)[1]
    for asked in (name, name.upper(), name + "/", name + "%20", other["role_arn"]):
        assert credlet.credentials(mine["ip"], role=asked).status in (403, 404)
    assert not world.calls("sts", mark)


def test_a_pods_first_request_may_come_before_its_address_is_published(world, credlet, new_pod, address):
    pod = new_pod()
    world.patch_pod(pod["namespace"], pod["name"], ips=[])
    world.fault("kube", "slow_watch", match={"resource": "^pods$"}, seconds=8, duration=6)
    world.patch_pod(pod["namespace"], pod["name"], ip=address)
    genuine(world, credlet.credentials(address), pod)  # found by asking directly


def test_a_denial_by_sts_is_passed_on_with_its_code_message_and_request_id(world, credlet, new_pod):
    pod = new_pod(role_fields={"subjects": "system:serviceaccount:prod:somebody-else"})
    answer = check_error(credlet.credentials(pod["ip"]), 403, "AccessDenied")
    assert "Not authorized to perform sts:AssumeRoleWithWebIdentity" in answer.json["message"]
    assert re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", answer.json["message"])
    mark = world.mark()
    check_error(credlet.credentials(pod["ip"]), 403, "AccessDenied")
    assert not world.calls("sts", mark)  # remembered for some seconds


def test_a_validation_error_of_sts_is_400(world, credlet, new_pod):
    pod = new_pod(sts_fault={"kind": "error", "code": "ValidationError", "message": "what is wrong"})
    assert "what is wrong" in check_error(credlet.credentials(pod["ip"]), 400, "ValidationError").json["message"]


def test_throttling_is_held_and_then_503(world, credlet, new_pod):
    pod = new_pod(sts_fault={"kind": "error", "code": "Throttling", "message": "Rate exceeded"})
    started = time.monotonic()
    answer = check_error(credlet.credentials(pod["ip"]), 503, "Throttling")
    assert answer.headers["Retry-After"] == "1" and 3 <= time.monotonic() - started <= 7


def test_an_unreachable_sts_is_503(world, credlet, new_pod):
    pod = new_pod(sts_fault={"kind": "status", "status": 503})
    assert check_error(credlet.credentials(pod["ip"]), 503, "ServiceUnavailable").headers["Retry-After"] == "1"


def test_unknown_paths_are_404(credlet, warm_pod):
    pod = warm_pod()
    for path in ("/", "/v1", "/v1/", "/v1/credentials/", "/v2/credentials", "/metrics", "/healthz", "/explain",
                 "/favicon.ico"):
        check_error(credlet.get(path, pod["ip"]), 404, "NotFound")


def test_wrong_methods_are_405_with_allow(credlet, warm_pod):
    pod = warm_pod()
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"):
        answer = credlet.request(method, "/v1/credentials", pod["ip"], {"Content-Length": "0"})
        assert answer.status == 405 and answer.headers["Allow"] == "GET", (method, answer)
    answer = credlet.get("/latest/api/token", pod["ip"])
    assert answer.status == 405 and answer.headers["Allow"] == "PUT"


def test_bodies_are_refused(credlet, warm_pod):
    pod = warm_pod()
    raw = b"GET /v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n\r\nabc"
    assert re.match(rb"HTTP/1.1 4(00|13) ", credlet.raw(raw, pod["ip"]))


# Tokens

def test_a_token_identifies_the_pod_from_any_address_that_is_no_pods(world, credlet, new_pod, address):
    pod = new_pod()
    token = world.mint(pod=f"prod/{pod['name']}")
    for sent in (token, "Bearer " + token, "bearer " + token):
        genuine(world, credlet.credentials(address, token=sent), pod)


def test_what_is_no_token_is_400_and_a_forged_one_403(world, credlet, warm_pod):
    pod = warm_pod()
    for nonsense in ("nonsense", "Basic dXNlcjpwYXNz", "a.b", "a.b.c.d", "é.b.c"):
        check_error(credlet.credentials(pod["ip"], token=nonsense), 400, "InvalidToken")
    forged = world.mint(pod=f"prod/{pod['name']}", key="foreign")
    check_error(credlet.credentials(pod["ip"], token=forged), 403, "AccessDenied")


def test_hostnetwork_pods_are_served_by_token_only(world, credlet, address):
    role = world.role("hostnet", subjects="system:serviceaccount:prod:hostnet")
    world.service_account("prod", "hostnet", role_arn=role)
    pod = world.pod("prod", "hostnet-pod", service_account="hostnet", ip=address, host_network=True)
    check_error(credlet.credentials(address), 403, "AccessDenied")
    genuine(world, credlet.credentials(address, token=world.mint(pod="prod/hostnet-pod")), {**pod, "role_arn": role})


# IMDS

def test_a_session_token_carries_its_lifetime(credlet, warm_pod):
    pod = warm_pod()
    for ttl in (1, 300, 21600):
        answer = credlet.session(pod["ip"], ttl)
        assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/plain")
        assert answer.headers["X-aws-ec2-metadata-token-ttl-seconds"] == str(ttl)
        assert re.fullmatch(r"[A-Za-z0-9+/=_-]+", answer.body.decode())
        assert len(answer.body) <= 64  # the AWS C runtime has room for no more


def test_the_role_list_is_one_bare_name(credlet, warm_pod):
    pod = warm_pod()
    for path in (LIST, LIST + "/"):
        answer = credlet.imds(path, pod["ip"])
        assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/plain")
        assert answer.body.decode() == pod["role_arn"].rsplit("/", 1)[1]


def test_imds_credentials_are_genuine(world, credlet, warm_pod):
    pod = warm_pod()
    name = pod["role_arn"].rsplit("/", 1)[1]
    for path in (f"{LIST}/{name}", f"{LIST}//{name}"):  # minio's client sends two slashes
        genuine(world, credlet.imds(path, pod["ip"]), pod)


def test_region_document_and_info(credlet, warm_pod):
    pod = warm_pod()
    assert credlet.imds("meta-data/placement/region", pod["ip"]).body == b"eu-west-1"
    document = credlet.imds("dynamic/instance-identity/document", pod["ip"]).json
    assert document["region"] == "eu-west-1" and document["accountId"] == "123456789012"
    info = credlet.imds("meta-data/iam/info", pod["ip"]).json
    assert info["Code"] == "Success" and info["InstanceProfileArn"].startswith("arn:aws:iam::123456789012:")


def test_the_availability_zone_is_served_where_it_is_configured(world, start_credlet, credlet, warm_pod):
    pod = warm_pod()
    assert credlet.imds("meta-data/placement/availability-zone/", pod["ip"]).status == 404
    other = start_credlet(world, "--availability-zone", "eu-west-1b")
    for path in ("meta-data/placement/availability-zone", "meta-data/placement/availability-zone/"):
        assert other.imds(path, pod["ip"]).body == b"eu-west-1b"


def test_what_is_not_there_is_404(credlet, warm_pod):
    pod = warm_pod()
    for path in ("meta-data/", "meta-data/iam/", "meta-data/iam/security-credentials-extended/", "meta-data/instance-id",
                 "user-data", "dynamic/", "meta-data/iam/security-credentials/x/y", "api/token/"):
        assert credlet.imds(path, pod["ip"]).status in (403, 404), path
    assert credlet.imds("meta-data/iam/security-credentials-extended/", pod["ip"]).status == 404
    assert credlet.imds("meta-data/instance-id", pod["ip"]).status == 404


def test_a_request_without_a_session_token_is_401(credlet, warm_pod):
    pod = warm_pod()
    for headers in ({}, {"X-aws-ec2-metadata-token": ""}, {"X-aws-ec2-metadata-token": "AAAA"}):
        assert credlet.get(f"/latest/{LIST}/", pod["ip"], headers).status == 401


def test_a_session_token_expires(credlet, warm_pod):
    pod = warm_pod()
    session = credlet.session(pod["ip"], 1).body.decode()
    assert credlet.imds(LIST, pod["ip"], session).status == 200
    wait_until(lambda: credlet.imds(LIST, pod["ip"], session).status == 401, 3)


def test_session_tokens_need_no_memory_of_the_daemon(world, credlet, warm_pod):
    pod = warm_pod()
    tokens = {credlet.session(pod["ip"]).body for _ in range(3)}
    for token in tokens:
        assert credlet.imds(LIST, pod["ip"], token.decode()).status == 200


def test_without_a_role_the_imds_list_is_404(world, credlet, address):
    world.pod("prod", "roleless-imds", ip=address)
    assert credlet.imds(LIST + "/", address).status == 404


def test_a_denial_on_imds_is_a_200_with_a_code(world, credlet, new_pod):
    pod = new_pod(role_fields={"subjects": "system:serviceaccount:prod:somebody-else"})
    answer = credlet.imds_credentials(pod["ip"], pod["role_arn"].rsplit("/", 1)[1])
    assert answer.status == 200 and answer.json["Code"] == "AccessDenied"
    assert "Not authorized" in answer.json["Message"] and "AccessKeyId" not in answer.json


def test_imds_is_held_for_less_than_a_second(world, credlet, new_pod):
    pod = new_pod(sts_fault={"kind": "hang"})
    session = credlet.session(pod["ip"]).body.decode()
    held = []
    for _ in range(3):  # the machine may stall once; the daemon never does
        started = time.monotonic()
        answer = credlet.imds(f"{LIST}/{pod['role_arn'].rsplit('/', 1)[1]}", pod["ip"], session)
        held.append(time.monotonic() - started)
        assert answer.status == 503
    assert min(held) < 1.0


def test_imds_version_1_is_off_unless_it_is_switched_on(world, start_credlet, credlet, warm_pod):
    pod = warm_pod()
    assert credlet.get(f"/latest/{LIST}/", pod["ip"]).status == 401
    other = start_credlet(world, "--imds-v1")
    assert other.get(f"/latest/{LIST}/", pod["ip"]).status == 200


# Identity modes

def test_identity_by_token_only(world, start_credlet, warm_pod):
    pod = warm_pod()
    daemon = start_credlet(world, "--identity", "token")
    check_error(daemon.credentials(pod["ip"]), 403, "AccessDenied")
    token = world.mint(pod=f"prod/{pod['name']}")
    genuine(world, daemon.credentials(pod["ip"], token=token), pod)
    assert daemon.session(pod["ip"]).status == 403
    session = daemon.session(pod["ip"], token=token).body.decode()
    assert daemon.imds(LIST, pod["ip"], session).status == 200


def test_identity_by_both(world, start_credlet, warm_pod, address):
    pod = warm_pod()
    daemon = start_credlet(world, "--identity", "both")
    token = world.mint(pod=f"prod/{pod['name']}")
    genuine(world, daemon.credentials(pod["ip"], token=token), pod)
    check_error(daemon.credentials(pod["ip"]), 403, "AccessDenied")
    check_error(daemon.credentials(address, token=token), 403, "AccessDenied")


# The other side

def test_the_admin_endpoint_is_apart_from_the_pods(credlet, warm_pod):
    pod = warm_pod()
    assert credlet.admin("/healthz").status == 200 and credlet.admin("/readyz").status == 200
    assert credlet.admin("/v1/credentials").status == 404
    assert credlet.get("/metrics", pod["ip"]).status == 404


def test_the_metrics_tell_what_happened(world, credlet, new_pod):
    before = {name: credlet.metric(name, **labels) for name, labels in (
        ("sts_requests_total", {"operation": "AssumeRoleWithWebIdentity", "result": "ok"}),
        ("requests_total", {"protocol": "ecs", "code": "200"}), ("token_requests_total", {"result": "ok"}))}
    pod = new_pod()
    genuine(world, credlet.credentials(pod["ip"]), pod)
    assert credlet.metric("sts_requests_total", operation="AssumeRoleWithWebIdentity", result="ok") == \
        before["sts_requests_total"] + 1
    assert credlet.metric("requests_total", protocol="ecs", code="200") == before["requests_total"] + 1
    assert credlet.metric("token_requests_total", result="ok") == before["token_requests_total"] + 1
    assert credlet.metric("credential_expiry_timestamp_seconds", service_account=pod["service_account"]) > time.time()
    assert credlet.metric("build_info") == 1


def test_each_issuance_is_one_audit_line(world, credlet, new_pod):
    pod = new_pod()
    issued = genuine(world, credlet.credentials(pod["ip"]), pod)
    lines = wait_until(lambda: [e for e in credlet.logs if issued["access_key_id"] in json.dumps(e)], 5)
    assert len(lines) == 1
    text = json.dumps(lines[0])
    for fact in (pod["namespace"], pod["service_account"], pod["role_arn"], issued["session_name"]):
        assert fact in text
    assert issued["secret_access_key"] not in text and issued["session_token"] not in text
