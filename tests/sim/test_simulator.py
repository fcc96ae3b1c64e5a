"""Nothing that tests start outlives them."""

import os
import subprocess
import sys

import pytest

from simulator import HERE, stop_all, wait_until


class Started:
    def __init__(self, error=None):
        self.error, self.stopped = error, False

    def stop(self):
        self.stopped = True
        if self.error:
            raise self.error


def test_all_are_stopped_whatever_one_of_them_says():
    started = [Started(), Started(AssertionError("the first")), Started(AssertionError("the second")), Started()]
    with pytest.raises(AssertionError, match="the first"):
        stop_all(started)
    assert all(one.stopped for one in started)


def test_a_simulator_ends_with_who_started_it(tmp_path):
    program = (f"import os, sys; sys.path.insert(0, {HERE!r}); from simulator import Simulator; "
               f"print(Simulator({str(tmp_path)!r}).process.pid, flush=True); os._exit(1)")
    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=60, check=False)
    wait_until(lambda: not os.path.exists(f"/proc/{int(ended.stdout)}"), 10, "its end")
