"""Where it listens; and nothing that tests start outlives them."""

import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from simulator import HERE, Simulator, stop_all, wait_until


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


def test_sts_listens_where_it_is_told_to(tmp_path):
    simulator = Simulator(tmp_path, flags=["--sts-address", "127.0.0.9"])
    try:
        assert simulator.sts_url.startswith("https://127.0.0.9:")
        trusting = ssl.create_default_context(cafile=simulator.sts_ca_file)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(simulator.sts_url, timeout=10, context=trusting)
        assert b"<ErrorResponse" in refused.value.read()
    finally:
        simulator.stop()
