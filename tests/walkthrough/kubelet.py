#!/usr/bin/python3
"""In the kubelet's place, where there is no container runtime: runs what pods of its node say they run, as processes of
this machine in namespaces of their own, with the environment, files and capabilities that the stored pod spec gives them.
Everything it asks of the API server it asks as the node. An image is a set of programs of this machine. The node's process
ids begin with this program: pods with hostPID, and all others, see these."""

import argparse
import asyncio
import ctypes
import datetime
import itertools
import json
import os
import pathlib
import re
import signal
import ssl
import sys
import time

import aiohttp
import streams
from aiohttp import web
from sandbox import Broken, Sandbox

ADDRESSES = (f"10.244.0.{low}" for low in itertools.count(7))
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GRACE = 15
PATIENCE = 60
CLONE_NEWNS, CLONE_NEWPID = 0x20000, 0x20000000
PR_SET_PDEATHSIG = 1


def now():
    return datetime.datetime.utcnow().strftime("%Y-%m-%dT%H:%M:%SZ")


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status = status


class Api:
    def __init__(self, url, ca_file, certificate):
        self.url = url
        self.tls = ssl.create_default_context(cafile=ca_file)
        self.tls.load_cert_chain(certificate)
        self.session = aiohttp.ClientSession()

    async def call(self, method, path, body=None, kind="application/json", patient=False):
        """patient: the API server may not know yet that the node may do this, or the object may come later."""
        deadline = time.monotonic() + (PATIENCE if patient else 0)
        while True:
            async with self.session.request(method, self.url + path, ssl=self.tls, headers={"Content-Type": kind},
                                            data=None if body is None else json.dumps(body)) as response:
                text = await response.text()
                if response.status < 300:
                    return json.loads(text)
                if response.status not in (403, 404) or time.monotonic() > deadline:
                    raise Refused(response.status, text)
            await asyncio.sleep(0.1)

    async def patch_status(self, path, status):
        return await self.call("PATCH", path + "/status", {"status": status}, "application/strategic-merge-patch+json")

    async def watch(self, path, version):
        timeout = aiohttp.ClientTimeout(total=None)
        async with self.session.get(f"{self.url}{path}&watch=1&resourceVersion={version}", ssl=self.tls, timeout=timeout,
                                    read_bufsize=1 << 22) as response:
            async for line in response.content:
                yield json.loads(line)


class Pod:
    """One pod's life on this node."""

    def __init__(self, kubelet, body):
        self.kubelet, self.body = kubelet, body
        metadata = body["metadata"]
        self.namespace, self.name, self.uid = metadata["namespace"], metadata["name"], metadata["uid"]
        self.path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        host_network = body["spec"].get("hostNetwork", False)
        self.sandbox = Sandbox(self.uid, None if host_network else next(ADDRESSES), self._host_paths())
        self.address = self.sandbox.address or kubelet.address
        self.processes = {}
        self.started = now()
        self.ending = False

    async def run(self):
        try:
            await self.sandbox.start()
            spec = self.body["spec"]
            volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
            for container in spec.get("initContainers", []) + spec["containers"]:
                self.sandbox.install(self._image(container)["programs"])
                for mount in container.get("volumeMounts", []):
                    if "hostPath" not in volumes[mount["name"]]:
                        self.sandbox.mount(mount["mountPath"], await self._files(volumes[mount["name"]]))
            await self._say("Pending", ready=False)
            for container in spec.get("initContainers", []):
                code = await (await self._start(container)).wait()
                if code:
                    raise Broken(f"{container['name']} ended with {code}: {self.logs(container['name']).decode()}")
            for container in spec["containers"]:
                self.processes[container["name"]] = await self._start(container)
            await self._say("Running", ready=False)
            for container in spec["containers"]:
                await self._wait_ready(container)
            await self._say("Running", ready=True)
        except (Broken, Refused, OSError, KeyError) as problem:
            print(f"{self.namespace}/{self.name}: {problem!r}", file=sys.stderr, flush=True)
            os._exit(1)  # no container is restarted here: the test need not wait any longer

    def _image(self, container):
        for name, image in self.kubelet.images.items():
            if re.search(rf"(^|/){name}(:|@|$)", container["image"]):
                return image
        raise Broken(f"there is no image {container['image']}")

    # What a container is given

    def _host_paths(self):
        """{path in the pod: path of the machine}, which is made where it may be."""
        spec = self.body["spec"]
        volumes = {volume["name"]: volume["hostPath"] for volume in spec.get("volumes", []) if "hostPath" in volume}
        for path in volumes.values():
            if path["type"] == "DirectoryOrCreate":
                pathlib.Path(path["path"]).mkdir(parents=True, exist_ok=True)
        return {mount["mountPath"]: volumes[mount["name"]]["path"]
                for container in spec.get("initContainers", []) + spec["containers"]
                for mount in container.get("volumeMounts", []) if mount["name"] in volumes}

    async def _files(self, volume):
        if "emptyDir" in volume:
            return {}
        files = {}
        for source in volume["projected"]["sources"]:
            if "serviceAccountToken" in source:
                wanted = source["serviceAccountToken"]
                files[wanted["path"]] = await self._token(wanted)
            elif "configMap" in source:
                path = f"/api/v1/namespaces/{self.namespace}/configmaps/{source['configMap']['name']}"
                data = (await self.kubelet.api.call("GET", path, patient=True))["data"]
                files.update({item["path"]: data[item["key"]] for item in source["configMap"]["items"]})
            elif "downwardAPI" in source:
                files.update({i["path"]: self._field(i["fieldRef"]["fieldPath"]) for i in source["downwardAPI"]["items"]})
            else:
                raise Broken(f"a volume's source: {source}")
        return files

    async def _token(self, wanted):
        spec = {"expirationSeconds": wanted.get("expirationSeconds", 3600),
                "audiences": [wanted["audience"]] if wanted.get("audience") else [],
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": self.name, "uid": self.uid}}
        account = self.body["spec"]["serviceAccountName"]
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token"
        answer = await self.kubelet.api.call("POST", path, {"apiVersion": "authentication.k8s.io/v1",
                                                            "kind": "TokenRequest", "spec": spec}, patient=True)
        return answer["status"]["token"]

    def _field(self, path):
        fields = {"spec.nodeName": self.kubelet.node, "status.hostIP": self.kubelet.address,
                  "status.podIP": self.address, "metadata.name": self.name, "metadata.namespace": self.namespace}
        if path not in fields:
            raise Broken(f"the field {path}")
        return fields[path]

    def _environment(self, container):
        environment = {"PATH": SEARCH_PATH, "HOME": "/tmp", "HOSTNAME": self.name, **self.kubelet.service}
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                value = self._field(variable["valueFrom"]["fieldRef"]["fieldPath"])
            else:
                value = re.sub(r"\$\((\w+)\)", lambda m: environment.get(m[1], m[0]), variable.get("value", ""))
            environment[variable["name"]] = value
        return environment

    def _capabilities(self, container):
        given = container.get("securityContext", {}).get("capabilities", {})
        return given.get("add", []) if "ALL" in given.get("drop", []) else None

    def _log(self, name):
        return self.kubelet.directory / f"{self.uid}-{name}.log"

    async def _start(self, container):
        image = self._image(container)
        command = container.get("command") or image["entrypoint"]
        with open(self._log(container["name"]), "ab") as log:
            return await self.sandbox.spawn(container["name"], [*command, *container.get("args", [])], {
                **self._environment(container), **image.get("environment", {})}, self._capabilities(container),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log)

    async def _wait_ready(self, container):
        """As its readiness probe says; without one it is."""
        probe = container.get("readinessProbe")
        process = self.processes[container["name"]]
        while probe:
            asked = await self.execute(container["name"], probe["exec"]["command"])
            await asked.communicate()
            if asked.returncode == 0:
                return
            if process.returncode is not None:
                raise Broken(f"{container['name']} ended with {process.returncode}: {self.logs(container['name']).decode()}")
            await asyncio.sleep(0.2)

    # What it says and serves

    async def _say(self, phase, ready):
        stamp, conditions = now(), ("Initialized", "ContainersReady", "Ready", "PodScheduled")
        running = {"running": {"startedAt": self.started}} if phase == "Running" else {"waiting": {"reason": phase}}
        await self.kubelet.api.patch_status(self.path, {
            "phase": phase, "startTime": self.started,
            "hostIP": self.kubelet.address, "hostIPs": [{"ip": self.kubelet.address}],
            "podIP": self.address, "podIPs": [{"ip": self.address}],
            "conditions": [{"type": kind, "status": str(ready or kind == "PodScheduled"), "lastTransitionTime": stamp}
                           for kind in conditions],
            "containerStatuses": [{
                "name": c["name"], "image": c["image"], "imageID": "", "ready": ready, "restartCount": 0,
                "started": phase == "Running", "state": running} for c in self.body["spec"]["containers"]]})

    def logs(self, container):
        return self._log(container).read_bytes()

    async def execute(self, name, command):
        container = next(c for c in self.body["spec"]["containers"] if c["name"] == name)
        environment = {**self._environment(container), **self._image(container).get("environment", {})}
        return await self.sandbox.spawn(name, command, environment, self._capabilities(container),
                                        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                                        stderr=asyncio.subprocess.PIPE)

    async def end(self):
        for process in self.processes.values():
            if process.returncode is None:
                process.terminate()
        grace = self.body["spec"].get("terminationGracePeriodSeconds", GRACE)
        for process in self.processes.values():
            try:
                await asyncio.wait_for(process.wait(), min(grace, GRACE))
            except asyncio.TimeoutError:
                process.kill()
                await process.wait()
        await self.sandbox.stop()
        try:
            await self.kubelet.api.call("DELETE", self.path, {"kind": "DeleteOptions", "apiVersion": "v1",
                                                              "gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}})
        except Refused as refusal:
            if refusal.status not in (404, 409):
                raise


class Kubelet:
    def __init__(self, settings):
        self.directory = pathlib.Path(settings["directory"])
        self.node, self.address, self.images = settings["node"], settings["address"], settings["images"]
        self.service = settings["service_environment"]
        self.settings = settings
        self.pods = {}  # by uid
        self.ended = set()  # uids of those that are no more, of which events may still come
        self.tasks = set()

    async def start(self):
        self.api = Api(self.settings["kube_url"], self.settings["ca_file"], self.settings["client_certificate"])
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self.settings["serving_certificate"])
        runner = web.AppRunner(streams.application(self), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, self.address, 0, ssl_context=tls)
        await site.start()
        await self._register(runner.addresses[0][1])

    async def _register(self, port):
        await self.api.call("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {
            "name": self.node, "labels": {"kubernetes.io/os": "linux", "kubernetes.io/hostname": self.node}}})
        room = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        await self.api.patch_status(f"/api/v1/nodes/{self.node}", {
            "capacity": room, "allocatable": room, "addresses": [{"type": "InternalIP", "address": self.address}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}, "declaredFeatures": ["ExtendWebSocketsToKubelet"],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
                            "lastHeartbeatTime": now(), "lastTransitionTime": now()}]})

    def pod_of(self, request):
        sought = (request.match_info["namespace"], request.match_info["pod"])
        for pod in self.pods.values():
            if (pod.namespace, pod.name) == sought:
                return pod
        raise web.HTTPNotFound(text="no such pod here")

    async def follow(self):
        path = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{self.node}"
        while True:
            try:
                listed = await self.api.call("GET", path)
                for pod in listed["items"]:
                    self._see(pod)
                async for event in self.api.watch(path, listed["metadata"]["resourceVersion"]):
                    if event["type"] == "ERROR":
                        break
                    if event["type"] != "DELETED":
                        self._see(event["object"])
            except (aiohttp.ClientError, OSError, Refused):
                await asyncio.sleep(0.2)  # the API server is away

    def _see(self, body):
        uid = body["metadata"]["uid"]
        if uid in self.ended:
            return
        if uid not in self.pods:
            self.pods[uid] = Pod(self, body)
            self._do(self.pods[uid].run())
        elif body["metadata"].get("deletionTimestamp") and not self.pods[uid].ending:
            self.pods[uid].ending = True
            self._do(self._end(uid))

    async def _end(self, uid):
        await self.pods[uid].end()
        self.ended.add(uid)
        del self.pods[uid]

    def _do(self, work):
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task):
        self.tasks.discard(task)
        if not task.cancelled() and task.exception():
            print(f"kubelet: {task.exception()!r}", file=sys.stderr, flush=True)


def become_process_one():
    """Goes on in a child, with process ids of its own, whose end is that of all that runs there."""
    libc = ctypes.CDLL(None, use_errno=True)

    def checked(result):
        if result != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    checked(libc.unshare(CLONE_NEWPID | CLONE_NEWNS))
    child = os.fork()
    if child:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xff)
    checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
    checked(libc.mount(b"proc", b"/proc", b"proc", 0, None))


async def main(settings):
    kubelet = Kubelet(json.loads(pathlib.Path(settings).read_text()))
    await kubelet.start()
    print("registered", flush=True)
    following = asyncio.ensure_future(kubelet.follow())
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    following.cancel()
    os._exit(0)  # whatever it runs dies with it


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", help="JSON file")
    arguments = parser.parse_args()
    become_process_one()
    asyncio.run(main(arguments.settings))
