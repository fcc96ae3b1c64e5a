"""The end of control groups."""

import os
import time

PATIENCE = 10


def end_group(top):
    """Ends whatever runs in a group or below, and removes them all."""
    kill = top / "cgroup.kill"
    if kill.exists():  # since Linux 5.14; what runs there ends with what has started it, too
        kill.write_text("1")
    deadline = time.monotonic() + PATIENCE
    for group in [directory for directory, _, _ in os.walk(top, topdown=False)]:
        while True:
            try:
                os.rmdir(group)
                break
            except FileNotFoundError:
                break
            except OSError:  # somebody is not gone yet, and nothing tells when
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
