#!/usr/bin/env bash
# Makes the root file system of the image: the static program and the CA certificates of this machine.
# Usage: .ci/rootfs.sh DIRECTORY, which is replaced.
set -euo pipefail
cd "$(dirname "$0")/.."
root=${1:?usage: .ci/rootfs.sh DIRECTORY}

libraries=$(.ci/static_libraries.sh | tail -n 1)
cmake --preset release -DCREDLET_STATIC_LIBRARIES="$libraries" >/dev/null
cmake --build --preset release -j "$(nproc)" --target credlet-static -- --quiet

rm -rf "$root"
install -D -m 755 build/release/credlet-static "$root/usr/local/bin/credlet"
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
