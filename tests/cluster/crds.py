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
    versions = {one["Path"]: one["Version"] for one in go("mod", "edit", "-json")["Require"]}
    found = []
    for module, names in FILES.items():
        downloaded = go("mod", "download", "-json", f"{module}@{versions[module]}")
        found += [pathlib.Path(downloaded["Dir"]) / name for name in names]
    return found


def go(*arguments):
    done = subprocess.run(["go", *arguments], cwd=HERE, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def install(plane):
    paths = files()
    plane.kubectl("apply", "--server-side", *(word for path in paths for word in ("-f", path)))

    def established():
        found = plane.admin.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
        conditions = [{one["type"]: one["status"] for one in crd["status"].get("conditions") or []} for crd in found]
        return len(found) >= len(paths) and all(each.get("Established") == "True" for each in conditions)
    wait_until(established, 30, "custom resources", 0.1)
