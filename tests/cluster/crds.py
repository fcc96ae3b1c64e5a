"""Custom resource definitions as their projects publish them, from the Go modules that crds/go.mod pins."""

import json
import pathlib
import subprocess

from simulator import wait_until

HERE = pathlib.Path(__file__).resolve().parent / "crds"
FILES = {
    "github.com/openshift/api": [
        "security/v1/zz_generated.crd-manifests/0000_03_config-operator_01_securitycontextconstraints.crd.yaml"],
    "github.com/prometheus-operator/prometheus-operator": [
        f"example/prometheus-operator-crd/monitoring.coreos.com_{plural}.yaml"
        for plural in ("podmonitors", "prometheusrules", "servicemonitors")],
    "github.com/cilium/cilium": ["pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml"]}


def files():
    """Downloads the modules where they are not in Go's cache yet, checked by crds/go.sum."""
    pinned = json.loads(subprocess.run(["go", "mod", "edit", "-json"], cwd=HERE, stdout=subprocess.PIPE, check=True).stdout)
    versions = {one["Path"]: one["Version"] for one in pinned["Require"]}
    found = []
    for module, names in FILES.items():
        done = subprocess.run(["go", "mod", "download", "-json", f"{module}@{versions[module]}"], cwd=HERE,
                              stdout=subprocess.PIPE, check=True)
        found += [pathlib.Path(json.loads(done.stdout)["Dir"]) / name for name in names]
    return found


def install(plane):
    paths = files()
    plane.kubectl("apply", "--server-side", *(word for path in paths for word in ("-f", path)))

    def established():
        found = plane.admin.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
        return len(found) >= len(paths) and all(
            any(one["type"] == "Established" and one["status"] == "True" for one in crd["status"].get("conditions") or [])
            for crd in found)
    wait_until(established, 30, "custom resources", 0.1)
