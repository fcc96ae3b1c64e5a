"""A real control plane on this machine: etcd and kube-apiserver with a PKI and a service-account issuer of their own,
and kubectl and Helm to talk to it. What it starts ends with the thread that started it."""

import base64
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sim"))

from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: E402
from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: E402

from api import Api  # noqa: E402
from pki import Authority, write_atomically  # noqa: E402
from simulator import stop_all, wait_until  # noqa: E402

ISSUER = "https://oidc.credlet.test/real-cluster"  # as on ROSA: not the API server's own address
API_AUDIENCE = "https://kubernetes.default.svc"
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
    "rules": [{"level": "None", "users": ["system:apiserver"]}, {"level": "Metadata"}]}


def programs(*names):
    """The directory that holds these programs, built where they are missing."""
    built = subprocess.run([HERE / "build.sh", *names], stdout=subprocess.PIPE, text=True, check=True)
    return pathlib.Path(built.stdout.splitlines()[-1])


class Program:
    """A server, its output in a file beside it."""

    def __init__(self, name, command, log, **how):
        self.name, self.log = name, pathlib.Path(log)
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, command)], stdout=output,
                                            stderr=output, stdin=subprocess.DEVNULL, **how)

    def alive(self):
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-3000:]
            raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{tail}")
        return True

    def stop(self, kill=False, seconds=30):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end within {seconds} s of SIGTERM") from None


class ControlPlane:
    """Started at once; the constructor returns when the API server is ready. The port stays the same, and stays taken,
    while the API server is down."""

    def __init__(self, directory, feature_gates=None, flags=(), address="127.0.0.1", names=(), issuer=ISSUER):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.bin = programs("etcd", "kube-apiserver", "kubectl", "helm")
        self.address, self.issuer, self.flags = address, issuer, list(flags)
        self.feature_gates = dict(feature_gates or {})
        self.reserved = self._reserve_port()
        self.port = self.reserved.getsockname()[1]
        self.url = f"https://{address}:{self.port}"
        self.started = []
        self._make_pki([address, "127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc", *names])
        self.audit_log = AuditLog(self.directory / "audit.log")
        try:
            self._start_etcd()
            self.start_api_server()
        except BaseException:
            self.stop(kill=True)
            raise
        self.admin = Api(self.url, self.ca_file, certificate=self.certificate("admin", ["system:masters"]))
        self.kubeconfig = self.kubeconfig_of("admin", ["system:masters"])

    def _reserve_port(self):
        """Bound and never listening: nobody else gets the port, and the API server, which shares it, gets all
        connections."""
        reserved = socket.socket()
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((self.address, 0))
        return reserved

    def path(self, name):
        return str(self.directory / name)

    # Certificates and keys

    def _make_pki(self, names):
        self.authority = Authority("kubernetes-ca")
        self.ca_file = self.path("ca.crt")
        write_atomically(self.ca_file, self.authority.pem)
        certificate, key = self.authority.issue(names)
        write_atomically(self.path("apiserver.crt"), certificate)
        write_atomically(self.path("apiserver.key"), key, 0o600)
        self._new_signing_key()

    def _new_signing_key(self):
        key = rsa.generate_private_key(65537, 2048)
        write_atomically(self.path("sa.key"), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()), 0o600)
        public = key.public_key().public_bytes(serialization.Encoding.PEM,
                                               serialization.PublicFormat.SubjectPublicKeyInfo)
        write_atomically(self.path("sa.pub"), public)

    def certificate(self, user, groups=()):
        """A file with a client certificate and its key."""
        file = self.path(f"client-{user.replace(':', '_')}.pem")
        if not os.path.exists(file):
            certificate, key = self.authority.issue([], usage=ExtendedKeyUsageOID.CLIENT_AUTH, common_name=user,
                                                    organizations=groups)
            write_atomically(file, certificate + key, 0o600)
        return file

    def kubeconfig_of(self, user, groups=()):
        file = self.path(f"kubeconfig-{user.replace(':', '_')}")
        certificate = self.certificate(user, groups)
        write_atomically(file, json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority": self.ca_file}}],
            "users": [{"name": user, "user": {"client-certificate": certificate, "client-key": certificate}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}]}), 0o600)
        return file

    # Servers

    def _start_etcd(self):
        self.etcd_socket = self.path("etcd.sock")
        client, peer = f"unix://{self.etcd_socket}", f"unix://{self.path('etcd-peer.sock')}"
        self.etcd = Program("etcd", [
            self.bin / "etcd", "--name", "test", "--data-dir", self.path("etcd"), "--unsafe-no-fsync",
            "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", f"test={peer}", "--log-level", "warn",
        ], self.path("etcd.log"))
        self.started.append(self.etcd)

        def healthy():
            try:
                return self.etcd.alive() and self._ask_etcd("GET", "/health")["health"] == "true"
            except (OSError, KeyError):
                return False
        wait_until(healthy, 60, "etcd's health", 0.05)

    def start_api_server(self):
        gates = ",".join(f"{name}={str(on).lower()}" for name, on in self.feature_gates.items())
        write_atomically(self.path("audit-policy.json"), json.dumps(AUDIT_POLICY))
        keys = [argument for name in ("sa.pub", "sa-old.pub") if os.path.exists(self.path(name))
                for argument in ("--service-account-key-file", self.path(name))]
        kubelet_client = self.certificate("kube-apiserver-kubelet-client", ["system:masters"])
        self.api_server = Program("kube-apiserver", [
            self.bin / "kube-apiserver", "--etcd-servers", f"unix://{self.etcd_socket}",
            "--bind-address", self.address, "--secure-port", self.port, "--permit-port-sharing",
            # Nobody looks for other API servers here, and the address advertised is nobody's.
            "--advertise-address", "192.0.2.1", "--endpoint-reconciler-type", "none",
            "--service-cluster-ip-range", "10.96.0.0/16", "--cert-dir", self.path("certificates"),
            "--tls-cert-file", self.path("apiserver.crt"), "--tls-private-key-file", self.path("apiserver.key"),
            "--client-ca-file", self.ca_file, "--authorization-mode", "Node,RBAC",
            # Where there is a kubelet, it is asked for logs and to execute commands.
            "--kubelet-client-certificate", kubelet_client, "--kubelet-client-key", kubelet_client,
            "--kubelet-certificate-authority", self.ca_file, "--kubelet-preferred-address-types", "InternalIP",
            "--enable-admission-plugins", "NodeRestriction",
            "--service-account-issuer", self.issuer, "--service-account-jwks-uri", f"{self.url}/openid/v1/jwks",
            "--service-account-signing-key-file", self.path("sa.key"), *keys, "--api-audiences", API_AUDIENCE,
            # Watches end with it; without this it would wait a minute for their clients to go.
            "--shutdown-watch-termination-grace-period", "2s",
            "--audit-policy-file", self.path("audit-policy.json"), "--audit-log-path", self.audit_log.path,
            *(["--feature-gates", gates] if gates else []), *self.flags,
        ], self.path("kube-apiserver.log"))
        self.started.append(self.api_server)
        anybody = Api(self.url, self.ca_file, timeout=5)

        def ready():
            try:
                return self.api_server.alive() and anybody.ask("GET", "/readyz").status == 200
            except OSError:
                return False
        wait_until(ready, 120, "the API server's readiness", 0.05)

    def stop_api_server(self, kill=False):
        self.stop_program(self.api_server, kill)

    def restart_api_server(self, kill=False):
        self.stop_api_server(kill)
        self.start_api_server()

    def rotate_signing_key(self, overlap=True):
        """A new key for service-account tokens; without overlap, tokens of the old one stop being valid."""
        if overlap:
            shutil.copy(self.path("sa.pub"), self.path("sa-old.pub"))
        elif os.path.exists(self.path("sa-old.pub")):
            os.unlink(self.path("sa-old.pub"))
        self._new_signing_key()
        self.restart_api_server()

    def start_controller_manager(self, *flags):
        """The controllers: default service accounts, the CA's config maps, DaemonSets, deletion of namespaces. Ends
        with the control plane, or by stop_program()."""
        return self._start_with_kubeconfig("kube-controller-manager", "--root-ca-file", self.ca_file,
                                    "--service-account-private-key-file", self.path("sa.key"),
                                    "--flex-volume-plugin-dir", self.path("volume-plugins"), *flags)

    def start_scheduler(self, *flags):
        return self._start_with_kubeconfig("kube-scheduler", *flags)

    def _start_with_kubeconfig(self, name, *flags):
        program = Program(name, [
            programs(name) / name, "--kubeconfig", self.kubeconfig_of(f"system:{name}", ["system:masters"]),
            "--leader-elect=false", "--secure-port=0", *flags], self.path(f"{name}.log"))
        self.started.append(program)
        return program

    def stop_program(self, program, kill=False):
        self.started.remove(program)
        program.stop(kill)

    def stop(self, kill=False):
        stopping, self.started = self.started[::-1], []
        try:
            if kill:
                for program in stopping:
                    program.stop(kill=True)
            else:
                stop_all(stopping)
        finally:
            self.reserved.close()

    # etcd

    def _ask_etcd(self, method, path, body=None):
        connection = http.client.HTTPConnection("etcd", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(10)
        try:
            connection.sock.connect(self.etcd_socket)
            connection.request(method, path, None if body is None else json.dumps(body))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def compact(self):
        """Forgets all history up to now. Returns the resource version up to which it is gone."""
        nothing = base64.b64encode(b"\0").decode()
        revision = self._ask_etcd("POST", "/v3/kv/range", {"key": nothing})["header"]["revision"]
        answer = self._ask_etcd("POST", "/v3/kv/compaction", {"revision": revision, "physical": True})
        assert "header" in answer, answer
        return int(revision)

    # Clients

    def user(self, name, groups=()):
        return Api(self.url, self.ca_file, certificate=self.certificate(name, groups))

    def node(self, name):
        """As that node's kubelet."""
        return self.user(f"system:node:{name}", ["system:nodes"])

    def bearer(self, token):
        return Api(self.url, self.ca_file, token=token)

    def kubectl(self, *arguments, stdin=None, check=True, seconds=60):
        return self._run("kubectl", "--cache-dir", self.path("kubectl-cache"), *arguments, stdin=stdin, check=check,
                         seconds=seconds)

    def helm(self, *arguments, stdin=None, check=True, seconds=120):
        return self._run("helm", *arguments, stdin=stdin, check=check, seconds=seconds)

    def _run(self, program, *arguments, stdin, check, seconds):
        environment = {"PATH": os.environ["PATH"], "HOME": self.path("home"), "KUBECONFIG": self.kubeconfig}
        done = subprocess.run([self.bin / program, *map(str, arguments)], input=stdin, env=environment, text=True,
                              capture_output=True, timeout=seconds, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{program} {' '.join(map(str, arguments))} ended with {done.returncode}:\n"
                                 f"{done.stdout}{done.stderr}")
        return done


class AuditLog:
    """What was asked of the API server, in its own words."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def mark(self):
        """Where the log ends now: only what comes later will count."""
        return self.path.stat().st_size if self.path.exists() else 0

    def entries(self, since=0, **facts):
        """Those entries only that have these facts: user, acting_as, verb, resource (pods, serviceaccounts/token, ...),
        namespace, name, code, stage, uri, credential (the token's id), bound_to_node."""
        with open(self.path, "rb") as file:
            file.seek(since)
            whole = file.read().rpartition(b"\n")[0]
        found = [self._short(json.loads(line)) for line in whole.splitlines()]
        return [entry for entry in found if facts.items() <= entry.items()]

    @staticmethod
    def _short(entry):
        target = entry.get("objectRef", {})
        extra = {key.split("/")[-1]: values[0] for key, values in entry["user"].get("extra", {}).items()}
        resource = target.get("resource", "")
        return {"user": entry["user"].get("username"), "acting_as": entry.get("impersonatedUser", {}).get("username"),
                "verb": entry["verb"], "uri": entry["requestURI"], "stage": entry["stage"],
                "resource": resource + (f"/{target['subresource']}" if target.get("subresource") else ""),
                "namespace": target.get("namespace"), "name": target.get("name"),
                "code": entry.get("responseStatus", {}).get("code"), "at": entry["stageTimestamp"],
                "credential": extra.get("credential-id"), "bound_to_node": extra.get("node-name"),
                "annotations": entry.get("annotations", {})}
