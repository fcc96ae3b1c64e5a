#!/usr/bin/env bash
# Formatter and the rules of the floors over every source; prints what is wrong and fails, changes nothing. The linter
# proper takes longer: .ci/tidy.sh.
set -uo pipefail
cd "$(dirname "$0")/.."
status=0

mapfile -t sources < <(git ls-files -co --exclude-standard '*.cpp' '*.hpp' | grep -v '^build/')
clang-format-19 --dry-run --Werror "${sources[@]}" || status=1

# Two lines of defence that no linter has: who reads the clock or the environment, and who may print.
if grep -nE 'system_clock::now\(\)|std::getenv|::getenv\(' "${sources[@]}" |
    grep -vE '^(runtime/clock\.cpp|daemon/options\.cpp|tests/)'; then
    echo "lint: wall time comes from runtime/clock, the environment is read in daemon/options alone" >&2
    status=1
fi
# Each floor includes only those below it.
check_floor() { # FOLDER FORBIDDEN...
    local folder=$1
    shift
    for upper in "$@"; do
        if grep -nE "#include \"$upper/" $(git ls-files -co --exclude-standard "$folder/*.?pp"); then
            echo "lint: $folder/ must not include $upper/" >&2
            status=1
        fi
    done
}
check_floor runtime metrics sts metadata daemon tests
check_floor metrics sts metadata daemon tests
check_floor sts metadata daemon tests
check_floor metadata daemon tests
check_floor daemon tests

exit $status
