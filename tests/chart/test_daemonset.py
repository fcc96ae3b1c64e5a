"""The DaemonSet: closed where it can be, surging, and told by its environment."""

import itertools
import os
import re
import subprocess

import pytest
import yaml

from chart import (CHART, IN_PODS, MODES, NEWEST, ON_BOTH, ON_NODE, ROOT, TOKEN_SOURCES, VERSIONS, daemon, environment,
                   listening, merged, one, pod_spec, render)

BINARY = os.environ.get("CREDLET_BINARY", ROOT / "build/release/credlet")


def init(objects):
    return pod_spec(objects)["initContainers"][0]


def all_containers(spec):
    return spec["containers"] + spec.get("initContainers", [])


# Every listener.mode with every token source and every version of Kubernetes that has both.
EVERYWHERE = [(mode, source, kube) for mode, source, kube in itertools.product(MODES, TOKEN_SOURCES, VERSIONS)
              if source != "impersonate" or kube == NEWEST]


def test_no_container_declares_a_port():
    """A declared port is a host port on the host network, and the pod that is to replace another would never be
    scheduled."""
    for values in ({}, {"metrics": {"podMonitor": {"enabled": True}}}, {"openshift": {"enabled": True}},
                   listening(IN_PODS), listening(ON_BOTH)):
        assert not [c["name"] for c in all_containers(pod_spec(render(values))) if "ports" in c]


@pytest.mark.parametrize("mode, source, kube", EVERYWHERE, ids=" ".join)
def test_it_has_of_the_host_what_its_listeners_take_and_nothing_more(mode, source, kube):
    """The host's network for those on the node. Its processes, control groups and pinned networks for those in pods."""
    spec = pod_spec(render({**listening(mode), "tokenSource": source}, kube=kube))
    host = {key: value for key, value in spec.items() if key.startswith("host")}
    assert host == {**({"hostNetwork": True} if mode != IN_PODS else {}), **({"hostPID": True} if mode != ON_NODE else {})}
    paths = {v["hostPath"]["path"] for v in spec["volumes"] if "hostPath" in v}
    assert paths == ({"/sys/fs/cgroup", "/run/netns"} if mode != ON_NODE else set()) | (
        {"/var/lib/kubelet/pods"} if source == "projected" else set())
    assert [c["name"] for c in spec.get("initContainers", [])] == (["link"] if mode != IN_PODS else [])


def test_it_surges_and_waits_for_the_new_daemon():
    spec = one(render(), "DaemonSet")["spec"]
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert spec["minReadySeconds"] > 0
    assert "readinessProbe" in daemon(render())


@pytest.mark.parametrize("values", [{}, {"tokenSource": "projected"}, {"openshift": {"enabled": True}}], ids=str)
def test_probes_ask_over_a_socket_in_the_pods_own_directory(values):
    objects = render(values)
    container = daemon(objects)
    asked = {}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert not {"httpGet", "tcpSocket", "grpc"} & set(container[probe])
        asked[probe] = container[probe]["exec"]["command"]
    assert asked == {"startupProbe": ["/usr/local/bin/credlet", "probe", "healthz"],
                     "livenessProbe": ["/usr/local/bin/credlet", "probe", "healthz"],
                     "readinessProbe": ["/usr/local/bin/credlet", "probe", "readyz"]}
    scheme, _, path = environment(objects)["CREDLET_ADMIN_LISTEN"].partition(":")
    mount = next(m for m in container["volumeMounts"] if path.startswith(m["mountPath"] + "/"))
    volume = next(v for v in pod_spec(objects)["volumes"] if v["name"] == mount["name"])
    assert scheme == "unix" and "emptyDir" in volume


@pytest.mark.parametrize("seconds", [0, 5, 300])
def test_the_kubelet_waits_longer_than_the_drain(seconds):
    objects = render({"drainTimeoutSeconds": seconds})
    assert environment(objects)["CREDLET_DRAIN_TIMEOUT"] == f"{seconds}s"
    assert pod_spec(objects)["terminationGracePeriodSeconds"] >= seconds + 10


@pytest.mark.parametrize("mode, source, port", itertools.product(MODES, TOKEN_SOURCES, (80, 8080)))
def test_only_the_capabilities_that_are_needed(mode, source, port):
    """By names without CAP_, or the API server would not have them beside allowPrivilegeEscalation: false."""
    objects = render({"tokenSource": source, **listening(mode, port=port)})
    needed = (["NET_BIND_SERVICE"] if port < 1024 and mode != IN_PODS else []) + (
        ["SYS_ADMIN", "SYS_PTRACE"] if mode != ON_NODE else []) + (["DAC_READ_SEARCH"] if source == "projected" else [])
    given = daemon(objects)["securityContext"]["capabilities"]
    assert given["drop"] == ["ALL"] and given.get("add", []) == needed
    if mode != IN_PODS:
        assert init(objects)["securityContext"]["capabilities"] == {"add": ["NET_ADMIN"], "drop": ["ALL"]}


@pytest.mark.parametrize("mode, source, kube", EVERYWHERE, ids=" ".join)
def test_security_contexts(mode, source, kube):
    """The seccomp profile stays in every mode: those of containerd, CRI-O and Docker allow setns where SYS_ADMIN is."""
    objects = render({"tokenSource": source, **listening(mode)}, kube=kube)
    spec = pod_spec(objects)
    assert spec["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert not {"hostIPC", "shareProcessNamespace"} & set(spec)
    usual = {"allowPrivilegeEscalation": False, "privileged": False, "readOnlyRootFilesystem": True, "runAsUser": 0,
             "runAsGroup": 0}
    for container in all_containers(spec):
        own = {key: value for key, value in container["securityContext"].items() if key != "capabilities"}
        labels = {"seLinuxOptions": {"type": "spc_t"}} if source == "projected" or mode != ON_NODE else {}
        profile = {"appArmorProfile": {"type": "Unconfined"}} if mode != ON_NODE else {}
        assert own == {**usual, **({**labels, **profile} if container["name"] == "credlet" else {})}
    test = one(objects, "Pod")["spec"]
    assert test["securityContext"]["runAsNonRoot"] is True and "hostNetwork" not in test
    assert test["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}


def test_capabilities_cannot_be_had_by_a_security_context_of_ones_own():
    context = daemon(render({"securityContext": {"runAsUser": 1000}}))["securityContext"]
    assert context["runAsUser"] == 1000 and context["capabilities"] == {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}


def host_mounts(objects):
    """(what of the host, how it is mounted) for each of its paths that there are."""
    of_host = {v["name"]: v["hostPath"] for v in pod_spec(objects)["volumes"] if "hostPath" in v}
    return [(of_host[m["name"]], m) for m in daemon(objects)["volumeMounts"] if m["name"] in of_host]


@pytest.mark.parametrize("mode", [IN_PODS, ON_BOTH])
def test_control_groups_and_pinned_networks_are_read_only_where_the_daemon_looks_for_them(mode):
    objects = render(listening(mode))
    assert host_mounts(objects) == [
        ({"path": "/sys/fs/cgroup", "type": "Directory"},
         {"name": "cgroup", "mountPath": "/host/sys/fs/cgroup", "readOnly": True, "recursiveReadOnly": "IfPossible"}),
        ({"path": "/run/netns", "type": "DirectoryOrCreate"},
         {"name": "netns", "mountPath": "/run/netns", "readOnly": True, "mountPropagation": "HostToContainer"})]
    assert environment(objects)["CREDLET_CGROUP_DIR"] == "/host/sys/fs/cgroup"
    said = subprocess.run([BINARY, "serve", "--help"], capture_output=True, text=True, timeout=30, check=True).stdout
    assert "(default /run/netns)" in " ".join(said.split())


@pytest.mark.parametrize("source", TOKEN_SOURCES)
def test_the_kubelets_files_are_mounted_for_projected_tokens_only(source):
    objects = render({"tokenSource": source, "kubeletPath": "/var/lib/k0s/kubelet"})
    paths = [path for path, _ in host_mounts(objects)]
    mounts = [mount for _, mount in host_mounts(objects)]
    if source != "projected":
        assert not paths
        return
    assert paths == [{"path": "/var/lib/k0s/kubelet/pods", "type": "Directory"}]
    assert mounts == [{"name": "kubelet-pods", "mountPath": "/var/lib/k0s/kubelet/pods", "readOnly": True,
                       "mountPropagation": "HostToContainer"}]
    assert environment(objects)["CREDLET_KUBELET_PODS_DIR"] == "/var/lib/k0s/kubelet/pods"


def test_its_api_token_is_bound_and_short_lived_and_only_the_daemon_has_it():
    objects = render()
    spec = pod_spec(objects)
    assert spec["automountServiceAccountToken"] is False
    assert one(objects, "ServiceAccount")["automountServiceAccountToken"] is False
    volume = next(v for v in spec["volumes"] if v["name"] == "kube-api-access")
    token = volume["projected"]["sources"][0]["serviceAccountToken"]
    assert token == {"expirationSeconds": 3600, "path": "token"}  # 3607 would be extended to a year
    assert volume["projected"]["sources"][1]["configMap"]["name"] == "kube-root-ca.crt"
    where = {m["name"]: m["mountPath"] for m in daemon(objects)["volumeMounts"]}
    assert where["kube-api-access"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert "volumeMounts" not in init(objects)


def test_it_runs_on_every_linux_machine():
    spec = pod_spec(render())
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert spec["priorityClassName"] == "system-node-critical"
    assert spec["dnsPolicy"] == "ClusterFirstWithHostNet"
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert {e["key"]: (e["operator"], e["values"]) for e in terms[0]["matchExpressions"]} == {
        "eks.amazonaws.com/compute-type": ("NotIn", ["fargate"]), "type": ("NotIn", ["virtual-kubelet"])}


def test_memory_is_limited_and_cpu_is_not():
    for container in pod_spec(render())["containers"] + pod_spec(render())["initContainers"]:
        assert set(container["resources"]["limits"]) == {"memory"}


@pytest.mark.parametrize("addresses, listen, links", [
    (["169.254.170.23"], "169.254.170.23:80", ["--address=169.254.170.23/32"]),
    (["fd00:ec2::23"], "[fd00:ec2::23]:80", ["--address=fd00:ec2::23/128"]),
    (["169.254.170.2", "fd00:ec2::23"], "169.254.170.2:80,[fd00:ec2::23]:80",
     ["--address=169.254.170.2/32", "--address=fd00:ec2::23/128"]),
])
def test_it_listens_on_what_the_init_container_puts_on_the_link(addresses, listen, links):
    objects = render({"listener": {"addresses": addresses}})
    assert environment(objects)["CREDLET_LISTEN"] == listen
    assert init(objects)["args"] == ["link", "--name=credlet0", *links]


def test_without_a_link_there_is_no_init_container():
    assert "initContainers" not in pod_spec(render({"listener": {"link": {"create": False}}}))


@pytest.mark.parametrize("mode", MODES)
def test_it_is_told_where_to_listen_by_its_mode(mode):
    """Nothing of the other kind of listener: the daemon would refuse it, or listen there too."""
    given = environment(render(listening(mode)))
    on_node = {"CREDLET_LISTEN": "169.254.170.23:80"}
    in_pods = {"CREDLET_POD_LISTEN": "127.0.0.1:9799,[::1]:9799", "CREDLET_POD_LISTEN_FOR": "all",
               "CREDLET_MAX_POD_NAMESPACES": "1024", "CREDLET_CGROUP_DIR": "/host/sys/fs/cgroup"}
    assert {name: given[name] for name in {**on_node, **in_pods} if name in given} == {
        **(on_node if mode != IN_PODS else {}), **(in_pods if mode != ON_NODE else {})}


def test_both_is_what_the_two_are_together():
    """So that a cluster goes from one to the other without a pod that has no listener."""
    node, pods, both = (render(merged(listening(mode), {"openshift": {"enabled": True}})) for mode in MODES)
    assert environment(both) == {**environment(node), **environment(pods)}
    assert init(both) == init(node)
    context = [daemon(objects)["securityContext"] for objects in (node, pods, both)]
    assert set(context[2]["capabilities"]["add"]) == {c for one in context[:2] for c in one["capabilities"]["add"]}
    for key in ("seLinuxOptions", "appArmorProfile"):
        assert context[2][key] == context[1][key]
    for objects in (node, pods):
        assert all(volume in pod_spec(both)["volumes"] for volume in pod_spec(objects)["volumes"])
        assert all(mount in daemon(both)["volumeMounts"] for mount in daemon(objects)["volumeMounts"])


def test_a_change_of_the_role_policy_restarts_the_daemon():
    def checksum(*roles):
        objects = render({"rolePolicy": {"rules": [{"namespaces": ["a"], "roles": list(roles)}]}} if roles else {})
        return one(objects, "DaemonSet")["spec"]["template"]["metadata"]["annotations"].get("checksum/role-policy")
    assert checksum() is None
    assert checksum("a") != checksum("b")
    assert checksum("a") == checksum("a") is not None


def test_the_role_policy_is_the_file_that_the_daemon_reads():
    rules = [{"namespaces": ["team-a-*"], "roles": ["arn:aws:iam::123456789012:role/a/*"]}]
    objects = render({"rolePolicy": {"rules": rules}})
    assert environment(objects)["CREDLET_ROLE_POLICY_FILE"] == "/etc/credlet/role-policy.json"
    assert yaml.safe_load(one(objects, "ConfigMap")["data"]["role-policy.json"]) == {"rules": rules}
    volumes = {v["name"]: v for v in pod_spec(render({"rolePolicy": {"existingConfigMap": "mine"}}))["volumes"]}
    assert volumes["role-policy"]["configMap"]["name"] == "mine"


SETTINGS = {
    "CREDLET_ALLOWED_HOST": ({"listener": {"allowedHosts": ["a.example", "b"]}}, "a.example,b"),
    "CREDLET_ANNOTATION_PREFIX": ({"annotationPrefixes": ["a.io/", "b.io/"]}, "a.io/,b.io/"),
    "CREDLET_AUDIENCE": ({"audience": "openshift"}, "openshift"),
    "CREDLET_AVAILABILITY_ZONE": ({"imds": {"availabilityZone": "eu-west-1a"}}, "eu-west-1a"),
    "CREDLET_CALLER_AUDIENCE": ({"callerAudiences": ["a", "b"]}, "a,b"),
    "CREDLET_IDENTITY": ({"identity": "both"}, "both"),
    "CREDLET_IMDS_V1": ({"imds": {"v1": True}}, "true"),
    "CREDLET_KUBE_API": ({"kubeAPI": "https://10.0.0.1:6443"}, "https://10.0.0.1:6443"),
    "CREDLET_LOG_FORMAT": ({"logFormat": "text"}, "text"),
    "CREDLET_LOG_LEVEL": ({"logLevel": "warn"}, "warn"),
    "CREDLET_MAX_CONNECTIONS": ({"limits": {"connections": 1000000}}, "1000000"),
    "CREDLET_MAX_CONNECTIONS_PER_POD": ({"limits": {"connectionsPerPod": 7}}, "7"),
    "CREDLET_MAX_POD_NAMESPACES": (listening(IN_PODS, pod={"maxNamespaces": 100000}), "100000"),
    "CREDLET_METRICS_LISTEN": ({"metrics": {"bindAddress": "[$(POD_IP)]", "port": 9000}}, "[$(POD_IP)]:9000"),
    "CREDLET_POD_LISTEN": (listening(ON_BOTH, pod={"addresses": ["::1", "127.0.0.2"], "port": 1024}),
                           "[::1]:1024,127.0.0.2:1024"),
    "CREDLET_POD_LISTEN_FOR": (listening(IN_PODS, pod={"for": "role"}), "role"),
    "CREDLET_POD_REQUEST_BURST": ({"limits": {"requestBurstPerPod": 1000000}}, "1000000"),
    "CREDLET_POD_REQUEST_RATE": ({"limits": {"requestRatePerPod": 0.5}}, "0.5"),
    "CREDLET_REGION": ({"region": "us-gov-west-1"}, "us-gov-west-1"),
    "CREDLET_ROLE_ARN_BASE": ({"roleARNBase": "arn:aws:iam::123456789012:role/"}, "arn:aws:iam::123456789012:role/"),
    "CREDLET_SESSION_SCOPE": ({"sessionScope": "pod"}, "pod"),
    "CREDLET_STS_BURST": ({"sts": {"burst": 10000}}, "10000"),
    "CREDLET_STS_CA_FILE": ({"sts": {"caFile": "/etc/ca"}}, "/etc/ca"),
    "CREDLET_STS_DUALSTACK": ({"sts": {"dualstack": True}}, "true"),
    "CREDLET_STS_ENDPOINT": ({"sts": {"endpoint": "https://sts.example.com"}}, "https://sts.example.com"),
    "CREDLET_STS_FIPS": ({"sts": {"fips": True}}, "true"),
    "CREDLET_STS_MAX_IN_FLIGHT": ({"sts": {"maxInFlight": 3}}, "3"),
    "CREDLET_STS_RATE": ({"sts": {"rate": 2.5}}, "2.5"),
    "CREDLET_STS_REGIONAL_ENDPOINTS": ({"sts": {"regionalEndpoints": "legacy"}}, "legacy"),
    "CREDLET_TOKEN_ISSUER": ({"tokenIssuer": "https://issuer.example"}, "https://issuer.example"),
    "CREDLET_TOKEN_LIFETIME": ({"tokenRequest": {"lifetimeSeconds": 600}}, "600s"),
    "CREDLET_TOKEN_SOURCE": ({"tokenSource": "caller"}, "caller"),
}
# Which other tests look at, or which a pod has by itself.
ELSEWHERE = {"CREDLET_LISTEN", "CREDLET_ADMIN_LISTEN", "CREDLET_DRAIN_TIMEOUT", "CREDLET_ROLE_POLICY_FILE",
             "CREDLET_KUBELET_PODS_DIR", "CREDLET_CGROUP_DIR"}
NOT_IN_A_POD = {"CREDLET_CONFIG", "CREDLET_PODS_FILE", "CREDLET_KUBE_TOKEN_FILE", "CREDLET_KUBE_CA_FILE",
                "CREDLET_NODE_NAME", "CREDLET_PROC_DIR", "CREDLET_NETNS_DIR"}


@pytest.mark.parametrize("variable", SETTINGS)
def test_a_value_is_a_variable(variable):
    values, expected = SETTINGS[variable]
    assert environment(render(values))[variable] == expected


def complaint(objects):
    """What the daemon says against its environment. Nothing, where all that stops it is a file that is not there; or a
    node's process, which it cannot look at here."""
    field = {"spec.nodeName": "node-1", "status.hostIP": "127.0.0.1", "status.podIP": "127.0.0.1",
             "metadata.labels['topology.kubernetes.io/zone']": ""}
    given = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    for name, value in environment(objects).items():
        value = field[value["fieldRef"]["fieldPath"]] if isinstance(value, dict) else value
        given[name] = re.sub(r"\$\((\w+)\)", lambda reference: given[reference[1]], value)
    given["CREDLET_ROLE_POLICY_FILE"] = ""
    missing = "/nonexistent/credlet-test-ca.crt"
    done = subprocess.run([BINARY, *daemon(objects)["args"], "--kube-ca-file", missing], env=given, capture_output=True,
                          text=True, timeout=30, check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    in_pods = "CREDLET_POD_LISTEN" in given and "which network namespace is the node's" in said
    return "" if missing in said or in_pods else said


@pytest.mark.parametrize("values", [
    {}, {"imds": {"zoneFromNode": True}}, {"tokenSource": "projected"}, {"drainTimeoutSeconds": 0},
    {"drainTimeoutSeconds": 300}, {"listener": {"addresses": ["169.254.170.2", "fd00:ec2::23"], "port": 8080}},
    {"metrics": {"enabled": False}}, {"tokenRequest": {"lifetimeSeconds": 43200}}, {"sts": {"rate": 0.5, "burst": 1}},
    {"limits": {"requestRatePerPod": 0.1, "requestBurstPerPod": 1}}, {"extraArgs": ["--log-level=debug"]},
    {"metrics": {"bindAddress": "$(HOST_IP)"}}, listening(IN_PODS), listening(ON_BOTH),
    listening(IN_PODS, pod={"addresses": ["::1"], "port": 65535, "for": "role", "maxNamespaces": 1}),
    *(values for values, _ in SETTINGS.values() if values.get("metrics", {}).get("bindAddress") != "[$(POD_IP)]"
      and "caFile" not in values.get("sts", {}))], ids=str)
def test_the_daemon_accepts_what_the_schema_accepts(values):
    assert complaint(render(values)) == ""


def test_the_daemon_accepts_ipv6_addresses_of_nodes():
    objects = render({"metrics": {"bindAddress": "[$(POD_IP)]"}})
    variable, = [v for v in daemon(objects)["env"] if v["name"] == "CREDLET_METRICS_LISTEN"]
    variable["value"] = variable["value"].replace("$(POD_IP)", "fd00::7")
    assert complaint(objects) == ""


def test_the_binary_knows_every_variable_and_the_chart_has_a_value_for_every_setting():
    said = subprocess.run([BINARY, "serve", "--help"], capture_output=True, text=True, timeout=30, check=True).stdout
    known = set(re.findall(r"\((CREDLET_[A-Z0-9_]+)\)", said))
    assert known == set(SETTINGS) | ELSEWHERE | NOT_IN_A_POD


def test_defaults_are_the_daemons_own():
    """What differs from `credlet serve --help` is what a pod needs, and nothing else."""
    said = subprocess.run([BINARY, "serve", "--help"], capture_output=True, text=True, timeout=30, check=True).stdout
    text = " ".join(said.split())
    defaults = {variable: default.partition(";")[0].replace(", ", ",") for default, variable in
                re.findall(r"\(default ([^()]+)\) \((CREDLET_[A-Z0-9_]+)\)", text)}
    given = environment(render(listening(ON_BOTH)))
    compared = {variable: (given[variable], defaults[variable]) for variable in given.keys() & defaults.keys()
                if variable not in ("CREDLET_ADMIN_LISTEN", "CREDLET_CGROUP_DIR")}
    assert len(compared) >= 15
    for variable, (ours, theirs) in compared.items():
        assert ours == {"1h": "3600s"}.get(theirs, theirs), variable


def test_values_unset_are_variables_unset():
    assert not [name for name, value in environment(render()).items() if value == ""]
    assert "CREDLET_METRICS_LISTEN" not in environment(render({"metrics": {"enabled": False}}))


def test_the_nodes_name_addresses_and_zone_come_from_the_downward_api():
    given = environment(render({"imds": {"zoneFromNode": True}}))
    assert given["NODE_NAME"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    assert given["HOST_IP"] == {"fieldRef": {"fieldPath": "status.hostIP"}}
    assert given["POD_IP"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    assert given["CREDLET_AVAILABILITY_ZONE"] == {"fieldRef": {
        "fieldPath": "metadata.labels['topology.kubernetes.io/zone']"}}
    for address in ("HOST_IP", "POD_IP"):  # or $(HOST_IP) stays as it is
        assert list(given).index(address) < list(given).index("CREDLET_METRICS_LISTEN")


@pytest.mark.parametrize("mode", MODES)
def test_metrics_are_at_an_address_that_the_daemon_has(mode):
    """The pod's own: on the host network it is the node's, and without it the daemon has no other."""
    assert environment(render(listening(mode)))["CREDLET_METRICS_LISTEN"] == "$(POD_IP):9798"


def test_extras_come_after_the_charts_own():
    objects = render({"extraArgs": ["--log-level=debug"], "extraEnv": [{"name": "TZ", "value": "UTC"}],
                      "podLabels": {"a": "b"}, "podAnnotations": {"c": "d"}})
    assert daemon(objects)["args"] == ["serve", "--log-level=debug"]
    assert daemon(objects)["env"][-1] == {"name": "TZ", "value": "UTC"}
    metadata = one(objects, "DaemonSet")["spec"]["template"]["metadata"]
    assert metadata["labels"]["a"] == "b" and metadata["annotations"]["c"] == "d"


def selector(objects):
    return one(objects, "DaemonSet")["spec"]["selector"]


@pytest.mark.parametrize("values", [
    {"nameOverride": "x"}, {"fullnameOverride": "y"}, {"commonLabels": {"a": "b"}}, {"podLabels": {"a": "b"}},
    {"tokenSource": "projected"}, {"openshift": {"enabled": True}}, {"image": {"tag": "2.0.0"}}, listening(IN_PODS),
    listening(ON_BOTH)], ids=str)
def test_no_value_changes_the_selector(values):
    """It is immutable: an upgrade would fail."""
    objects = render(values)
    assert selector(objects) == selector(render()) == {"matchLabels": {
        "app.kubernetes.io/name": "credlet", "app.kubernetes.io/instance": "credlet"}}
    assert selector(objects)["matchLabels"].items() <= \
        one(objects, "DaemonSet")["spec"]["template"]["metadata"]["labels"].items()


def test_no_version_of_the_chart_changes_selector_or_names(tmp_path):
    newer = tmp_path / "credlet"
    subprocess.run(["cp", "-r", CHART, newer], check=True)
    text = (newer / "Chart.yaml").read_text()
    (newer / "Chart.yaml").write_text(re.sub(r'(?m)^(version|appVersion): .*$', r'\1: "9.9.9"', text))
    before, after = render(), render(chart=newer)
    assert selector(after) == selector(before)
    names = [[(o["kind"], o["metadata"]["name"], o.get("roleRef")) for o in objects] for objects in (before, after)]
    assert names[0] == names[1]
    assert daemon(after)["image"] == "credlet:9.9.9"


def test_the_test_pod_is_none_of_the_daemons():
    objects = render()
    assert not selector(objects)["matchLabels"].items() <= one(objects, "Pod")["metadata"]["labels"].items()


@pytest.mark.parametrize("credentials, expected", [(False, "identity"), (True, "credentials")])
def test_helm_test_asks_as_an_sdk_would(credentials, expected):
    objects = render({"test": {"credentials": credentials, "serviceAccountName": "app"}, "listener": {"port": 8080},
                      "audience": "openshift"})
    spec = one(objects, "Pod")["spec"]
    container = spec["containers"][0]
    assert container["args"] == ["ask", f"--expect={expected}"]
    assert {v["name"]: v["value"] for v in container["env"]} == {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23:8080/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/var/run/secrets/credlet/token"}
    assert "hostNetwork" not in spec and "hostPID" not in spec
    assert spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["audience"] == "openshift"
    assert spec["serviceAccountName"] == "app" and spec["restartPolicy"] == "Never"
    assert spec["activeDeadlineSeconds"] > 0


@pytest.mark.parametrize("values, uri", [
    (listening(IN_PODS), "http://127.0.0.1:9799/v1/credentials"),
    (listening(ON_BOTH), "http://127.0.0.1:9799/v1/credentials"),
    (listening(IN_PODS, pod={"addresses": ["::1"], "port": 8080}), "http://[::1]:8080/v1/credentials"),
    ({**listening(ON_BOTH), "injection": {"uri": "http://169.254.170.23/v1/credentials"}},
     "http://169.254.170.23/v1/credentials")], ids=str)
def test_helm_test_asks_where_pods_are_told_to(values, uri):
    container = one(render(values), "Pod")["spec"]["containers"][0]
    assert {"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": uri} in container["env"]
