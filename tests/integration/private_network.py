"""Network namespaces for tests. They take CAP_SYS_ADMIN."""

import contextlib
import os
import subprocess

import pytest

from namespaces import new_network


def unavailable(what):
    """A test cannot run here. That is a failure, unless somebody has said that it may be so."""
    (pytest.skip if os.environ.get("CREDLET_ALLOW_SKIPS") else pytest.fail)(what)


@contextlib.contextmanager
def new_namespace():
    """This thread, and all that it starts, in a network namespace of its own: with a loopback, and no way out."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(new_network())
        except PermissionError:
            unavailable("a network namespace takes CAP_SYS_ADMIN; CREDLET_ALLOW_SKIPS=1 lets this pass")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True)
        yield


@pytest.fixture(scope="module")
def private_network():
    with new_namespace():
        yield
