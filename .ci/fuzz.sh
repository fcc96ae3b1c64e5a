#!/usr/bin/env bash
# Runs every fuzz target of the asan preset for the given number of seconds (default 60) on its seed corpus. A finding
# fails and leaves the input in build/fuzz-findings/.
set -uo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
mkdir -p build/fuzz-findings build/fuzz-corpus

one() { # TARGET
    local name=${1##*/fuzz_}
    mkdir -p "build/fuzz-corpus/$name"
    if timeout $((seconds + 60)) "$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -verbosity=0 \
        -print_final_stats=1 -artifact_prefix="build/fuzz-findings/$name-" \
        "build/fuzz-corpus/$name" "tests/fuzz/corpus/$name" >"build/fuzz-findings/$name.log" 2>&1; then
        echo "fuzz $name: $(grep -oP 'number_of_executed_units: \K\d+' "build/fuzz-findings/$name.log") inputs, no finding"
    else
        echo "fuzz $name: FINDING"
        tail -40 "build/fuzz-findings/$name.log"
        return 1
    fi
}
export -f one
export seconds
targets=$(find build/asan/tests -maxdepth 1 -name 'fuzz_*' -type f -perm -u+x | sort)
echo "$targets" | xargs -P "$(nproc)" -I{} bash -c 'one {}' | tee build/fuzz-findings/summary
ok=$(grep -c 'no finding' build/fuzz-findings/summary)
bad=$(($(echo "$targets" | wc -l) - ok))
echo "$ok passed, $bad failed"
[ "$bad" -eq 0 ]
