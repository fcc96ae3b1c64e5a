"""Each token source, end to end: the chart's rights as Helm installed them, the real daemon, a token that the API
server signed, and an STS that checks it with the keys the API server publishes."""

import jwt
import pytest

import mutants
import objects
from daemon import genuine, served
from node import ProjectedDirectory
from simulator import wait_until

SOURCES = ["caller", "request", "impersonate", "projected", "auto"]


class Setting:
    """A node whose daemon uses one source, and what it did so far."""

    def __init__(self, source, node, daemon, kubelet_dir):
        self.source, self.node, self.daemon, self.kubelet_dir = source, node, daemon, kubelet_dir

    def asked(self, mark=0):
        return self.node.plane.audit_log.entries(mark, bound_to_node=self.node.node_name)

    def token_requests(self, mark):
        """Those that were granted, and those that came before the Node authorizer had seen that the pod is here."""
        asked = [entry for entry in self.asked(mark) if entry["resource"] == "serviceaccounts/token"]
        early = [entry for entry in asked if too_early(entry)]
        granted = [entry for entry in asked if entry not in early]
        assert all(entry["code"] == 201 for entry in granted), granted
        return granted, early

    def workload(self, **how):
        """Such that the source has what it needs of the pod."""
        pod = self.node.workload(**how)
        self.renew_token(pod)
        return pod

    def renew_token(self, pod):
        """What the kubelet does in the pod's life, and the daemon itself with the other sources."""
        if self.source == "caller":
            pod["token"] = self.node.caller_token(pod)
        if self.source == "projected":
            volume = f"{self.kubelet_dir}/{pod['uid']}/volumes/kubernetes.io~projected/aws"
            pod["volume"] = pod.get("volume") or ProjectedDirectory(volume)
            pod["volume"].write(token=self.node.caller_token(pod))

    def credentials(self, pod, seconds=10):
        return wait_until(lambda: served(self.daemon.credentials(pod["ip"], pod.get("token"))), seconds, "credentials")


def too_early(entry):
    """The Node authorizer's words for what it does not know yet, and for a pod that is not there."""
    return entry["code"] == 403 and "no relationship found" in entry["annotations"]["authorization.k8s.io/reason"]


@pytest.fixture(scope="module", params=SOURCES)
def setting(request, new_node, module_credlet, tmp_path_factory):
    node = new_node(request.param)
    kubelet_dir = tmp_path_factory.mktemp("kubelet")
    daemon = module_credlet(node, "--token-source", request.param, "--kubelet-pods-dir", str(kubelet_dir))
    return Setting(request.param, node, daemon, kubelet_dir)


def test_a_pod_gets_credentials_of_its_role(setting):
    mark = setting.node.plane.audit_log.mark()
    pod = setting.workload()
    issued = genuine(setting.node, setting.credentials(pod), pod)
    assert issued["pod"] == {"name": pod["name"], "uid": pod["uid"]}
    issuances, early = setting.token_requests(mark)
    as_node = f"system:node:{setting.node.node_name}"
    if setting.source in ("impersonate", "request", "auto"):
        assert [e["acting_as"] for e in issuances] in {
            "impersonate": [[as_node]], "request": [[None]], "auto": [[as_node], *([[None]] if early else [])],
        }[setting.source]
        assert issued["jti"] == issuances[0]["annotations"]["authentication.kubernetes.io/issued-credential-id"][4:]
    else:
        assert issuances == early == []
    assert issued["parameters"]["RoleSessionName"].startswith(f"prod.{pod['service_account']}.")


def test_all_that_is_granted_is_used_and_nothing_is_refused(setting):
    setting.credentials(setting.workload())
    unannotated = "plain-" + setting.source
    objects.service_account(setting.node.admin, "prod", unannotated)
    setting.node.pod(unannotated, unannotated)
    wait_until(lambda: "no role-arn annotation" in explained(setting, unannotated)["role"]["detail"], 5, "no role")
    assert "no such pod" in explained(setting, "nobody")["pod"]["detail"]
    used, refused = set(), []
    for entry in setting.asked():
        if entry["code"] == 403 and not too_early(entry):
            refused.append(entry)
        elif not entry["uri"].startswith(("/openid", "/.well-known")):
            prefix = "impersonate-on:associated-node:" if entry["acting_as"] else ""
            used.add((entry["resource"], prefix + entry["verb"]))
            if entry["acting_as"]:
                used.add(("nodes", "impersonate:associated-node"))
    granted = {(resource, verb) for _, body in mutants.objects_of(setting.node.admin, setting.node.namespace)
               if body["kind"] == "ClusterRole" and not body["metadata"]["name"].endswith("-node-audience")
               for _, resource, verb in mutants.rights_of(body)}
    if setting.source == "auto":  # for clusters without constrained impersonation, and while it is too early
        used.add(("serviceaccounts/token", "create"))
    assert refused == [] and used == granted


def test_nothing_is_issued_for_a_pod_of_another_node(setting, new_node):
    elsewhere = new_node(setting.source).workload()
    answer = setting.daemon.credentials(elsewhere["ip"], setting.node.caller_token(elsewhere))
    assert answer.status in (401, 403), answer


def test_a_token_that_sts_refused_is_not_traded_again(setting):
    mark = setting.node.plane.audit_log.mark()
    pod = setting.workload(sts_fault={"kind": "error", "code": "ExpiredTokenException", "count": 1})
    if setting.source in ("caller", "projected"):
        assert setting.daemon.credentials(pod["ip"], pod.get("token")).status in (403, 503)
        setting.renew_token(pod)
    genuine(setting.node, setting.credentials(pod), pod)
    issuances, _ = setting.token_requests(mark)
    assert len(issuances) == (0 if setting.source in ("caller", "projected") else 2)


def explained(setting, pod):
    steps = setting.daemon.admin(f"/explain?namespace=prod&pod={pod}").json["steps"]
    return {step["name"]: step for step in steps}


def test_auto_prefers_the_callers_own_token(new_node, start_credlet):
    node = new_node("auto")
    daemon = start_credlet(node, "--token-source", "auto")
    pod = node.workload(annotations={"credlet.io/role-arn": ""})  # nothing to prefetch
    mark = node.plane.audit_log.mark()
    token = node.caller_token(pod)
    assert daemon.credentials(pod["ip"], token).json["Code"] == "InvalidAnnotation"
    objects.annotate_service_account(node.admin, "prod", pod["service_account"], role_arn=pod["role_arn"])
    answer = wait_until(lambda: served(daemon.credentials(pod["ip"])), 10, "credentials")
    assert genuine(node, answer, pod)["jti"] == jwt.decode(token, options={"verify_signature": False})["jti"]
    assert node.plane.audit_log.entries(mark, bound_to_node=node.node_name, resource="serviceaccounts/token") == []
