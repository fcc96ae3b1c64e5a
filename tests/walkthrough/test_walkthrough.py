"""docs/walkthrough.md does what it says."""

import pytest
from page import matches
from shell import Shell

JOURNEYS = ("rosa", "eks", "own")
NO_LANGUAGE_BUT = {"sh", "text", "yaml", "json"}


def test_every_block_is_run_or_says_why_not(walkthrough):
    unmarked = [block.line for block in walkthrough.blocks if block.kind not in ("run", "shown", "prints")]
    assert not unmarked, f"blocks at lines {unmarked} have no mark"
    for block in walkthrough.blocks:
        assert block.about or block.kind == "prints", f"line {block.line}: no name, or no reason"
        assert block.language in NO_LANGUAGE_BUT, f"line {block.line}: in what language?"


def test_what_is_only_shown_is_known(walkthrough):
    """Whoever shows another block without running it says so here too."""
    shown = {}
    for block in walkthrough.blocks:
        if block.kind == "shown":
            shown.setdefault(block.about, []).append(block.text.split()[0])
    assert shown == {
        "there is no OpenShift login and no OpenShift Cluster Manager in the test": ["oc"],
        "there is no registry in the test; the image itself is built and run by other tests": [".ci/image.sh"],
        "the network operator's configuration is OpenShift's own": ["oc", "oc"],
        "nothing but eksctl does this, and it makes what the blocks above made": ["eksctl"],
    }


@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_reader_gets_there(walkthrough, cluster, journey):
    assert not cluster.stuck, f"the way ended before, on {cluster.stuck}: what it made is still there"
    cluster.stuck = journey
    cluster.become(journey)
    desk = cluster.desk(journey)
    shell = Shell(desk, cluster.environment(), cluster.kubelet.alive)
    try:
        for block in walkthrough.journeys[journey]:
            if block.language == "yaml":
                cluster.configure(block.text)
                continue
            printed = shell.run(block.text)
            assert block.prints is None or matches(block.prints, printed), (
                f"line {block.line} ({block.about}) printed:\n{printed}\nand not:\n{block.prints}")
    finally:
        shell.stop()
    cluster.stuck = None
