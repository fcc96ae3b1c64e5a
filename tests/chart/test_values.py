"""values.schema.json: good values pass, bad ones do not, and neither it nor the README says other than values.yaml."""

import copy
import json

import pytest
import yaml

import values_table
from chart import CHART, helm, refusal, render, template

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())

# Whose keys are Kubernetes' or the user's own.
FREE = {
    ("commonLabels",), ("serviceAccount", "annotations"), ("podAnnotations",), ("podLabels",), ("nodeSelector",),
    ("podSecurityContext",), ("securityContext",), ("resources", "requests"), ("resources", "limits"),
    ("affinity", "nodeAffinity"), ("test", "podLabels"), ("test", "podAnnotations"),
    ("metrics", "podMonitor", "additionalLabels"), ("metrics", "serviceMonitor", "additionalLabels"),
    ("metrics", "prometheusRule", "additionalLabels"), ("metrics", "dashboard", "labels"),
    ("metrics", "dashboard", "annotations"),
}


def dictionaries(values, path=()):
    yield path
    for key, value in values.items():
        if isinstance(value, dict) and path + (key,) not in FREE:
            yield from dictionaries(value, path + (key,))


def nested(path, value):
    for key in reversed(path):
        value = {key: value}
    return value


def resolved(schema):
    return SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


@pytest.mark.parametrize("path", dictionaries(VALUES), ids=".".join)
def test_an_unknown_key_is_refused_at_every_level(path):
    said = refusal(nested(path + ("misspelt",), "x"))
    assert "additional properties 'misspelt' not allowed" in said


@pytest.mark.parametrize("path", dictionaries(VALUES), ids=".".join)
def test_schema_and_values_have_the_same_keys(path):
    schema, values = SCHEMA, VALUES
    for key in path:
        schema, values = resolved(schema["properties"][key]), values[key]
    may_be_absent = {"global", "claims", "podAffinity", "podAntiAffinity", "initialDelaySeconds", "successThreshold",
                     "matchLabels", "matchExpressions"}
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) - may_be_absent == set(values)


@pytest.mark.parametrize("path", sorted(FREE), ids=".".join)
def test_labels_annotations_and_kubernetes_own_fields_are_free(path):
    assert template(nested(path + ("example.com/x" if "abels" in path[-1] else "x",), "1")).returncode == 0


@pytest.mark.parametrize("path, value, because", [
    ("region", "Europe", "/region"),
    ("region", 1, "/region"),
    ("image.pullPolicy", "Sometimes", "/image/pullPolicy"),
    ("image.digest", "sha256:abc", "/image/digest"),
    ("image.repository", "Credlet", "/image/repository"),
    ("image.tag", "a b", "/image/tag"),
    ("imagePullSecrets", ["name"], "/imagePullSecrets/0"),
    ("imagePullSecrets", [{"secret": "x"}], "/imagePullSecrets/0"),
    ("nameOverride", "Upper", "/nameOverride"),
    ("fullnameOverride", "a" * 64, "/fullnameOverride"),
    ("commonLabels", {"app.kubernetes.io/name": "other"}, "/commonLabels"),
    ("podLabels", {"app.kubernetes.io/instance": "other"}, "/podLabels"),
    ("podLabels", {"a": "b c"}, "/podLabels/a"),
    ("podAnnotations", {"a": 1}, "/podAnnotations/a"),
    ("serviceAccount", {"create": False}, "/serviceAccount/name"),
    ("rbac.create", "yes", "/rbac/create"),
    ("tokenSource", "webhook", "/tokenSource"),
    ("identity", "none", "/identity"),
    ("audience", "", "/audience"),
    ("audience", "https://kubernetes.default.svc", "/audience"),
    ("extraAudiences", ["https://kubernetes.default.svc.cluster.local"], "/extraAudiences/0"),
    ("extraAudiences", ["it's"], "/extraAudiences/0"),
    ("annotationPrefixes", [], "/annotationPrefixes"),
    ("annotationPrefixes", ["credlet.io"], "/annotationPrefixes/0"),
    ("roleARNBase", "role/", "/roleARNBase"),
    ("sessionScope", "node", "/sessionScope"),
    ("rolePolicy.rules", [{"namespaces": ["a"]}], "/rolePolicy/rules/0"),
    ("rolePolicy.rules", [{"namespaces": ["a"], "roles": ["*"], "role": "x"}], "/rolePolicy/rules/0"),
    ("tokenRequest.lifetimeSeconds", 599, "/tokenRequest/lifetimeSeconds"),
    ("tokenRequest.lifetimeSeconds", 43201, "/tokenRequest/lifetimeSeconds"),
    ("tokenRequest.namespaces", ["a", "a"], "/tokenRequest/namespaces"),
    ("tokenRequest.namespaces", ["a'b"], "/tokenRequest/namespaces/0"),
    ("kubeletPath", "var/lib/kubelet", "/kubeletPath"),
    ("listener.addresses", [], "/listener/addresses"),
    ("listener.addresses", ["0.0.0.0"], "/listener/addresses/0"),
    ("listener.addresses", ["10.0.0.1"], "/listener/addresses/0"),
    ("listener.addresses", ["[fd00:ec2::23]"], "/listener/addresses/0"),
    ("listener.port", 0, "/listener/port"),
    ("listener.link.name", "sixteen-letters-", "/listener/link/name"),
    ("listener.mode", "sidecar", "/listener/mode"),
    ("listener.pod.addresses", [], "/listener/pod/addresses"),
    ("listener.pod.addresses", ["127.0.0.1", "127.0.0.1"], "/listener/pod/addresses"),
    ("listener.pod.addresses", ["0.0.0.0"], "/listener/pod/addresses/0"),
    ("listener.pod.addresses", ["::"], "/listener/pod/addresses/0"),
    ("listener.pod.addresses", ["169.254.170.23"], "/listener/pod/addresses/0"),
    ("listener.pod.addresses", ["localhost"], "/listener/pod/addresses/0"),
    ("listener.pod.addresses", ["[::1]"], "/listener/pod/addresses/0"),
    ("listener.pod.addresses", ["::1%lo"], "/listener/pod/addresses/0"),
    ("listener.pod.addresses", ["::ffff:127.0.0.1"], "/listener/pod/addresses/0"),
    ("listener.pod.port", 0, "/listener/pod/port"),
    ("listener.pod.port", 80, "/listener/pod/port"),
    ("listener.pod.port", 65536, "/listener/pod/port"),
    ("listener.pod.for", "none", "/listener/pod/for"),
    ("listener.pod.maxNamespaces", 0, "/listener/pod/maxNamespaces"),
    ("listener.pod.maxNamespaces", 100001, "/listener/pod/maxNamespaces"),
    ("injection.uri", "http://10.0.0.1/v1/credentials", "/injection/uri"),
    ("injection.uri", "https://host/it's", "/injection/uri"),
    ("injection.failurePolicy", "Warn", "/injection/failurePolicy"),
    ("injection.token.expirationSeconds", 60, "/injection/token/expirationSeconds"),
    ("sts.endpoint", "http://sts.example.com", "/sts/endpoint"),
    ("sts.endpoint", "https://user:password@sts.example.com", "/sts/endpoint"),
    ("sts", {"endpoint": "https://sts.example.com", "fips": True}, "/sts/fips"),
    ("sts.rate", 0, "/sts/rate"),
    ("sts.maxInFlight", 1.5, "/sts/maxInFlight"),
    ("limits.connections", 0, "/limits/connections"),
    ("kubeAPI", "http://10.0.0.1", "/kubeAPI"),
    ("logLevel", "trace", "/logLevel"),
    ("logFormat", "xml", "/logFormat"),
    ("metrics.port", 80, "/metrics/port"),
    ("metrics.bindAddress", "$(NODE_IP)", "/metrics/bindAddress"),
    ("metrics.podMonitor.interval", "soon", "/metrics/podMonitor/interval"),
    ("metrics", {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}},
     "/metrics/serviceMonitor/enabled"),
    ("metrics", {"enabled": False, "podMonitor": {"enabled": True}}, "/metrics/podMonitor/enabled"),
    ("networkPolicy.enabled", True, "/networkPolicy/namespaces"),
    ("networkPolicy.flavor", "calico", "/networkPolicy/flavor"),
    ("flowSchema.matchingPrecedence", 9000, "/flowSchema/matchingPrecedence"),
    ("updateStrategy.type", "Recreate", "/updateStrategy/type"),
    ("updateStrategy.type", "OnDelete", "/updateStrategy/rollingUpdate"),
    ("updateStrategy.rollingUpdate", {"maxSurge": 1, "maxUnavailable": 1}, "/updateStrategy/rollingUpdate"),
    ("updateStrategy.rollingUpdate", {"maxSurge": 0, "maxUnavailable": 0}, "/updateStrategy/rollingUpdate"),
    ("updateStrategy.rollingUpdate", {"maxSurge": "101%"}, "/updateStrategy/rollingUpdate/maxSurge"),
    ("drainTimeoutSeconds", 301, "/drainTimeoutSeconds"),
    ("dnsPolicy", "None", "/dnsPolicy"),
    ("securityContext.capabilities", {"add": ["SYS_ADMIN"]}, "/securityContext/capabilities"),
    ("resources", {"limit": {"memory": "1Gi"}}, "/resources"),
    ("livenessProbe.httpGet", {"port": 80}, "/livenessProbe"),
    ("tolerations", [{"operator": "Everywhere"}], "/tolerations/0"),
    ("extraEnv", [{"value": "x"}], "/extraEnv/0"),
    ("extraVolumes", [{"name": "run", "emptyDir": {}}], "/extraVolumes/0"),
    ("extraVolumes", [{"name": "netns", "emptyDir": {}}], "/extraVolumes/0"),
    ("extraVolumeMounts", [{"name": "x", "mountPath": "relative"}], "/extraVolumeMounts/0"),
    ("test.credentials", "yes", "/test/credentials"),
])
def test_a_bad_value_is_refused_where_it_stands(path, value, because):
    assert f"at '{because}" in refusal(nested(tuple(path.split(".")), value))


@pytest.mark.parametrize("values, because", [
    ({"tokenSource": "caller", "identity": "address"}, "at '/identity'"),
    ({"tokenSource": "caller", "injection": {"enabled": True, "token": {"enabled": False}}},
     "at '/injection/token/enabled'"),
    ({"identity": "token", "injection": {"enabled": True, "token": {"enabled": False}}}, "at '/injection/token/enabled'"),
    ({"rolePolicy": {"rules": [{"namespaces": ["a"], "roles": ["b"]}], "existingConfigMap": "mine"}},
     "rolePolicy.rules and rolePolicy.existingConfigMap exclude each other"),
    ({"imds": {"availabilityZone": "eu-west-1a", "zoneFromNode": True}},
     "imds.availabilityZone and imds.zoneFromNode exclude each other"),
    ({"limits": {"connections": 10, "connectionsPerPod": 11}}, "limits.connectionsPerPod is above limits.connections"),
    ({"listener": {"port": 9798}}, "metrics.port is listener.port"),
    ({"listener": {"mode": "both", "port": 9798}}, "metrics.port is listener.port"),
    ({"listener": {"mode": "pod"}, "metrics": {"bindAddress": "$(HOST_IP)"}}, "Use $(POD_IP)"),
    ({"listener": {"mode": "pod"}, "metrics": {"bindAddress": "[$(HOST_IP)]"}}, "Use $(POD_IP)"),
    ({"listener": {"mode": "pod"}, "networkPolicy": {"enabled": True, "namespaces": ["a"]}},
     "pods ask on their own loopback, which no policy forbids"),
    ({"region": ""}, "region is needed"),
])
def test_values_that_contradict_each_other_are_refused(values, because):
    assert because in refusal(values)


@pytest.mark.parametrize("values", [
    {},
    {"image": {"registry": "registry.example:5000/team", "repository": "a/credlet", "tag": "v1.2.3"}},
    {"image": {"digest": "sha256:" + "0" * 64}, "imagePullSecrets": [{"name": "pull"}]},
    {"region": "us-gov-west-1", "sts": {"fips": True, "regionalEndpoints": "regional"}},
    {"region": "cn-north-1", "audience": "sts.amazonaws.com.cn"},
    {"audience": "openshift", "extraAudiences": ["sts.amazonaws.com"]},
    {"sts": {"endpoint": "https://vpce-1.sts.eu-west-1.vpce.amazonaws.com", "rate": 0.5, "burst": 1}},
    {"listener": {"addresses": ["169.254.170.23", "fd00:ec2::23"], "port": 8080}},
    {"listener": {"addresses": ["169.254.170.2"], "link": {"create": False}}},
    {"listener": {"mode": "pod", "port": 9798}},  # there is no such listener
    {"listener": {"mode": "both", "pod": {"port": 9798}}},  # in other networks than the metrics
    {"listener": {"mode": "both", "pod": {"addresses": ["127.0.0.53", "::1"], "port": 1024, "for": "role"}},
     "metrics": {"bindAddress": "$(HOST_IP)"}, "networkPolicy": {"enabled": True, "namespaces": ["a"]}},
    {"listener": {"mode": "pod"}, "metrics": {"enabled": False, "bindAddress": "$(HOST_IP)"}},
    {"metrics": {"bindAddress": "[$(HOST_IP)]", "port": 1024}},
    {"metrics": {"bindAddress": "[$(POD_IP)]"}},
    {"metrics": {"enabled": False, "prometheusRule": {"enabled": True}}},
    {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}},
    {"updateStrategy": {"rollingUpdate": {"maxSurge": "10%"}}},
    {"updateStrategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "25%"}}},
    {"rolePolicy": {"rules": [{"namespaces": ["team-a-*"], "roles": ["arn:aws:iam::123456789012:role/team-a/*"]}]}},
    {"serviceAccount": {"create": False, "name": "mine"}, "rbac": {"create": False}},
    {"tolerations": [], "nodeSelector": None, "affinity": None, "resources": None},
    {"extraEnv": [{"name": "HTTPS_PROXY", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
     "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
     "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}], "sts": {"caFile": "/etc/ca/ca.crt"}},
    {"global": {"anything": "a parent chart says"}},
], ids=str)
def test_good_values_are_accepted(values):
    assert render(values)


@pytest.mark.parametrize("values", [{}, {"metrics": {"podMonitor": {"enabled": True}}, "openshift": {"enabled": True}}],
                         ids=["plain", "more"])
def test_lint_finds_nothing(values):
    done = helm("lint", "--strict", CHART.name, values=values)
    assert done.returncode == 0 and "0 chart(s) failed" in done.stdout, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout and "[ERROR]" not in done.stdout


def test_every_value_has_a_description():
    described = {path for path, _ in values_table.described((CHART / "values.yaml").read_text())}

    def leaves(values, path=()):
        if path in described:
            return
        if not isinstance(values, dict) or not values:
            yield ".".join(path)
            return
        for key, value in values.items():
            yield from leaves(value, path + (key,))
    assert list(leaves(copy.deepcopy(VALUES))) == []


def test_the_readme_has_the_values_as_they_are():
    assert (CHART / "README.md").read_text() == values_table.readme_with(values_table.table()), \
        "run tests/chart/values_table.py --write"
