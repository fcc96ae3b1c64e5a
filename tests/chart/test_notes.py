"""NOTES.txt says what to do next for the values there are, and warns of what is open."""

import pytest

from chart import notes

LABEL_ENABLED = "kubectl label namespace NAMESPACE credlet.io/enabled=true"
LABEL_INJECT = "kubectl label namespace NAMESPACE credlet.io/inject=true"
BY_ADDRESS = "a pod that asks the node is known by its address"


@pytest.mark.parametrize("values, said, unsaid", [
    ({}, [LABEL_ENABLED, "credlet.io/role-arn=", "value: http://169.254.170.23/v1/credentials", BY_ADDRESS,
          "helm test credlet --namespace credlet", "credlet explain", "pod-security.kubernetes.io/enforce=privileged",
          "must admit pods on the host's network",
          "enable metrics.podMonitor"],
     [LABEL_INJECT, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "cluster-admin", "OVN"]),
    ({"identity": "token"}, ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "audience: sts.amazonaws.com"],
     [BY_ADDRESS, "Consider"]),
    ({"tokenSource": "caller"}, ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"], [LABEL_ENABLED]),
    ({"tokenSource": "impersonate", "identity": "both"}, [], [LABEL_ENABLED, "Consider"]),
    ({"tokenSource": "projected"}, ["serviceAccountToken", "can read every token and secret"], [LABEL_ENABLED]),
    ({"injection": {"enabled": True}}, [LABEL_INJECT], ["In each container"]),
    ({"tokenRequest": {"namespaces": ["a", "b"]}}, [], [LABEL_ENABLED, "cluster-admin"]),
    ({"tokenRequest": {"namespaces": ["a", "b"], "policy": {"enabled": False}}}, ["every service account in a, b"],
     ["cluster-admin"]),
    ({"tokenRequest": {"policy": {"enabled": False}, "acknowledgeUnconfined": True}}, ["can become cluster-admin"],
     [LABEL_ENABLED]),
    ({"imds": {"v1": True}}, ["imds.v1 answers plain GET requests"], []),
    ({"openshift": {"enabled": True}}, ["routingViaHost: true"], []),
    ({"logLevel": "debug"}, ["logLevel debug"], []),
    ({"metrics": {"podMonitor": {"enabled": True}}}, ["Metrics are on port 9798"], ["enable metrics.podMonitor"]),
    ({"metrics": {"enabled": False}}, [], ["Metrics are on port"]),
    ({"audience": "openshift", "annotationPrefixes": ["aws.example/"]}, ["its aud openshift", "aws.example/role-arn="], []),
    ({"listener": {"addresses": ["fd00:ec2::23"]}}, ["http://[fd00:ec2::23]/v1/credentials"], []),
    ({"listener": {"mode": "pod"}, "openshift": {"enabled": True}},
     ["value: http://127.0.0.1:9799/v1/credentials", "on port 9798 of every daemon's pod",
      "must admit pods that see the host's processes", "pod-security.kubernetes.io/enforce=privileged"],
     [BY_ADDRESS, "routingViaHost", "169.254.170.23", "Consider", "on the host's network"]),
    ({"listener": {"mode": "both"}, "openshift": {"enabled": True}},
     ["value: http://127.0.0.1:9799/v1/credentials", "on port 9798 of every node", BY_ADDRESS,
      "Once no pod asks at the node's address any more"], ["routingViaHost"]),
], ids=str)
def test_the_notes_are_for_these_values(values, said, unsaid):
    text = notes(values)
    flat = " ".join(text.split())
    assert not [words for words in said if words not in flat]
    assert not [words for words in unsaid if words in flat]
    assert "\n\n\n" not in text
