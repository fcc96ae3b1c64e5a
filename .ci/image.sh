#!/usr/bin/env bash
# Builds the image of the Dockerfile without a container engine, a registry or a base image: buildah runs its last stage
# on a root file system made here. The result is an OCI archive; the same commit, compiler and certificates give an
# image of the same digest. Usage: .ci/image.sh [OUT], build/image/credlet.oci.tar if not said.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-build/image/credlet.oci.tar}")
work=$PWD/build/image
mkdir -p "$work/context" "$(dirname "$out")"

.ci/rootfs.sh "$work/context/rootfs"

revision=$(git rev-parse HEAD 2>/dev/null || true)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
version=$(sed -nE 's/^project\(credlet VERSION ([0-9.]+).*/\1/p' CMakeLists.txt)

# A store of its own, on any file system and for any user.
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
own_buildah() {
    buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs "$@"
}
own_buildah bud --quiet --isolation chroot --timestamp "$epoch" --build-context "build=$work/context" \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" --tag credlet:"$version" -f Dockerfile \
    "$work/context" >/dev/null
rm -f "$out"
own_buildah push --quiet credlet:"$version" oci-archive:"$out":credlet:"$version"
echo "$out: $(stat -c %s "$out") bytes"
