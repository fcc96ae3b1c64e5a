#!/usr/bin/env bash
# Builds all targets of a preset: build.sh PRESET JOBS.
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset "$1" >/dev/null
cmake --build --preset "$1" -j "$2" -- --quiet
