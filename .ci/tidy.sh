#!/usr/bin/env bash
# clang-tidy; prints what is wrong and fails, changes nothing. Usage: .ci/tidy.sh [all | FILE...]: over the product's
# sources, over the tests' as well, or over those named. A source takes some 13 s of a core.
set -uo pipefail
cd "$(dirname "$0")/.."
case ${1-} in
'') mapfile -t sources < <(git ls-files -co --exclude-standard '*.cpp' | grep -vE '^(cmake|tests)/') ;;
all) mapfile -t sources < <(git ls-files -co --exclude-standard '*.cpp' | grep -v '^cmake/') ;;
*) sources=("$@") ;;
esac
cmake --preset release >/dev/null || exit 1
# The compile database names precompiled headers, which must exist.
cmake --build --preset release -- --quiet || exit 1
printf '%s\n' "${sources[@]}" | xargs -P "$(nproc)" -n 4 clang-tidy-19 -p build/release --quiet
