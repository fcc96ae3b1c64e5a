"""A mutating webhook that adds a container, as service meshes do: it is called after all policies."""

import base64
import http.server
import json
import ssl
import threading

from pki import write_atomically


class SidecarWebhook:
    def __init__(self, plane, labels, container):
        """For pods with these labels."""
        certificate, key = plane.authority.issue(["127.0.0.1"])
        file = plane.path("sidecar-webhook.pem")
        write_atomically(file, certificate + key, 0o600)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(file)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(container))
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        plane.admin.create("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", {
            "metadata": {"name": "sidecar"}, "webhooks": [{
                "name": "sidecar.test.credlet.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "reinvocationPolicy": "Never", "objectSelector": {"matchLabels": labels},
                "clientConfig": {"url": f"https://127.0.0.1:{self.server.server_address[1]}/",
                                 "caBundle": base64.b64encode(plane.authority.pem).decode()},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                           "resources": ["pods"]}]}]})

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def handler(container):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            patch = json.dumps([{"op": "add", "path": "/spec/containers/-", "value": container}])
            body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
                "uid": review["request"]["uid"], "allowed": True, "patchType": "JSONPatch",
                "patch": base64.b64encode(patch.encode()).decode()}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass
    return Handler
