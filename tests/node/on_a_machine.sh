#!/usr/bin/env bash
# Runs a command on a machine of its own, as far as a kubelet is concerned: in new namespaces for network, processes and
# mounts, which end with everything in them. What would outlive them, the control groups, is removed at the end. Takes
# root. Usage: tests/node/on_a_machine.sh COMMAND...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

[ "$(id -u)" -eq 0 ] || { echo "node tests: run as root: they make namespaces, mounts and control groups" >&2; exit 1; }
for program in containerd ctr runc nft ip unshare /usr/lib/cni/bridge; do
    command -v $program >/dev/null || { echo "node tests: no $program: .ci/setup.sh node installs it" >&2; exit 1; }
done

# Before the network is gone.
"$here/../cluster/build.sh" etcd helm kube-apiserver kube-controller-manager kube-scheduler kubectl kubelet >/dev/null

export CREDLET_NODE_CGROUP=credlet-node-$$

remove_control_groups() {
    local root
    # Version 1 has a hierarchy for each controller, version 2 one for all.
    for root in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        if [ -d "$root/$CREDLET_NODE_CGROUP" ]; then
            find "$root/$CREDLET_NODE_CGROUP" -depth -type d -exec rmdir {} + || return 1
        fi
    done 2>/dev/null
}
clean_up() {
    local deadline=$((SECONDS + 10))
    until remove_control_groups; do # a group is busy until the last process in it is gone
        [ $SECONDS -lt $deadline ] || { echo "node tests: control groups $CREDLET_NODE_CGROUP are still busy" >&2; return; }
        sleep 0.1
    done
}
trap clean_up EXIT

setpriv --pdeathsig KILL unshare --mount --net --pid --ipc --uts --fork --kill-child --mount-proc \
    bash "$here/make_machine.sh" "$@" &
inside=$!
trap 'kill -KILL $inside; exit 1' INT TERM # with it goes its first child, and with that everything else
wait $inside
