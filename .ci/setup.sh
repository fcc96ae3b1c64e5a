#!/usr/bin/env bash
# Installs what building and testing needs, all of it from Debian 12's own archive. Does nothing, quickly, when it is
# all there. Usage: .ci/setup.sh [build] [simulators] [clients] [bench] [static] [image] [walkthrough] [sdks] [lint];
# without arguments: build simulators.
set -euo pipefail

build=(clang-19 lld-19 cmake ninja-build pkg-config libboost1.81-dev libssl-dev libsimdjson-dev
       prometheus-cpp-dev doctest-dev libcli11-dev libpugixml-dev git ca-certificates)
simulators=(python3 python3-aiohttp python3-cryptography python3-jwt python3-botocore python3-pytest openssl curl)
demo=(awscli curl)
clients=(awscli python3-boto3 python3-venv nodejs npm iproute2 nftables util-linux procps)
bench=(nginx-light wrk util-linux)
chart=(python3 python3-pytest python3-yaml)
node=(containerd runc containernetworking-plugins iproute2 nftables util-linux)
static=(dpkg-dev)
image=(dpkg-dev buildah git util-linux)
walkthrough=(jq openssl curl python3-yaml python3-venv iproute2 mount util-linux) # besides simulators
sdks=(python3-venv nodejs npm maven default-jdk-headless iproute2 util-linux) # and Go and Rust, newer than Debian 12's
lint=(clang-format-19 clang-tidy-19 libclang-rt-19-dev llvm-19)

declare -a wanted=()
for group in "${@:-build}" $([ $# -gt 0 ] || echo simulators); do
    declare -n packages="$group"
    wanted+=("${packages[@]}")
done

# A machine may have node, npm or Java's tools from elsewhere; Debian's packages would only collide with them.
have() {
    case $1 in
    nodejs) command -v node >/dev/null ;;
    npm) command -v npm >/dev/null ;;
    maven) command -v mvn >/dev/null ;;
    default-jdk-headless) command -v javac >/dev/null ;;
    *) [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    esac
}
declare -a missing=()
for package in "${wanted[@]}"; do
    have "$package" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "setup: run as root, or install these packages: ${missing[*]}" >&2
        exit 1
    }
    sudo=(sudo)
fi
echo "setup: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -qq
# nginx and others would start a service on installation: policy-rc.d forbids it for the time being.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null
    "${sudo[@]}" chmod +x $policy
    trap '"${sudo[@]}" rm -f $policy' EXIT
fi
"${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
