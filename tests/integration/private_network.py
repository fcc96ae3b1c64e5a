"""Network namespaces for tests. They take CAP_SYS_ADMIN."""

import contextlib
import ctypes
import os
import subprocess

import pytest

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def unavailable(what):
    """A test cannot run here. That is a failure, unless somebody has said that it may be so."""
    (pytest.skip if os.environ.get("CREDLET_ALLOW_SKIPS") else pytest.fail)(what)


@contextlib.contextmanager
def new_namespace():
    """This thread, and all that it starts, in a network namespace of its own: with a loopback, and no way out."""
    with open("/proc/thread-self/ns/net", encoding="ascii") as home:
        if LIBC.unshare(CLONE_NEWNET) != 0:
            unavailable("a network namespace takes CAP_SYS_ADMIN; CREDLET_ALLOW_SKIPS=1 lets this pass")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True)
            yield
        finally:
            LIBC.setns(home.fileno(), CLONE_NEWNET)


@pytest.fixture(scope="module")
def private_network():
    with new_namespace():
        yield
