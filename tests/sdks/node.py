"""A node and its pods, each in a network namespace: pods reach the node over a cable of their own, as with any CNI, and
nothing reaches the machine. All of it is gone when the namespaces are."""

import asyncio
import http.server
import json
import os
import socket
import subprocess
import threading

from private_network import new_namespace
from wire import Wire

CREDLET = "169.254.170.23"
NODE_METADATA = "169.254.169.254"
GATEWAY = "10.244.0.1"


def ip(commands):
    subprocess.run(["ip", "-batch", "-"], input=commands, check=True, capture_output=True, text=True)


class NodeMetadata(http.server.ThreadingHTTPServer):
    """The node's own metadata service, with the node's own role: what must not end up in a pod."""

    daemon_threads = True
    KEY = "ASIANODESOWNROLE0000"

    def __init__(self):
        super().__init__((NODE_METADATA, 80), self.Answers)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Answers(http.server.BaseHTTPRequestHandler):
        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "21600")
            self.end_headers()
            self.wfile.write(body.encode())

        def do_PUT(self):
            self.answer("session")

        def do_GET(self):
            if self.path.rstrip("/").endswith("security-credentials"):
                self.answer("node-role")
            else:
                self.answer(json.dumps({
                    "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", "AccessKeyId": NodeMetadata.KEY,
                    "SecretAccessKey": "secret", "Token": "token", "Expiration": "2126-01-01T00:00:00Z"}))

        def log_message(self, *_):
            pass


class Relay:
    """Brings connections made in a pod to a port on the node's loopback: STS's, which the pod knows as localhost too."""

    def __init__(self, port):
        self.port = port
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def serve(self, listener):
        asyncio.run_coroutine_threadsafe(asyncio.start_server(self._connected, sock=listener), self.loop).result(10)

    async def _connected(self, reader, writer):
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.port)
        await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))

    @staticmethod
    async def _pump(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


class Node:
    """The namespace of the thread that makes it, with the addresses of credlet and of the node's metadata service."""

    def __init__(self, sts_port):
        ip(f"addr add {CREDLET}/32 dev lo\naddr add {NODE_METADATA}/32 dev lo\n")
        self.metadata = NodeMetadata()
        self.relay = Relay(sts_port)
        self.pods = []

    def stop(self):
        self.metadata.shutdown()
        self.metadata.server_close()
        self.relay.stop()
        for pod in self.pods:
            pod.wire.close()
            os.close(pod.namespace)

    def plug_pod(self):
        """A pod's network. To be called by the thread that made the node."""
        self.pods.append(Pod(self, len(self.pods) + 1))
        return self.pods[-1]


class Pod:
    def __init__(self, node, number):
        self.address = f"10.244.{1 + number // 250}.{1 + number % 250}"
        link = f"pod{number}"
        with new_namespace():
            self.namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            listener = socket.create_server(("127.0.0.1", node.relay.port))
        self.path = f"/proc/{os.getpid()}/fd/{self.namespace}"
        ip(f"link add {link} type veth peer name eth0 netns {self.path}\naddr add {GATEWAY}/32 dev {link}\n"
           f"link set {link} up\nroute add {self.address}/32 dev {link}\n")
        self.run("ip", "-batch", "-", input=f"addr add {self.address}/32 dev eth0\nlink set eth0 up\n"
                 f"route add {GATEWAY}/32 dev eth0\nroute add default via {GATEWAY}\n")
        node.relay.serve(listener)
        self.wire = Wire(link, self.address)

    def command(self, *command):
        """The same command inside the pod."""
        return ["nsenter", f"--net={self.path}", *command]

    def run(self, *command, **how):
        subprocess.run(self.command(*command), check=True, capture_output=True, text=True, **how)
