"""A path that goes dead without a word: packets to and from the API server vanish, and nobody is told. Packet filters
make it so, in a network namespace of this file's own."""

import subprocess
import time
import urllib.parse

import pytest
from daemon import genuine, served
from simulator import Simulator, wait_until


@pytest.fixture(scope="module")
def world(private_network, tmp_path_factory):
    simulator = Simulator(tmp_path_factory.mktemp("world"))
    yield simulator
    simulator.stop()


class DeadPath:
    """Drops what goes to or comes from a port where it is received: the sender believes it on its way."""

    def __init__(self, port):
        self.port = port

    def nft(self, *commands):
        subprocess.run(["nft", "; ".join(commands)], check=True, capture_output=True)

    def cut(self):
        self.nft("add table inet dead", "add chain inet dead input { type filter hook input priority 0; }",
                 *(f"add rule inet dead input tcp {end} {self.port} drop" for end in ("dport", "sport")))

    def heal(self):
        self.nft("delete table inet dead")


def test_F26_a_half_open_watch_is_noticed_and_the_map_comes_right(world, credlet, warm_pod, new_pod):
    gone, stays = warm_pod(), warm_pod()
    wait_until(lambda: world.stats()["kube"]["open_watches"]["pods"] == 1, 5, "a watch of pods")
    path = DeadPath(urllib.parse.urlsplit(world.kube_url).port)
    restarts = credlet.metric("watch_restarts_total", resource="pods")

    def noticed():
        assert credlet.credentials(stays["ip"]).json["AccessKeyId"] == stays["access_key_id"]
        return credlet.metric("watch_restarts_total", resource="pods") > restarts
    path.cut()
    try:
        world.delete_pod(gone["namespace"], gone["name"])
        wait_until(noticed, 45, "noticing", every=0.25)
    finally:
        path.heal()
    healed = time.monotonic()
    wait_until(lambda: credlet.refuses(gone["ip"]), 60, "the map's coming right", every=0.1)
    late = new_pod()
    genuine(world, wait_until(lambda: served(credlet.credentials(late["ip"])), 60 - (time.monotonic() - healed)), late)
    assert credlet.credentials(stays["ip"]).json["AccessKeyId"] == stays["access_key_id"]
