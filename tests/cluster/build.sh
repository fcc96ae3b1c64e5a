#!/usr/bin/env bash
# Builds the programs of a real control plane and what is used against it, as go.mod pins them, static and stripped.
# Usage: build.sh [NAME...]; without names: all. The last line of output is the directory that holds them.
# What is there already is not built again: then this takes milliseconds, and no Go.
set -euo pipefail
cd "$(dirname "$0")"

declare -A packages=(
    [etcd]=go.etcd.io/etcd/server/v3
    [helm]=helm.sh/helm/v4/cmd/helm
    [kube-apiserver]=k8s.io/kubernetes/cmd/kube-apiserver
    [kube-controller-manager]=k8s.io/kubernetes/cmd/kube-controller-manager
    [kube-scheduler]=k8s.io/kubernetes/cmd/kube-scheduler
    [kubectl]=k8s.io/kubernetes/cmd/kubectl
    [kubelet]=k8s.io/kubernetes/cmd/kubelet
    [prometheus]=github.com/prometheus/prometheus/cmd/prometheus
    [promtool]=github.com/prometheus/prometheus/cmd/promtool
)
# Static and file configuration stay; the clouds' clients go. promtool checks configurations that discover pods.
declare -A tags=([prometheus]=remove_all_sd [promtool]=remove_all_sd,enable_kubernetes_sd)

[ $# -gt 0 ] || set -- $(printf '%s\n' "${!packages[@]}" | sort)
for name in "$@"; do
    [ -n "${packages[$name]:-}" ] || { echo "build: no such program: $name (there are: ${!packages[*]})" >&2; exit 2; }
done

cache=${XDG_CACHE_HOME:-$HOME/.cache}/credlet/cluster
directory=${CREDLET_CLUSTER_BIN:-$cache/$(cat go.mod go.sum build.sh | sha256sum | cut -c1-16)}
mkdir -p "$directory"

declare -a missing=()
find_missing() {
    missing=()
    for name in "$@"; do
        [ -x "$directory/$name" ] || missing+=("$name")
    done
}

module_version() { # MODULE: as go.mod requires it
    awk -v module="$1" '$1 == module && $2 ~ /^v/ { print $2; exit }' go.mod
}

# What the programs say of themselves, and what they are to each other: kubectl and the kubelet compare versions.
link_flags() {
    local kubernetes minor flags="-s -w"
    kubernetes=$(module_version k8s.io/kubernetes)
    minor=${kubernetes#v*.}
    minor=${minor%%.*}
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags+=" -X $package.gitVersion=$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=$minor"
    done
    flags+=" -X helm.sh/helm/v4/internal/version.version=$(module_version helm.sh/helm/v4)"
    # Prometheus 3.16.0 is module version v0.316.0.
    flags+=" -X github.com/prometheus/common/version.Version=$(module_version github.com/prometheus/prometheus |
        sed -E 's/^v0\.([0-9])0?([0-9]+)\.([0-9]+)/\1.\2.\3/')"
    echo "$flags"
}

need_go() {
    local wanted have
    wanted=$(awk '$1 == "go" { print $2; exit }' go.mod)
    command -v go >/dev/null || { echo "build: install Go $wanted or newer (https://go.dev/dl), and put it into PATH" >&2; exit 1; }
    have=$(go env GOVERSION)
    have=${have#go}
    if [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -1)" != "$wanted" ]; then
        echo "build: this Go is $have; install $wanted or newer (https://go.dev/dl), or set GOTOOLCHAIN=auto" >&2
        exit 1
    fi
}

find_missing "$@"
if [ ${#missing[@]} -gt 0 ]; then
    exec 9>"$directory/.lock" # who comes second waits, and then finds what the first has built
    flock 9
    find_missing "$@"
fi
if [ ${#missing[@]} -gt 0 ]; then
    need_go
    # Nobody's own flags: what is built depends on this folder alone.
    export GOFLAGS="-mod=readonly -trimpath -buildvcs=false" GOWORK=off CGO_ENABLED=0
    unfinished=$(mktemp -d "$directory/.building.XXXXXX")
    trap 'rm -rf "$unfinished"' EXIT
    flags=$(link_flags)
    for name in "${missing[@]}"; do
        echo "build: $name" >&2
        go build -tags "${tags[$name]:-}" -ldflags "$flags" -o "$unfinished/$name" "${packages[$name]}"
        mv "$unfinished/$name" "$directory/$name" # at once: never half a program
    done
fi

# Directories of earlier versions of this folder, which nobody has used for two weeks.
if [ -z "${CREDLET_CLUSTER_BIN:-}" ]; then
    touch "$directory"
    find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +14 -exec rm -rf {} +
fi
echo "$directory"
