"""setns(2) and unshare(2), for this thread."""

import contextlib
import ctypes
import os

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x2000000, 0x20000000, 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def checked(result):
    """Of a C function that says -1 where it fails."""
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def unshare(kinds):
    checked(LIBC.unshare(kinds))


def setns(file, kind):
    checked(LIBC.setns(file, kind))


@contextlib.contextmanager
def away(kind, name, go):
    """Goes, and comes back however it ends. Who could not go is here yet."""
    home = os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY)
    try:
        go()
        try:
            yield
        finally:
            setns(home, kind)
    finally:
        os.close(home)


def inside(network):
    """In the network namespace of an open file."""
    return away(CLONE_NEWNET, "net", lambda: setns(network, CLONE_NEWNET))


def new_network():
    """In a new network namespace."""
    return away(CLONE_NEWNET, "net", lambda: unshare(CLONE_NEWNET))


def process_ids(file=None):
    """Processes that this thread starts have the process ids of an open file's namespace, or of a new one, in which the
    first is process 1. Threads cannot be started meanwhile."""
    return away(CLONE_NEWPID, "pid", lambda: unshare(CLONE_NEWPID) if file is None else setns(file, CLONE_NEWPID))
