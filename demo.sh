#!/usr/bin/env bash
# Builds credlet on a fresh Debian 12 and shows its main job with nothing else present: simulators of Kubernetes and
# STS, the daemon, a pod that asks through the real AWS CLI, and the metrics that moved. Leaves nothing running.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. Install what is missing, and build"
.ci/setup.sh build simulators demo
cmake --preset release >/dev/null
cmake --build --preset release --target credlet -j "$(nproc)" -- --quiet
credlet=build/release/credlet
"$credlet" version

work=$(mktemp -d)
stop() {
    local status=$?
    trap - EXIT
    # The daemon drains on SIGTERM.
    for process in ${daemon:-} ${simulators:-}; do
        kill "$process" 2>/dev/null || true
        wait "$process" || true
    done
    if [ "$status" -ne 0 ] && [ -s "$work/credlet.log" ]; then
        echo "--- the daemon's last words:" >&2
        tail -20 "$work/credlet.log" >&2
    fi
    rm -rf "$work"
    exit "$status"
}
trap stop EXIT

say "2. Start the simulators: a Kubernetes API and an STS, each over TLS with certificates of its own"
/usr/bin/python3 tests/sim/credlet_sim.py --dir "$work/sim" --scenario tests/demo/scenario.json &
simulators=$!
await() { # WHAT COMMAND...: until it succeeds, at most 30 s
    local what=$1 until=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || { echo "$what did not come up" >&2; exit 1; }
        sleep 0.05
    done
}
await "the simulators" test -s "$work/sim/ready.json"
ready() { /usr/bin/python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/sim/ready.json" "$1"; }
echo "Kubernetes API: $(ready kube_url)   STS: $(ready sts_url)"

say "3. Start credlet"
"$credlet" serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --node-name "$(ready node_name)" \
    --kube-api "$(ready kube_url)" --kube-token-file "$(ready token_file)" --kube-ca-file "$(ready ca_file)" \
    --sts-endpoint "$(ready sts_url)" --sts-ca-file "$(ready sts_ca_file)" --region "$(ready region)" \
    --log-format json >"$work/credlet.log" 2>&1 &
daemon=$!
address() { # LISTENER: where it listens, from the log
    /usr/bin/python3 - "$work/credlet.log" "$1" <<'P'
import json, sys
for line in open(sys.argv[1]):
    event = json.loads(line)
    if event["message"] == "listening" and event["listener"] == sys.argv[2]:
        print(event["address"])
        sys.exit(0)
sys.exit(1)
P
}
await "the pods' listener" address pods
await "the admin listener" address admin
pods=$(address pods) admin=$(address admin)
await "credlet" curl -sf "http://$admin/readyz"
curl -s "http://$admin/metrics" >"$work/before"
echo "pods: http://$pods   admin: http://$admin   ready"

say "4. The pod shop/orders-7d9f (its address here: 127.0.0.1) asks with the AWS CLI"
export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://$pods/v1/credentials AWS_EC2_METADATA_DISABLED=true
export AWS_REGION=$(ready region) AWS_CONFIG_FILE=/nonexistent AWS_SHARED_CREDENTIALS_FILE=/nonexistent AWS_PAGER=
unset AWS_PROFILE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_ARN
echo '$ aws configure export-credentials'
# These credentials open nothing but the simulator; their secret parts are cut here all the same.
/usr/bin/aws configure export-credentials | sed -E 's/("(SecretAccessKey|SessionToken)": "[^"]{4})[^"]*/\1.../'
echo '$ aws sts get-caller-identity'
/usr/bin/aws --endpoint-url "$(ready sts_url)" --ca-bundle "$(ready sts_ca_file)" sts get-caller-identity

say "5. The pod shop/mailer-5c4b (127.0.0.2) has no role"
curl -s --interface 127.0.0.2 "$AWS_CONTAINER_CREDENTIALS_FULL_URI"; echo
echo '$ credlet explain --namespace shop --pod mailer-5c4b'
"$credlet" explain --admin "$admin" --namespace shop --pod mailer-5c4b || true

say "6. The audit line of the issuance"
grep '"credentials issued"' "$work/credlet.log"

say "7. The metrics that moved"
curl -s "http://$admin/metrics" >"$work/after"
grep '^credlet_' "$work/after" | grep -v '_bucket{' | grep -vxFf "$work/before"

say "Done."
