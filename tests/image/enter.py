"""Runs the program of an image as a container's runtime does: its root read-only, as a user without any right, and with
nothing of the machine's files but what is bound into it.

Usage: enter.py ROOT [--bind SOURCE:DESTINATION]... -- COMMAND...

One process from beginning to end, so that signals and the end of the caller reach the program."""

import argparse
import ctypes
import os
import pathlib
import signal

CLONE_NEWNS = 0x20000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 1, 38, 24
USER = 65532
LIBC = ctypes.CDLL(None, use_errno=True)


def call(function, *arguments):
    if getattr(LIBC, function)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{function}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, flags):
    call("mount", os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None)


def bind(source, target):
    """Makes the place for it, as runtimes do."""
    if os.path.isdir(source):
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(source, target, MS_BIND | MS_REC)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("--bind", action="append", default=[])
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()

    call("unshare", CLONE_NEWNS)
    mount("none", "/", MS_REC | MS_PRIVATE)
    mount(arguments.root, arguments.root, MS_BIND)
    for pair in arguments.bind:
        source, destination = pair.split(":")
        bind(source, arguments.root / destination.lstrip("/"))
    mount("none", arguments.root, MS_REMOUNT | MS_BIND | MS_RDONLY)
    os.chroot(arguments.root)
    os.chdir("/")

    capability = 0
    while LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.execv(arguments.command[0], arguments.command)


if __name__ == "__main__":
    main()
