"""The SDKs' client programs: what they are called, how they are started, and how one asks them."""

import json
import os
import pathlib
import select
import subprocess
import threading
import time

from private_network import unavailable

HERE = pathlib.Path(__file__).resolve().parent

NAMES = {
    "python": "Python, boto3",
    "javascript": "JavaScript v3",
    "go": "Go v2",
    "java": "Java v2",
    "rust": "Rust, aws-sdk-sts",
    "cli": "AWS CLI v1",
}
ENDPOINTS = ("container", "imds")


def build():
    """The directory of each client program. It takes the network where they are not there yet."""
    kinds = [name for name in NAMES if name != "cli"]  # which is in the same environment as boto3
    built = subprocess.run([str(HERE / "setup.sh"), *kinds], check=False, capture_output=True, text=True)
    if built.returncode:
        unavailable(built.stderr.strip())
    return dict(zip(kinds, map(pathlib.Path, built.stdout.split())))


class Programs:
    """How the client programs are started, and what they need to trust the simulated STS."""

    def __init__(self, built, world):
        self.built, self.world = built, world
        self.trust_store = pathlib.Path(world.directory) / "sts-ca.p12"
        subprocess.run(["keytool", "-importcert", "-noprompt", "-alias", "sts", "-file", world.sts_ca_file, "-keystore",
                        str(self.trust_store), "-storetype", "PKCS12", "-storepass", "changeit"],
                       check=True, capture_output=True)

    def command(self, name):
        if name == "python":
            return [str(self.built["python"] / "bin" / "python"), str(HERE / "python" / "client.py")]
        if name == "cli":
            python = self.built["python"] / "bin"
            return [str(python / "python"), str(HERE / "cli" / "client.py"), str(python / "aws")]
        if name == "javascript":
            return ["node", str(self.built[name] / "client.js")]
        if name == "java":
            where = self.built[name]
            return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m",
                    f"-Djavax.net.ssl.trustStore={self.trust_store}", "-Djavax.net.ssl.trustStorePassword=changeit",
                    "-classpath", f"{where}:{where}/lib/*", "Client"]
        return [str(self.built[name] / "client")]

    def environment(self):
        """Nothing of the machine's, nowhere to find credentials by, and the simulated STS in AWS's place."""
        ca = self.world.sts_ca_file
        return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8",
                "AWS_REGION": self.world.region, "AWS_DEFAULT_REGION": self.world.region,
                "AWS_CONFIG_FILE": "/nonexistent/config", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
                "AWS_ENDPOINT_URL_STS": self.world.sts_url,
                "AWS_CA_BUNDLE": ca, "NODE_EXTRA_CA_CERTS": ca, "SSL_CERT_FILE": ca}


class Client:
    """One client program in a pod, for as long as an application would live: caches and all."""

    starting = threading.Semaphore(2)  # a start is nothing but work for the processor

    def __init__(self, command, environment, errors):
        self.errors = errors
        with open(errors, "ab") as stderr:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], env=environment,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)
        with self.starting:
            self.version = self.ask("version")["version"]

    def ask(self, what, seconds=60):
        self.process.stdin.write(what.encode() + b"\n")
        self.process.stdin.flush()
        line, deadline = b"", time.monotonic() + seconds
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not chunk:
                raise AssertionError(f"no answer to {what!r} within {seconds} s: {pathlib.Path(self.errors).read_text()[-2000:]}")
            line += chunk
        return json.loads(line)

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
