#!/usr/bin/env bash
# clang-tidy over every source, or over those named; prints what is wrong and fails, changes nothing.
set -uo pipefail
cd "$(dirname "$0")/.."
sources=("$@")
[ ${#sources[@]} -gt 0 ] || mapfile -t sources < <(git ls-files -co --exclude-standard '*.cpp' | grep -v '^cmake/')
cmake --preset release >/dev/null || exit 1
# The compile database names precompiled headers, which must exist.
cmake --build --preset release -- --quiet || exit 1
printf '%s\n' "${sources[@]}" | xargs -P "$(nproc)" -n 4 clang-tidy-19 -p build/release --quiet
