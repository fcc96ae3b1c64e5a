"""The chart as Helm renders it, without a cluster."""

import functools
import json
import pathlib
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "credlet"

OLDEST, MIDDLE, NEWEST = VERSIONS = ("1.30.0", "1.34.0", "1.37.2")
TOKEN_SOURCES = ("auto", "caller", "impersonate", "request", "projected")
MODES = ON_NODE, IN_PODS, ON_BOTH = ("node", "pod", "both")
NEEDED = {"region": "eu-west-1"}

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.cache
def helm_binary():
    built = subprocess.run([ROOT / "tests/cluster/build.sh", "helm"], stdout=subprocess.PIPE, text=True, check=True)
    return pathlib.Path(built.stdout.splitlines()[-1]) / "helm"


@functools.cache
def _helm(command, values, directory):
    environment = {"HOME": "/nonexistent", "KUBECONFIG": "/nonexistent", "PATH": "/usr/bin:/bin"}
    return subprocess.run([helm_binary(), *command, "--values", "-"], input=values, env=environment, cwd=directory,
                          capture_output=True, text=True, timeout=60, check=False)


def helm(*command, values=None, chart=CHART):
    return _helm(tuple(command), json.dumps(merged(NEEDED, values or {})), str(chart.parent))


def merged(below, above):
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def template(values=None, kube=NEWEST, release="credlet", namespace="credlet", chart=CHART, served=()):
    more = [word for api in served for word in ("--api-versions", api)]
    return helm("template", release, chart.name, "--namespace", namespace, "--kube-version", kube, *more,
                values=values, chart=chart)


def render(values=None, **how):
    """The objects."""
    done = template(values, **how)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", done.stderr
    return [found for found in yaml.load_all(done.stdout, Loader) if found is not None]


def refusal(values=None, **how):
    """What Helm says, of values that it must not accept."""
    done = template(values, **how)
    assert done.returncode != 0, "it was accepted"
    return done.stderr


def notes(values=None):
    done = helm("install", "credlet", CHART.name, "--namespace", "credlet", "--dry-run=client", values=values)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("NOTES:\n", 1)[1]


def of_kind(objects, *kinds):
    return [found for found in objects if found["kind"] in kinds]


def one(objects, kind, name=None):
    found = [thing for thing in of_kind(objects, kind) if name is None or thing["metadata"]["name"] == name]
    assert len(found) == 1, [thing["metadata"]["name"] for thing in found]
    return found[0]


def pod_spec(objects):
    return one(objects, "DaemonSet")["spec"]["template"]["spec"]


def daemon(objects):
    return next(c for c in pod_spec(objects)["containers"] if c["name"] == "credlet")


def listening(mode, **more):
    """Values of a listener.mode."""
    return {"listener": {"mode": mode, **more}}


def environment(objects):
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in daemon(objects)["env"]}
