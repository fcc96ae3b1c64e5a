"""credlet on the node: the chart, by Helm, with its defaults but for what a simulated AWS takes."""

import json
import pathlib
import time
import urllib.request

import objects
from askers import check_no_request_failed
from simulator import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "credlet"
NAMESPACE = NAME = "credlet"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app.kubernetes.io/name=credlet"


class Release:
    def __init__(self, plane, sts, region):
        self.plane, self.rolls = plane, 0
        ca = pathlib.Path(sts.sts_ca_file).read_text(encoding="ascii")
        self.values = {
            "region": region, "image": {"registry": "credlet.test", "tag": "test", "pullPolicy": "Never"},
            "injection": {"enabled": True},
            "sts": {"endpoint": sts.sts_url, "caFile": "/etc/sts/ca.crt"},
            "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sts-ca"}, "data": {"ca.crt": ca}}],
            "extraVolumes": [{"name": "sts-ca", "configMap": {"name": "sts-ca"}}],
            "extraVolumeMounts": [{"name": "sts-ca", "mountPath": "/etc/sts", "readOnly": True}],
            "test": {"serviceAccountName": "helm-test", "credentials": True}}
        self.test_role = sts.role("helm-test", subjects=f"system:serviceaccount:{NAMESPACE}:helm-test")

    def upgrade(self, **values):
        """Returns when the new daemon is ready and the old one has ended."""
        self.values.update(values)
        self._helm("upgrade", "--install", NAME, CHART, "--create-namespace", "--values", "-", "--wait",
                   "--timeout", "90s", stdin=json.dumps(self.values))
        wait_until(lambda: len(self._pods()) == 1, 60, "the end of the old daemon", 0.1)
        return self.pod()

    def roll_under(self, askers, seconds, at_least):
        """For so long, and so often: each time another daemon. None of the askers' requests fails."""
        before = check_no_request_failed(askers)
        start, daemons, rolls = time.monotonic(), {self.pod()["metadata"]["uid"]}, 0
        while rolls < at_least or time.monotonic() - start < seconds:
            rolls += 1
            self.rolls += 1
            daemons.add(self.upgrade(podAnnotations={"roll": str(self.rolls)})["metadata"]["uid"])
        took = time.monotonic() - start
        after = check_no_request_failed(askers)
        assert len(daemons) == rolls + 1
        answered, retried = (sum(now[what] - then[what] for now, then in zip(after, before)) for what in ("answered", "retried"))
        assert answered > 0.9 * took * sum(asker.rate for asker in askers)
        print(f"{rolls} rolls in {took:.0f} s: {answered} answers, {answered / took:.0f} a second, none failed, "
              f"{retried} asked again as their connection had been closed, "
              f"the slowest after {max(tally['slowest_ms'] for tally in after)} ms")

    def test(self):
        account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/helm-test"
        if not self.plane.admin.exists(account):
            objects.service_account(self.plane.admin, NAMESPACE, "helm-test", {"credlet.io/role-arn": self.test_role})
        self._helm("test", NAME, "--timeout", "60s")

    def _helm(self, *command, **how):
        try:
            self.plane.helm(*command, "--namespace", NAMESPACE, **how)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from None

    def pod(self):
        """The daemon's, which is alone, and as it was started."""
        pod, = self._pods()
        assert [one["restartCount"] for one in pod["status"]["containerStatuses"]] == [0], self.story()
        return pod

    def _pods(self):
        return self.plane.admin.get(PODS)["items"]

    def story(self):
        """Why it does not come up: what `kubectl describe` shows, and the daemon's last words."""
        return "\n".join(self.plane.kubectl("--namespace", NAMESPACE, *command, check=False).stdout for command in (
            ["describe", "pods"], ["logs", f"daemonset/{NAME}", "--all-containers", "--tail", "30"]))

    def explain(self, namespace, pod):
        """As an administrator would ask."""
        done = self.plane.kubectl("--namespace", NAMESPACE, "exec", f"daemonset/{NAME}", "--", "credlet", "explain",
                                  "--namespace", namespace, "--pod", pod, check=False)
        return done.stdout + done.stderr

    def metrics(self):
        """As Prometheus would ask."""
        address = self.pod()["status"]["podIP"]  # the node's, where it is on the node's network
        with urllib.request.urlopen(f"http://{address}:9798/metrics", timeout=10) as answer:
            return answer.read().decode()
