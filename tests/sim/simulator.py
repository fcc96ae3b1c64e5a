"""Starts the simulators and talks to their control endpoint: for tests."""

import http.client
import json
import os
import ssl
import subprocess
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))


class ControlError(Exception):
    pass


def wait_until(condition, seconds=10.0, what="the condition", every=0.01):
    """Polls until the condition gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(every)


def stop_all(started):
    """Stops everything, whatever goes wrong with one of them; then raises the first error."""
    errors = []
    for one in started:
        try:
            one.stop()
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]


class Simulator:
    """Started at once; the constructor returns when it is ready. It ends when this process does."""

    def __init__(self, directory, scenario=None, flags=()):
        self.directory = str(directory)
        command = ["/usr/bin/python3", os.path.join(HERE, "credlet_sim.py"), "--dir", self.directory, *flags]
        if scenario is not None:
            os.makedirs(self.directory, exist_ok=True)
            path = os.path.join(self.directory, "scenario.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(scenario, file)
            command += ["--scenario", path]
        self.process = subprocess.Popen(command)
        try:
            self._wait_ready()
        except BaseException:
            self._kill()
            raise

    def _wait_ready(self):
        ready = os.path.join(self.directory, "ready.json")

        def started():
            if self.process.poll() is not None:
                raise AssertionError(f"the simulator ended with {self.process.returncode}")
            return os.path.exists(ready)

        wait_until(started, 60, "the simulator's start")
        with open(ready, encoding="utf-8") as file:
            self.ready = json.load(file)
        self.address = urllib.parse.urlsplit(self.ready["control_url"])

    def __getattr__(self, name):
        try:
            return self.__dict__["ready"][name]
        except KeyError:
            raise AttributeError(name) from None

    def _kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self._kill()
            raise AssertionError("the simulator did not end within 10 s of SIGTERM") from None
        assert code == 0, f"the simulator ended with {code}"

    # The control endpoint

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ControlError(answer["error"])
        return answer

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, **body):
        return self.call("POST", path, body)

    def settings(self, **changes):
        return self.post("/settings", **changes)

    def pod(self, namespace, name, **fields):
        return self.post("/pods", namespace=namespace, name=name, **fields)

    def patch_pod(self, namespace, name, **changes):
        return self.call("PATCH", f"/pods/{namespace}/{name}", changes)

    def delete_pod(self, namespace, name, silent=False):
        return self.call("DELETE", f"/pods/{namespace}/{name}{'?silent=1' if silent else ''}")

    def service_account(self, namespace, name, **annotations):
        """Annotations with `_` for `-`, under credlet.io/: role_arn=..., target_role_arn=..."""
        named = {f"credlet.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
        return self.post("/serviceaccounts", namespace=namespace, name=name, annotations=named)

    def role(self, name, **fields):
        return self.post("/roles", name=name, **fields)["arn"]

    def workload(self, name, ip, namespace="prod", annotations=None, role_fields=None, sts_fault=None, kube_fault=None,
                 **pod):
        """A role, a service account with it, and a pod that runs as it, all of one name. Faults that meet only its
        calls (STS calls for its role; token requests) are there before the pod is."""
        arn = self.role(name, **{"subjects": f"system:serviceaccount:{namespace}:{name}", **(role_fields or {})})
        if sts_fault:
            self.fault("sts", match={"role": arn + "$"}, **sts_fault)
        if kube_fault:
            self.fault("kube", match={"resource": "serviceaccounts/token", "name": f"^{name}$"}, **kube_fault)
        self.service_account(namespace, name, role_arn=arn, **(annotations or {}))
        made = self.pod(namespace, f"{name}-pod", service_account=name, ip=ip, **pod)
        return {**made, "role_arn": arn}

    def mint(self, **fields):
        return self.post("/mint", **fields)["token"]

    def fault(self, target, kind, **fields):
        return self.post("/faults", target=target, kind=kind, **fields)["id"]

    def clear(self, number=None):
        return self.call("DELETE", "/faults" if number is None else f"/faults/{number}")

    def issued(self, access_key_id=None, secrets=False):
        query = "?secrets=1" if secrets else ""
        return self.get("/issued" + query if access_key_id is None else f"/issued/{access_key_id}{query}")

    def stats(self):
        return self.get("/stats")

    def calls(self, target, since=0, **facts):
        """What was asked of the target, those calls only that have these facts."""
        return [call for call in self.get(f"/calls?target={target}&since={since}")
                if all(call.get(name) == value for name, value in facts.items())]

    def mark(self):
        """A number for `since`: only later calls will count."""
        numbers = [call["number"] for target in ("sts", "kube") for call in self.get(f"/calls?target={target}")[-1:]]
        return max(numbers, default=0)

    # The services themselves, as a client sees them

    def request(self, target, method, path, body=None, headers=None, token=None, timeout=30):
        """(status, headers, body) of one request over TLS; kube: with the daemon's token unless another is given."""
        connection = self.connect(target, timeout)
        headers = dict(headers or {})
        if target == "kube" and token is not False:
            headers["Authorization"] = f"Bearer {token or self.daemon_token()}"
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def connect(self, target, timeout=30):
        url = urllib.parse.urlsplit(self.ready[f"{target}_url"])
        context = ssl.create_default_context(cafile=self.ready["ca_file" if target == "kube" else "sts_ca_file"])
        context.hostname_checks_common_name = False  # RFC 9525: names are those in subjectAltName
        return http.client.HTTPSConnection(url.hostname, url.port, timeout=timeout, context=context)

    def daemon_token(self):
        with open(self.token_file, encoding="ascii") as file:
            return file.read()
