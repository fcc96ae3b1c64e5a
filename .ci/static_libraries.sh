#!/usr/bin/env bash
# Builds as archives what Debian has as shared objects only, from Debian's own sources in the versions that are
# installed: simdjson and prometheus-cpp-core. Keeps them outside of the tree, by version and compiler, and prints where
# on its last line; does nothing, quickly, when they are there.
set -euo pipefail
cd "$(dirname "$0")/.."

compiler=clang++-19
flags="-O2 -fPIC -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2"
packages=(libsimdjson-dev prometheus-cpp-dev)

# name=version, as `apt-get source` takes them.
mapfile -t sources < <(dpkg-query -W -f='${source:Package}=${source:Version}\n' "${packages[@]}")
key=$( (printf '%s\n' "${sources[@]}"; $compiler --version; cat "$0") | sha256sum | cut -c1-16)
prefix=${XDG_CACHE_HOME:-$HOME/.cache}/credlet/static/$key
if [ -e "$prefix/lib/libsimdjson.a" ] && [ -e "$prefix/lib/libprometheus-cpp-core.a" ]; then
    echo "$prefix"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial,archives}

# The archives that this machine installs packages from have the sources too.
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
    [ -f "$file" ] || continue
    case $file in
    *.sources) sed -E 's/^Types:.*/Types: deb-src/' "$file" ;;
    *) sed -nE 's/^deb /deb-src /p' "$file" ;;
    esac >"$work/archives/$(basename "$file" | sed 's/^sources\.list$/main.list/')"
done
own_apt() {
    apt-get -qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/archives" -o Dir::State::Lists="$work/lists" \
        -o Dir::Cache="$work/cache" -o APT::Sandbox::User="$(id -un)" "$@" >&2
}
own_apt update
(cd "$work" && own_apt source "${sources[@]}")

build() { # SOURCE-NAME OPTION...
    local source=("$work/$1"-*/)
    shift
    cmake -S "${source[0]}" -B "${source[0]}/static" -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_COMPILER=$compiler \
        -DCMAKE_CXX_FLAGS="$flags" -DCMAKE_INSTALL_PREFIX="$work/installed" -DCMAKE_INSTALL_LIBDIR=lib \
        -DBUILD_SHARED_LIBS=OFF "$@" >&2
    cmake --build "${source[0]}/static" -j "$(nproc)" --target install -- --quiet >&2
}
build simdjson -DSIMDJSON_DEVELOPER_MODE=OFF
build prometheus-cpp -DENABLE_PULL=OFF -DENABLE_PUSH=OFF -DENABLE_COMPRESSION=OFF -DENABLE_TESTING=OFF

# Whole or not at all; who was faster has made the same.
mkdir -p "$(dirname "$prefix")"
mkdir "$work/$key" && cp -r "$work/installed/lib" "$work/$key/"
cp -rT "$work/$key" "$prefix.$$" && mv -T "$prefix.$$" "$prefix" 2>/dev/null || rm -rf "$prefix.$$"
echo "$prefix"
