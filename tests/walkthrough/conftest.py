"""Fixtures: the page, and what it is played on."""

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
for folder in ("cluster", "integration", "sim"):
    sys.path.append(str(ROOT / "tests" / folder))

import page  # noqa: E402
import stage  # noqa: E402
from machine import Unavailable  # noqa: E402

BUCKETS = (f"orders-{stage.ACCOUNT}", f"issuer-{stage.ACCOUNT}")


@pytest.fixture(scope="session")
def walkthrough():
    return page.read()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    try:
        with stage.play(tmp_path_factory.mktemp("walkthrough"), BUCKETS) as started:
            yield started
    except Unavailable as reason:
        (pytest.skip if os.environ.get("CREDLET_ALLOW_SKIPS") else pytest.fail)(str(reason))
