"""A Prometheus of one's own."""

import json
import os
import pathlib
import socket
import subprocess
import urllib.parse
import urllib.request

import yaml
from simulator import wait_until


class Prometheus:
    """Scrapes the targets it is told of each second, and evaluates the rules as often. It ends when this process
    does; start it from the main thread."""

    def __init__(self, programs, directory, rules_text):
        self.directory = pathlib.Path(directory)
        self.targets_file = self.directory / "targets.json"
        self.targets, self.published = [], False
        self._write_targets([])
        (self.directory / "rules.yaml").write_text(rules_text, encoding="utf-8")
        self.config_file = self.directory / "prometheus.yaml"
        self.config_file.write_text(yaml.safe_dump({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            # The name of the job is what the chart's PodMonitor sets.
            "scrape_configs": [{"job_name": "credlet", "file_sd_configs": [{"files": ["targets.json"]}]}],
        }), encoding="utf-8")
        with socket.socket() as probe:  # Prometheus does not say which port it took
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = open(self.directory / "prometheus.log", "wb")
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", str(programs / "prometheus"), f"--config.file={self.config_file}",
             f"--storage.tsdb.path={self.directory / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}",
             "--log.level=warn"], stdout=self.log, stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "GOMAXPROCS": "1"})
        try:
            wait_until(self._ready, 30, "Prometheus' readiness", 0.05)
        except BaseException:
            self.stop()
            raise

    def _ready(self):
        assert self.process.poll() is None, (self.directory / "prometheus.log").read_text()
        try:
            return self._get("/-/ready") is not None
        except OSError:
            return False

    def _get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return answer.read()

    def _api(self, path, **parameters):
        answer = json.loads(self._get(f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
        assert answer["status"] == "success", answer
        return answer["data"]

    def _write_targets(self, targets):
        unfinished = self.targets_file.with_suffix(".new")
        unfinished.write_text(json.dumps(targets), encoding="utf-8")
        unfinished.rename(self.targets_file)

    def scrape(self, address, **labels):
        """One target more, as soon as there are to be any."""
        self.targets.append({"targets": [address], "labels": labels})
        if self.published:
            self._write_targets(self.targets)

    def publish(self):
        """Until now there was nothing to scrape."""
        self.published = True
        self._write_targets(self.targets)

    def query(self, expression):
        """[(labels, value)] of an instant query."""
        result = self._api("query", query=expression)
        assert result["resultType"] == "vector", expression
        return [(one["metric"], float(one["value"][1])) for one in result["result"]]

    def query_range(self, expression, start, end, step=1):
        """[(labels, [values])], without those that are no number."""
        result = self._api("query_range", query=expression, start=start, end=end, step=step)["result"]
        found = [(one["metric"], [float(v) for _, v in one["values"] if v != "NaN"]) for one in result]
        return [(labels, values) for labels, values in found if values]

    def alerts(self):
        return self._api("alerts")["alerts"]

    def rules(self):
        return [rule for group in self._api("rules")["groups"] for rule in group["rules"]]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("Prometheus did not end within 20 s of SIGTERM") from None
        finally:
            self.log.close()
