"""The credlet binary as a process, and its callers."""

import collections
import contextlib
import http.client
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import threading

from simulator import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("CREDLET_BINARY", str(ROOT / "build" / "release" / "credlet"))

SANITIZED = os.path.exists(BINARY) and any(
    mark in pathlib.Path(BINARY).read_bytes() for mark in (b"__tsan_init", b"__asan_init"))


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The error code, which every error body carries in both spellings."""
        body = self.json
        assert body["code"] == body["Code"] and body["message"] == body["Message"]
        return body["Code"]

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r}>"


def endpoint(text):
    """(host, port), or the text of what is none: unix:/path."""
    if text.startswith("unix:"):
        return text
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


class Credlet:
    """Started at once; the constructor returns when it is ready (with ready=False, when it listens; with wait=False,
    at once). It ends when the thread that started it does: start it from the main one. node: of sandboxes.py, whose
    process it is. rights: arguments of setpriv. within: the beginning of a command that runs it elsewhere."""

    def __init__(self, world, *flags, ready=True, wait=True, listen=("127.0.0.1:0",), admin="127.0.0.1:0",
                 environment=None, node=None, rights=(), within=None):
        # A run that is cut short leaves no daemon behind.
        command = [*(within or (node.command if node else ())), "setpriv", "--pdeathsig", "KILL", *rights, BINARY, "serve"]
        for where in listen:
            command += ["--listen", where]
        command += ["--admin-listen", admin, "--node-name", world.node_name, "--kube-api", world.kube_url,
                    "--kube-token-file", world.token_file, "--kube-ca-file", world.ca_file,
                    "--sts-endpoint", world.sts_url, "--region", world.region, "--log-format", "json", *flags]
        if world.sts_ca_file:  # or else the system's
            command += ["--sts-ca-file", world.sts_ca_file]
        proxy = "http://127.0.0.1:9"  # to be ignored
        clean = {"PATH": os.environ["PATH"], "HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "https_proxy": proxy,
                 **{name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}}
        self.world = world
        self.ends_with = 0
        self.output_pipe, theirs = os.pipe()
        with node.process_ids() if node else contextlib.nullcontext():
            self.process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE,
                                            env={**clean, **(environment or {})})
        os.close(theirs)
        self.output = []  # every line of standard output
        self.logs = []  # the same, parsed
        self.errors = b""
        self.listeners = collections.defaultdict(list)
        self.reading = threading.Event()  # cleared: nobody reads the log, and its pipe fills up
        self.reading.set()
        self.hung_up = threading.Event()
        self.readers = [threading.Thread(target=read, daemon=True) for read in (self._read_logs, self._read_errors)]
        for reader in self.readers:
            reader.start()
        if not wait:
            return
        try:
            self._wait_listening(len(listen))
            if ready:
                self.wait_ready()
        except BaseException:
            self._kill()
            raise

    def _wait_listening(self, listeners):
        wait_until(lambda: self._alive() and self.listeners["admin"] and len(self.listeners["pods"]) >= listeners,
                   10, "listening")

    def wait_ready(self):
        wait_until(lambda: self._alive() and self.listeners["admin"] and self.admin("/readyz").status == 200, 15,
                   "readiness")

    def _alive(self):
        if self.process.poll() is not None:
            self._join_readers()  # what it said last is the reason
            raise AssertionError(f"credlet ended with {self.process.returncode}: {self.errors.decode()} "
                                 f"{self.output[-5:]}")
        return True

    def _read_logs(self):
        rest = b""
        while not self.hung_up.is_set():
            self.reading.wait()
            if not select.select([self.output_pipe], [], [], 0.05)[0]:
                continue
            chunk = os.read(self.output_pipe, 65536)
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take_line(line.decode())
        os.close(self.output_pipe)

    def _take_line(self, line):
        self.output.append(line)
        entry = json.loads(line)
        self.logs.append(entry)
        if entry.get("message") == "listening":
            self.listeners[entry["listener"]].append(endpoint(entry["address"]))

    def hang_up(self):
        """Closes the reading end of the log's pipe."""
        self.hung_up.set()
        self.readers[0].join(5)

    def _read_errors(self):
        self.errors = self.process.stderr.read()

    def _join_readers(self):
        for reader in self.readers:
            reader.join(5)

    def _kill(self):
        self.reading.set()
        self.process.kill()
        self.process.wait()
        self._join_readers()

    def crash(self):
        """Ends it as a fault does."""
        self.ends_with = -signal.SIGKILL
        self._kill()

    def stop(self):
        """Ends it as Kubernetes does. Always within ten seconds, always with 0, unless it has crashed."""
        self.reading.set()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self._kill()
            raise AssertionError("credlet did not end within 10 s of SIGTERM") from None
        self._join_readers()
        assert code == self.ends_with, f"credlet ended with {code}: {self.errors.decode()}"

    # Callers

    @property
    def address(self):
        return self.listeners["pods"][0]

    def connect(self, source=None, timeout=15, where=None):
        return http.client.HTTPConnection(*(where or self.address), timeout=timeout,
                                          source_address=(source, 0) if source else None)

    def request(self, method, path, source=None, headers=None, timeout=15, where=None):
        connection = self.connect(source, timeout, where)
        try:
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path, source=None, headers=None, **kwargs):
        return self.request("GET", path, source, headers, **kwargs)

    def credentials(self, source=None, token=None, role=None, **kwargs):
        """As an SDK's container provider asks."""
        return self.get("/v1/credentials" + (f"/{role}" if role else ""), source,
                        {"Authorization": token} if token else None, **kwargs)

    def refuses(self, source):
        """Whether nobody has this address. A connection that is there at the very moment at which its pod goes is cut."""
        try:
            return self.credentials(source).status == 403
        except ConnectionError:
            return False

    def session(self, source, ttl=60, token=None):
        """An IMDSv2 session token."""
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(ttl)}
        if token:
            headers["Authorization"] = token
        return self.request("PUT", "/latest/api/token", source, headers)

    def imds(self, path, source, session=None):
        if session is None:
            answer = self.session(source)
            if answer.status != 200:
                return answer
            session = answer.body.decode()
        return self.get(f"/latest/{path}", source, {"X-aws-ec2-metadata-token": session})

    def imds_credentials(self, source, role):
        """As an SDK's IMDS provider asks: held for less than a second."""
        return self.imds(f"meta-data/iam/security-credentials/{role}", source)

    def raw(self, data, source=None, timeout=5):
        """All that is answered to these bytes until the connection closes or nothing comes for the timeout."""
        with socket.create_connection(self.address, timeout, (source, 0) if source else None) as connection:
            received = b""
            try:
                connection.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before the end; the answer may have come all the same
            try:
                while chunk := connection.recv(65536):
                    received += chunk
            except (TimeoutError, ConnectionResetError):
                pass
            return received

    # The other side

    def admin(self, path):
        return self.get(path, where=self.listeners["admin"][0])

    def metrics(self):
        """[(name, labels, value), ...]"""
        return parse_metrics(self.admin("/metrics").body.decode())

    def metric(self, name, **labels):
        """The sum of all series of that name with these labels."""
        return sum(value for found, has, value in self.metrics()
                   if found == f"credlet_{name}" and labels.items() <= has.items())

    def memory(self):
        """Resident, in bytes; 0 in a sanitized build, whose memory is mostly the sanitizer's."""
        if SANITIZED:
            return 0
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def explain(self, pod):
        """{name: step}, of what explain says about a pod."""
        answer = self.admin(f"/explain?namespace={pod['namespace']}&pod={pod['name']}")
        assert answer.status == 200, answer
        return {step["name"]: step for step in answer.json["steps"]}

    def logged(self, **fields):
        """The log entries that have these fields."""
        return [entry for entry in list(self.logs) if fields.items() <= entry.items()]

    def wait_logged(self, message, seconds=5, **fields):
        """An entry whose message matches."""
        return wait_until(lambda: next((e for e in self.logged(**fields) if re.search(message, e["message"])), None),
                          seconds, f"a log entry: {message}")


def served(answer):
    """The answer, if it holds credentials: something to wait for."""
    return answer if answer.status == 200 else None


def parse_metrics(text):
    series = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: \d+)?", line)
            assert match, f"not the Prometheus text format: {line}"
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            series.append((match[1], labels, float(match[3])))
    return series


def genuine(world, answer, pod):
    """Checks that an answer holds credentials that STS issued for this very pod's role and service account, whole and
    unaltered. Returns what STS knows of them."""
    assert answer.status == 200, answer
    body = answer.json
    issued = world.issued(body["AccessKeyId"], secrets=True)
    assert body["SecretAccessKey"] == issued["secret_access_key"] and body["Token"] == issued["session_token"]
    assert issued["role_arn"] == pod["role_arn"]
    assert issued["sub"] == f"system:serviceaccount:{pod['namespace']}:{pod['service_account']}"
    return issued
