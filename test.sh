#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test that does not need long: unit tests of each floor, the fuzz
# targets' seed corpora, the simulators' own tests, and the integration tests with real SDKs against the binary.
set -uo pipefail
cd "$(dirname "$0")"
. .ci/tally.sh

.ci/setup.sh build simulators clients || exit 1
jobs=${CREDLET_JOBS:-$(nproc)}

build() { cmake --preset release >/dev/null && cmake --build --preset release -j "$jobs" -- --quiet; }
step build build || { close; exit 1; }
step unit ctest --test-dir build/release --output-on-failure -V -j "$jobs"
# tests/matrix.py reads what ran and passed.
pytests() { # NAME: the tests of tests/NAME
    /usr/bin/python3 -m pytest -q -p no:cacheprovider --junitxml="$logs/$1.xml" "tests/$1"
}
step simulators pytests sim
step sdks tests/sdks/setup.sh python javascript
step integration pytests integration
close
