"""Prometheus itself, what the chart ships for it, and credlet in simulated worlds."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("prometheus", "integration", "sim")]


def pytest_addoption(parser):
    parser.addoption("--write-docs", action="store_true",
                     help="put what the dashboard's queries returned into docs/dashboard.md")


@pytest.fixture(scope="session")
def programs():
    """The directory of prometheus and promtool, which are built from Go modules where they are not there yet."""
    built = subprocess.run([str(ROOT / "tests" / "cluster" / "build.sh"), "prometheus", "promtool"], check=True,
                           stdout=subprocess.PIPE, text=True)
    return pathlib.Path(built.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def promtool(programs):
    def run(*arguments, **how):
        done = subprocess.run([str(programs / "promtool"), *map(str, arguments)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60, **how)
        assert done.returncode == 0, done.stdout
        return done.stdout
    return run


def pytest_report_header():
    return f"credlet: {os.environ.get('CREDLET_BINARY', 'build/release/credlet')}"
