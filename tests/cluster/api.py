"""A client of the Kubernetes API: JSON over TLS, on a connection per thread that is kept."""

import http.client
import json
import ssl
import threading
import urllib.parse


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def message(self):
        """What a Status object says; of anything else, its beginning."""
        try:
            return self.json.get("message", "")
        except ValueError:
            return self.body[:500].decode(errors="replace")

    @property
    def warnings(self):
        return [value.split(" ", 2)[2].strip('"') for value in self.headers.get_all("Warning", [])]

    def __repr__(self):
        return f"<{self.status} {self.message or self.body[:200]!r}>"


class Refused(Exception):
    def __init__(self, method, path, reply):
        super().__init__(f"{method} {path}: {reply}")
        self.reply, self.status, self.message = reply, reply.status, reply.message


class Api:
    """Somebody's view of the API server: by a token, a client certificate (a file with its key too), or neither."""

    def __init__(self, url, ca_file, token=None, certificate=None, headers=None, timeout=30):
        self.address = urllib.parse.urlsplit(url)
        self.context = ssl.create_default_context(cafile=ca_file)
        if certificate:
            self.context.load_cert_chain(certificate)
        self.headers, self.timeout = dict(headers or {}), timeout
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        self.resources = {}  # by group and version, as the API server tells
        self.local = threading.local()
        self._url, self._ca_file, self._certificate, self._token = url, ca_file, certificate, token

    def impersonating(self, user):
        return Api(self._url, self._ca_file, self._token, self._certificate, {"Impersonate-User": user}, self.timeout)

    def ask(self, method, path, body=None, headers=None):
        """The reply, whatever it says."""
        response = self._send(method, path, body, headers)
        return Reply(response.status, response.headers, response.read())

    def status(self, method, path, body=None):
        """How it begins to answer: the rest, which may be a watch, is not waited for."""
        response = self._send(method, path, body, None)
        self._forget_connection()
        return response.status

    def _send(self, method, path, body, headers):
        sent = {**self.headers, **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", "application/merge-patch+json" if method == "PATCH" else "application/json")
        reused = getattr(self.local, "connection", None) is not None
        if not reused:
            self.local.connection = http.client.HTTPSConnection(self.address.hostname, self.address.port,
                                                                timeout=self.timeout, context=self.context)
        try:
            self.local.connection.request(method, path, None if body is None else json.dumps(body), sent)
            return self.local.connection.getresponse()
        except BaseException as error:
            self._forget_connection()
            if reused and isinstance(error, (ConnectionError, ssl.SSLEOFError)):  # closed since
                return self._send(method, path, body, headers)
            raise

    def _forget_connection(self):
        self.local.connection.close()
        self.local.connection = None

    def call(self, method, path, body=None, headers=None):
        """The object that comes back; raises Refused."""
        reply = self.ask(method, path, body, headers)
        if reply.status >= 300:
            raise Refused(method, path, reply)
        return reply.json

    def get(self, path):
        return self.call("GET", path)

    def create(self, path, body):
        return self.call("POST", path, body)

    def patch(self, path, body, kind="merge"):
        """kind: merge, strategic-merge or json."""
        return self.call("PATCH", path, body, {"Content-Type": f"application/{kind}-patch+json"})

    def apply(self, body, dry_run=False):
        """Server-side, whatever it is, where it says; unknown fields are errors. The reply, with its warnings."""
        path = self.path_of(body) + "?fieldManager=test&fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.ask("PATCH", path, body, {"Content-Type": "application/apply-patch+yaml"})

    def path_of(self, body):
        version = body["apiVersion"]
        group = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if group not in self.resources:
            self.resources[group] = self.get(group)["resources"]
        resource = next(r for r in self.resources[group] if r["kind"] == body["kind"] and "/" not in r["name"])
        where = f"/namespaces/{body['metadata']['namespace']}" if resource["namespaced"] else ""
        return f"{group}{where}/{resource['name']}/{body['metadata']['name']}"

    def delete(self, path, grace=0):
        return self.call("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": grace})

    def exists(self, path):
        reply = self.ask("GET", path)
        if reply.status not in (200, 404):
            raise Refused("GET", path, reply)
        return reply.status == 200
