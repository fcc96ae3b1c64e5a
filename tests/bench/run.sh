#!/usr/bin/env bash
# Every benchmark, against the release build.
set -euo pipefail
cd "$(dirname "$0")/../.."
cmake --preset release >/dev/null
cmake --build --preset release --target credlet bench_askers -- --quiet
exec /usr/bin/python3 tests/bench/bench.py "$@"
