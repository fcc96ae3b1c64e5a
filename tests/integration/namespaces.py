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
def returning(kind, path):
    """To where the path leads now, however it ends."""
    home = os.open(path, os.O_RDONLY)
    try:
        yield
    finally:
        setns(home, kind)
        os.close(home)


def network_kept():
    return returning(CLONE_NEWNET, "/proc/thread-self/ns/net")


@contextlib.contextmanager
def inside(network):
    """In the network namespace of an open file."""
    with network_kept():
        setns(network, CLONE_NEWNET)
        yield


@contextlib.contextmanager
def process_ids(file=None):
    """Processes that this thread starts have the process ids of an open file's namespace, or of a new one, in which the
    first is process 1. Threads cannot be started meanwhile."""
    with returning(CLONE_NEWPID, "/proc/thread-self/ns/pid"):
        if file is None:
            unshare(CLONE_NEWPID)
        else:
            setns(file, CLONE_NEWPID)
        yield
