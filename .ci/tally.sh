# Sourced by test.sh and .ci/run: runs steps, counts their tests, and closes with "N passed, N failed".
# A step that fails without saying how many tests did counts as one failure. A test that was skipped has shown nothing:
# it counts as failed, unless CREDLET_ALLOW_SKIPS is set.

passed=0
failed=0
logs=${CREDLET_LOGS:-build/logs}
mkdir -p "$logs"

# counts LOG: what the test programs in a log say of themselves, as "PASSED FAILED".
# Understood: doctest's "[doctest] test cases: N | N passed | N failed", pytest's "N passed, N failed in 1.0s", and the
# plain "N passed, N failed" of the scripts here.
counts() {
    python3 - "$1" <<'E2'
import os, re, sys
bad_words = ("failed", "error", "errors") if os.environ.get("CREDLET_ALLOW_SKIPS") else \
    ("failed", "error", "errors", "skipped")
text = open(sys.argv[1], errors="replace").read()
text = re.sub(r"\x1b\[[0-9;]*m", "", text)
last = [l for l in text.splitlines() if l.strip()][-1:] or [""]
if total := re.fullmatch(r"(\d+) passed, (\d+) failed", last[0].strip()):
    print(total[1], total[2])  # the log's own sum
    sys.exit()
ok = bad = 0
for m in re.finditer(r"\[doctest\] test cases:\s+\d+ \|\s+(\d+) passed \|\s+(\d+) failed \|\s+(\d+) skipped", text):
    ok += int(m[1]); bad += int(m[2]) + (int(m[3]) if "skipped" in bad_words else 0)
for line in text.splitlines():
    m = re.fullmatch(r"=*\s*((?:\d+ (?:passed|failed|errors?|skipped|deselected|warnings?|xfailed)(?:, )?)+)(?: in [\d.]+s.*)?=*", line.strip())
    if m and "doctest" not in line:
        for n, what in re.findall(r"(\d+) (\w+)", m[1]):
            if what == "passed": ok += int(n)
            elif what in bad_words: bad += int(n)
print(ok, bad)
E2
}

# step NAME COMMAND...: its output goes to the terminal and to build/logs/NAME.log.
step() {
    local name=$1 status=0 ok bad started=$SECONDS
    shift
    echo "=== $name: $*"
    "$@" 2>&1 | tee "$logs/$name.log"
    status=${PIPESTATUS[0]}
    read -r ok bad < <(counts "$logs/$name.log")
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
    elif [ "$status" -eq 0 ] && [ "$bad" -ne 0 ]; then
        status=1 # skipped, which the test programs do not mind
    elif [ "$status" -eq 0 ] && [ "$ok" -eq 0 ]; then
        ok=1
    fi
    passed=$((passed + ok))
    failed=$((failed + bad))
    echo "=== $name: $([ "$status" -eq 0 ] && echo ok || echo FAILED) in $((SECONDS - started)) s"
    return "$status"
}

# advice NAME COMMAND...: the same, uncounted: its result is shown and does not decide.
advice() {
    local before=("$passed" "$failed") status=0
    step "$@" || status=$?
    passed=${before[0]} failed=${before[1]}
    [ "$status" -eq 0 ] || echo "=== $1: failed, which does not decide; see $logs/$1.log"
    return 0
}

# close: the last line, and the exit status of it all.
close() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
