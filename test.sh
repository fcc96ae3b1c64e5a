#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test that does not need long: unit tests of each floor, the fuzz
# targets' seed corpora, the simulators' own tests, and the integration tests with real SDKs against the binary.
set -uo pipefail
cd "$(dirname "$0")"
. .ci/tally.sh

.ci/setup.sh build simulators clients || exit 1
jobs=${CREDLET_JOBS:-$(nproc)}

step build .ci/build.sh release "$jobs" || { close; exit 1; }
step unit ctest --test-dir build/release --output-on-failure -V -j "$jobs"
# tests/matrix.py reads what ran and passed.
pytests() { # NAME ARGUMENT...
    local name=$1
    shift
    setpriv --pdeathsig TERM /usr/bin/python3 -m pytest -q -p no:cacheprovider --junitxml="$logs/$name.xml" "$@"
}
# Beside the others run those that do little but wait.
waiting=(tests/integration/test_{outage,half_open,faults_kube}.py)
integration() {
    local status=0
    pytests integration-waiting "${waiting[@]}" >"$logs/integration-waiting.log" 2>&1 &
    pytests integration tests/integration "${waiting[@]/#/--ignore=}" || status=$?
    wait $! || status=$?
    cat "$logs/integration-waiting.log"
    return "$status"
}
step simulators pytests sim tests/sim
step sdks tests/sdks/setup.sh python javascript
step integration integration
close
