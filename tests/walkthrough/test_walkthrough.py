"""docs/walkthrough.md does what it says."""

import json
import re
import urllib.parse

import objects
import page
import pytest
from shell import Shell
from stage import ROOT

JOURNEYS = ("rosa", "eks", "own")
LANGUAGES = ("sh", "text", "yaml")
ROLE = "arn:aws:iam::111122223333:role/demo-orders-orders"


def test_every_block_is_run_or_says_why_not(walkthrough):
    unmarked = [block.line for block in walkthrough.blocks if block.kind not in ("run", "shown", "prints")]
    assert not unmarked, f"blocks at lines {unmarked} have no mark"
    for block in walkthrough.blocks:
        assert block.about or block.kind == "prints", f"line {block.line}: no name, or no reason"
        assert block.language in LANGUAGES, f"line {block.line}: in what language?"
    assert set(walkthrough.journeys) == set(JOURNEYS)


def test_what_is_only_shown_is_known(walkthrough):
    """Whoever shows another block without running it says so here too."""
    shown = {}
    for block in walkthrough.blocks:
        if block.kind == "shown":
            shown.setdefault(block.about, []).append(block.text.split()[0])
    assert shown == {
        "there is no OpenShift login and no OpenShift Cluster Manager in the test": ["oc"],
        "there is no registry in the test; the image itself is built and run by other tests": [".ci/image.sh"],
        "nothing but eksctl does this, and it makes what the blocks above made": ["eksctl"],
    }


def test_what_credlet_says_in_the_table_of_causes_it_does_say():
    said = [text for line in page.PAGE.read_text().splitlines() if line.startswith(("| explain:", "| a daemon's log:"))
            for text in re.findall("`([^`]*)`", line.split("|")[1])]
    assert len(said) >= 5
    sources = [file.read_text() for folder, kind in (
        ("runtime", "*.cpp"), ("metadata", "*.cpp"), ("daemon", "*.cpp"), ("charts", "**/*.yaml"),
        ("tests/sim", "sts.py")) for file in (ROOT / folder).glob(kind)]
    for text in said:
        part = text.split("… ")[-1]
        assert any(part in source for source in sources), text


@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_reader_gets_there(walkthrough, cluster, journey):
    assert not cluster.stuck, f"the way ended before, on {cluster.stuck}: what it made is still there"
    cluster.stuck = journey
    cluster.become(journey)
    shell = Shell(cluster.desk(journey), cluster.environment(), cluster.kubelet.alive)
    printed = {}
    try:
        for block in walkthrough.journeys[journey]:
            if block.language == "yaml":
                cluster.configure(block.text)
                continue
            if block.about == "cleanup":
                the_role_trusts_nobody_else(cluster)
            printed[block.about] = shell.run(block.text)
            assert block.prints is None or page.matches(block.prints, printed[block.about]), (
                f"line {block.line} ({block.about}) printed:\n{printed[block.about]}\nand not:\n{block.prints}")
    finally:
        shell.stop()
    the_audit_trails_agree(cluster, printed)
    nothing_is_left(cluster)
    cluster.stuck = None


def the_role_trusts_nobody_else(cluster):
    """Tokens that the cluster itself signed, traded by hand: of the audience and the service account that the page's trust
    policy names, and of others."""
    def trade(account, audience):
        token = objects.token(cluster.plane.admin, "orders", account, [audience])
        body = urllib.parse.urlencode({"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": ROLE,
                                       "RoleSessionName": "by-hand", "WebIdentityToken": token})
        status, _, answer = cluster.aws.request("sts", "POST", "/", body, {
            "Content-Type": "application/x-www-form-urlencoded"})
        refusal = re.search(rb"<Code>(\w+)</Code>", answer)
        return status, refusal and refusal[1].decode()
    assert trade("orders", "sts.amazonaws.com") == (200, None)
    assert trade("default", "sts.amazonaws.com") == (403, "AccessDenied")
    known = "openshift" in cluster.aws.get("/settings")["client_ids"]
    assert trade("orders", "openshift") == ((403, "AccessDenied") if known else (400, "InvalidIdentityToken"))


def the_audit_trails_agree(cluster, printed):
    """credlet's line, CloudTrail's event and STS itself name one access key, and the pod had its identity."""
    line = json.loads(printed["audit"])
    issued = cluster.aws.issued(line["access_key_id"])
    assert issued["sub"] == "system:serviceaccount:orders:orders" and issued["role_arn"] == line["role_arn"] == ROLE
    assert printed["identity"].strip() == issued["arn"]
    if "cloudtrail" in printed:
        assert json.loads(printed["cloudtrail"])["key"] == line["access_key_id"]


def nothing_is_left(cluster):
    """Of what the page made: in the cluster, and (but for the EKS cluster's provider) in the account."""
    for path in ("/api/v1/namespaces/orders", "/api/v1/namespaces/credlet"):
        assert not cluster.plane.admin.exists(path), path
    for group, kinds in (("rbac.authorization.k8s.io", ("clusterroles", "clusterrolebindings")),
                         ("admissionregistration.k8s.io", ("validatingadmissionpolicies", "mutatingadmissionpolicies"))):
        for kind in kinds:
            names = [one["metadata"]["name"] for one in cluster.plane.admin.get(f"/apis/{group}/v1/{kind}")["items"]]
            assert not [name for name in names if name.startswith("credlet")], kind
