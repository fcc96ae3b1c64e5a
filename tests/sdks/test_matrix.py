"""Every current AWS SDK, at both endpoints, through what happens to credentials in a life: fetched, renewed, denied, not to
be had because STS is down. Each case has a client process, a pod and a role of its own; all of them run side by side in the
background, and each test waits for its own. What came out is docs/sdks.md, which a test compares with this run."""

import concurrent.futures
import contextlib
import os
import time
import urllib.parse

import clients
import page
import pytest
from daemon import Credlet
from node import CREDLET, Node
from private_network import new_namespace
from scenarios import Case
from simulator import Simulator

SCENARIOS = ("life", "denied", "down", "fresh")
CASES = [(sdk, endpoint, scenario) for scenario in SCENARIOS for sdk in clients.NAMES for endpoint in clients.ENDPOINTS]
AT_ONCE = 6
DEADLINE = 420  # for all that goes on side by side

# What SDKs do that they should not, and nobody but they can mend: docs/sdks.md says what helps.
GO_ON_TO_THE_NODE = ("java",)
KEEP_A_FAILURE = (("python", "imds"),)  # a client made while there were no credentials never looks for them again


class Matrix:
    """All cases under way."""

    def __init__(self, world, node, programs, directory):
        self.world, self.node, self.programs, self.directory = world, node, programs, directory
        self.versions = {}
        cases = [Case(self, *case) for case in CASES]
        # Lives are long and idle: they all begin at once, the others take turns beside them.
        lives = [case for case in cases if case.scenario == "life"]
        self.threads = [concurrent.futures.ThreadPoolExecutor(number) for number in (len(lives), AT_ONCE, AT_ONCE)]
        self.found = {}
        for case in cases:
            threads = self.threads[0 if case.scenario == "life" else 1]
            self.found[case.sdk, case.endpoint, case.scenario] = threads.submit(getattr(case, case.scenario))

    def later(self, call, *arguments):
        return self.threads[2].submit(call, *arguments)

    @staticmethod
    def pause(sdk):
        """Between two calls of an application."""
        time.sleep(10 if sdk == "cli" else 1)

    def stop(self):
        for threads in reversed(self.threads):
            threads.shutdown(wait=True, cancel_futures=True)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    built = clients.build()  # before there is no way out
    with new_namespace(), contextlib.ExitStack() as started:
        def start(what, *arguments, **how):
            made = what(*arguments, **how)
            started.callback(made.stop)
            return made

        world = start(Simulator, tmp_path_factory.mktemp("world"))
        node = start(Node, urllib.parse.urlsplit(world.sts_url).port)
        start(Credlet, world, listen=[f"{CREDLET}:80"])
        yield start(Matrix, world, node, clients.Programs(built, world), tmp_path_factory.mktemp("clients"))


def each(scenario):
    """A test for each SDK at each endpoint."""
    return pytest.mark.parametrize(("sdk", "endpoint"), [case[:2] for case in CASES if case[2] == scenario])


@each("fresh")
def test_first_fetch(matrix, sdk, endpoint):
    found = matrix.found[sdk, endpoint, "fresh"].result(DEADLINE)
    assert found.requests == (1 if endpoint == "container" else 3)  # session, role's name, credentials
    assert found.more == (found.requests if sdk == "cli" else 0)


@each("life")
def test_refresh(matrix, sdk, endpoint):
    found = matrix.found[sdk, endpoint, "life"].result(DEADLINE)
    assert not found.errors
    assert found.left > -5


@each("denied")
def test_T41_a_denied_role(matrix, sdk, endpoint):
    found = matrix.found[sdk, endpoint, "denied"].result(DEADLINE)
    assert found.tries >= 1
    if found.asked_node:
        assert sdk in GO_ON_TO_THE_NODE and endpoint == "container"
        assert not found.without_node.asked_node
    assert found.recovered or found.asked_node or (sdk, endpoint) in KEEP_A_FAILURE


@each("down")
def test_sts_is_down(matrix, sdk, endpoint):
    found = matrix.found[sdk, endpoint, "down"].result(DEADLINE)
    assert not found.asked_node
    assert found.tries >= 1
    assert found.recovered or (sdk, endpoint) in KEEP_A_FAILURE


def test_the_page_shows_this_run(matrix):
    """CREDLET_WRITE_SDKS=1 writes it."""
    found = {case: later.result(DEADLINE) for case, later in matrix.found.items()}
    table = page.table(found, matrix.versions)
    if os.environ.get("CREDLET_WRITE_SDKS"):
        page.write(table)
    assert page.outcomes(page.committed()) == page.outcomes(table)
