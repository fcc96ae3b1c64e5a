"""What is done to one SDK at one endpoint, each in a pod of its own with a role of its own; and what came out."""

import contextlib
import dataclasses
import time

from clients import Client
from node import CREDLET, NODE_METADATA
from simulator import wait_until

LIFE = 150  # seconds: credlet renews such credentials after 60 to 90 s
STS_REASON = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
PATIENCE = 60
RECOVERY = 20  # STS's refusal is remembered for 5 s


@dataclasses.dataclass
class Fresh:
    """Credentials of an hour's life."""

    requests: int  # for the first call
    more: int  # for the second one
    ignores_proxy: bool


@dataclasses.dataclass
class Life:
    """Credentials of a short life, until the SDK used others."""

    errors: list  # of calls meanwhile
    left: float  # of the life of the first ones, in seconds


@dataclasses.dataclass
class Failure:
    """Credentials that are not to be had, for the time being."""

    error: str
    tries: int
    seconds: float  # from the first request
    asked_node: bool  # the SDK went on to the node's own metadata service
    retried: bool = False  # a call that had begun before the reason was gone succeeded
    recovered: bool = False  # a later call of the same client succeeded
    without_node: "Failure | None" = None  # the same where the SDK is told to leave the node's metadata service alone


class Case:
    def __init__(self, matrix, sdk, endpoint, scenario):
        self.matrix, self.sdk, self.endpoint, self.scenario = matrix, sdk, endpoint, scenario
        self.name = f"{sdk}-{endpoint}-{scenario}"
        self.network = matrix.node.plug_pod()
        self.token_file = matrix.directory / f"{self.name}.token"

    # The pod

    def make_pod(self, **how):
        self.pod = self.matrix.world.workload(self.name, self.network.address, **how)
        self.token_file.write_text(self.matrix.world.mint(pod=f"prod/{self.name}-pod"))

    def environment(self, **more):
        if self.endpoint == "imds":
            where = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{CREDLET}"}
        else:
            where = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{CREDLET}/v1/credentials",
                     "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(self.token_file)}
        return {**self.matrix.programs.environment(), **where, **more}

    @contextlib.contextmanager
    def client(self, **environment):
        command = self.network.command(*self.matrix.programs.command(self.sdk))
        client = Client(command, self.environment(**environment), self.matrix.directory / f"{self.name}.err")
        self.matrix.versions[self.sdk] = client.version
        try:
            yield client
        finally:
            client.stop()

    def used(self, answer):
        """The key that the last call was signed with, when it was answered: the pod's own role, or it is an error."""
        assert "arn" in answer, answer
        role = self.pod["role_arn"].rsplit("/", 1)[1]
        assert f":assumed-role/{role}/" in answer["arn"], answer
        calls = self.matrix.world.calls("sts", operation="GetCallerIdentity", role=self.pod["role_arn"], result="ok")
        return calls[-1]["access_key_id"]

    # Scenarios

    def fresh(self):
        """Credentials of an hour's life; and whether the SDK would ask an HTTP proxy for them, which does not answer."""
        self.make_pod()
        wire = self.network.wire
        with self.client() as client:
            self.used(client.ask("identity"))
            requests = len(wire.requests(CREDLET))
            self.used(client.ask("identity"))
            more = len(wire.requests(CREDLET)) - requests
        proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "localhost"}
        with self.client(**proxy) as client:
            ignored = "arn" in client.ask("identity")
        with self.client(**{**proxy, "NO_PROXY": f"localhost,{CREDLET}"}) as client:
            self.used(client.ask("identity"))
        return Fresh(requests, more, ignored)

    def life(self):
        """Credentials that live for minutes only: an application that goes on calling."""
        with self.client() as client:
            self.make_pod(sts_fault={"kind": "expiry", "offset": LIFE})  # now, so that the client sees its whole life
            first = self.used(client.ask("identity"))
            expires = self.matrix.world.issued(first)["expires"]
            errors = []
            while True:
                self.matrix.pause(self.sdk)
                answer = client.ask("identity")
                left = expires - time.time()
                if "error" in answer:
                    errors.append(answer["error"])
                elif self.used(answer) != first:
                    return Life(errors, left)
                assert left > -PATIENCE, f"no new credentials: {errors}"

    def denied(self):
        """403: the role's trust policy does not name the pod's service account; then it is mended."""
        self.make_pod(role_fields={"subjects": "system:serviceaccount:prod:somebody-else"})
        with self.client() as client:
            found = self.fails(client)
            if found.asked_node:
                with self.client(AWS_EC2_METADATA_DISABLED="true") as obedient:
                    found.without_node = self.fails(obedient)
            self.matrix.world.role(self.name, subjects=f"system:serviceaccount:prod:{self.name}")
            found.recovered = self.recovers(client)
        return found

    def down(self):
        """503: STS accepts calls and does not answer; in the end it does, while a call of the client's is under way."""
        world = self.matrix.world
        fault = world.fault("sts", "hang", match={"operation": "AssumeRoleWithWebIdentity", "role": f"/{self.name}$"})
        self.make_pod()
        # Whether an SDK would go on to the node's metadata service is seen where credentials are denied.
        alone = {} if self.endpoint == "imds" else {"AWS_EC2_METADATA_DISABLED": "true"}
        with self.client(**alone) as client:
            found = self.fails(client)
            began = time.time()
            call = self.matrix.later(client.ask, "identity")
            wait_until(lambda: self.tries(began) > 1 or call.done(), PATIENCE, "a second try")
            world.clear(fault)
            found.retried = "arn" in call.result(PATIENCE)
            found.recovered = self.recovers(client)
        return found

    # What they have in common

    def fails(self, client):
        """A call that must fail."""
        began = time.time()
        answer = client.ask("identity")
        ended = time.time()
        assert "error" in answer, answer
        requests = self.network.wire.requests(CREDLET, began)
        return Failure(answer["error"], self.tries(began), ended - requests[0][0],
                       bool(self.network.wire.requests(NODE_METADATA, began)))

    def tries(self, since):
        """How often the client asked for credentials themselves: with IMDS other requests come before."""
        path = "/v1/credentials" if self.endpoint == "container" else "/security-credentials/" + self.name
        return sum(path in line for _, line in self.network.wire.requests(CREDLET, since))

    def recovers(self, client):
        """Whether the client gets on again now that it can. If it does not, a new one must."""
        try:
            self.used(wait_until(lambda: self.succeeded(client), RECOVERY, "a call that succeeds", every=1))
            return True
        except AssertionError:
            with self.client() as another:
                self.used(another.ask("identity"))
            return False

    @staticmethod
    def succeeded(client):
        answer = client.ask("identity")
        return answer if "arn" in answer else None
