import itertools

import pytest

from simulator import Simulator


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    simulator = Simulator(tmp_path_factory.mktemp("sim"))
    yield simulator
    simulator.stop()


@pytest.fixture
def unique(counter=itertools.count(1)):
    """A name no other test uses."""
    return f"t{next(counter)}"


@pytest.fixture(autouse=True)
def no_faults_left(sim):
    before = sim.get("/settings")
    yield
    sim.clear()
    sim.settings(**before)
