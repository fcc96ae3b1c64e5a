"""How Prometheus finds the daemons, and how pods get to them."""

import re

import pytest
import yaml

from chart import CHART, ON_BOTH, listening, of_kind, one, render


def relabelled(rules, labels):
    """As Prometheus does it; None for a target that is dropped. Only what the chart uses."""
    labels = dict(labels)
    for rule in rules:
        value = ";".join(labels.get(name, "") for name in rule.get("sourceLabels", []))
        match = re.fullmatch(rule.get("regex", "(.*)"), value)
        action = rule.get("action", "replace")
        assert action in ("keep", "replace")
        if action == "keep":
            if not match:
                return None
        elif match:
            template = re.sub(r"\$(\d)", r"\\\1", rule.get("replacement", "$1"))
            labels[rule["targetLabel"]] = match.expand(template)
    return labels


def target(ip, container="credlet"):
    return {"__meta_kubernetes_pod_ip": ip, "__meta_kubernetes_pod_container_name": container,
            "__meta_kubernetes_pod_node_name": "node-1", "__address__": ip}


@pytest.mark.parametrize("ip, address", [("10.0.0.7", "10.0.0.7:9798"), ("fd00::7", "[fd00::7]:9798")])
def test_the_pod_monitor_makes_the_address_that_no_container_declares(ip, address):
    made = one(render({"metrics": {"podMonitor": {"enabled": True}}}), "PodMonitor")["spec"]
    endpoint, = made["podMetricsEndpoints"]
    assert not {"port", "portNumber", "targetPort"} & set(endpoint)  # they keep declared ports only
    labels = relabelled(endpoint["relabelings"], target(ip))
    assert labels["__address__"] == address and labels["node"] == "node-1"
    assert relabelled(endpoint["relabelings"], target(ip, container="link")) is None
    assert made["jobLabel"] == "app.kubernetes.io/name"


def test_monitors_select_the_daemons_and_not_the_test_pod():
    for kind, key in (("PodMonitor", "podMonitor"), ("ServiceMonitor", "serviceMonitor")):
        objects = render({"metrics": {key: {"enabled": True}}})
        monitor = one(objects, kind)["spec"]
        assert monitor["namespaceSelector"] == {"matchNames": ["credlet"]}
        wanted = monitor["selector"]["matchLabels"].items()
        selected = one(objects, "DaemonSet")["spec"]["template"] if kind == "PodMonitor" else one(objects, "Service")
        assert wanted <= selected["metadata"]["labels"].items()
        assert not wanted <= one(objects, "Pod")["metadata"]["labels"].items()


def test_the_service_is_headless_with_a_numeric_port():
    objects = render({"metrics": {"port": 9000, "serviceMonitor": {"enabled": True}}})
    service = one(objects, "Service")["spec"]
    assert service["clusterIP"] == "None"
    assert service["ports"] == [{"name": "metrics", "port": 9000, "targetPort": 9000, "protocol": "TCP"}]
    assert service["selector"].items() <= one(objects, "DaemonSet")["spec"]["template"]["metadata"]["labels"].items()
    assert one(objects, "ServiceMonitor")["spec"]["endpoints"][0]["port"] == "metrics"


def test_more_relabelings_come_after_the_charts_own():
    more = [{"sourceLabels": ["node"], "targetLabel": "host"}]
    drop = [{"sourceLabels": ["__name__"], "regex": "process_.*", "action": "drop"}]
    for kind, key, endpoints in (("PodMonitor", "podMonitor", "podMetricsEndpoints"),
                                 ("ServiceMonitor", "serviceMonitor", "endpoints")):
        made = one(render({"metrics": {key: {"enabled": True, "relabelings": more, "metricRelabelings": drop,
                                             "interval": "1m", "scrapeTimeout": "20s"}}}), kind)["spec"][endpoints][0]
        assert made["relabelings"][-1:] == more and made["metricRelabelings"] == drop
        assert (made["interval"], made["scrapeTimeout"], made["path"]) == ("1m", "20s", "/metrics")


def test_the_rules_are_the_file():
    made = one(render({"metrics": {"prometheusRule": {"enabled": True}}}), "PrometheusRule")
    assert made["spec"] == yaml.safe_load((CHART / "files/alerts.yaml").read_text())
    assert made["spec"]["groups"]


def allowed(flavor="kubernetes", **values):
    return render({"networkPolicy": {"enabled": True, "flavor": flavor, "namespaces": ["a", "b"],
                                     "podSelector": {"matchLabels": {"app": "x"}}}, **values})


def test_network_policies_allow_the_listener_alone():
    policies = of_kind(allowed(listener={"addresses": ["169.254.170.23", "fd00:ec2::23"], "port": 8080}), "NetworkPolicy")
    assert [p["metadata"]["namespace"] for p in policies] == ["a", "b"]
    for made in policies:
        assert made["spec"] == {
            "podSelector": {"matchLabels": {"app": "x"}}, "policyTypes": ["Egress"],
            "egress": [{"to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}, {"ipBlock": {"cidr": "fd00:ec2::23/128"}}],
                        "ports": [{"protocol": "TCP", "port": 8080}]}]}


def test_policies_are_for_the_listener_on_the_node_where_there_are_both():
    made, _ = of_kind(allowed(**listening(ON_BOTH)), "NetworkPolicy")
    assert made["spec"]["egress"] == [{"to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}],
                                       "ports": [{"protocol": "TCP", "port": 80}]}]


def test_to_cilium_the_daemon_is_the_host():
    objects = allowed("cilium")
    assert not of_kind(objects, "NetworkPolicy")
    assert [p["metadata"]["namespace"] for p in of_kind(objects, "CiliumNetworkPolicy")] == ["a", "b"]
    for made in of_kind(objects, "CiliumNetworkPolicy"):
        assert made["spec"] == {
            "endpointSelector": {"matchLabels": {"app": "x"}},
            "egress": [{"toEntities": ["host"], "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}]}]}]}


def test_the_flow_schema_is_for_what_the_daemon_asks():
    made = one(render({"flowSchema": {"enabled": True}}), "FlowSchema")["spec"]
    assert made["matchingPrecedence"] < 9000
    rule, = made["rules"]
    assert rule["subjects"] == [{"kind": "ServiceAccount", "serviceAccount": {"name": "credlet", "namespace": "credlet"}}]
    assert {(r, v) for r in rule["resourceRules"][0]["resources"] for v in rule["resourceRules"][0]["verbs"]} >= {
        ("pods", "watch"), ("serviceaccounts", "list"), ("serviceaccounts/token", "create")}
