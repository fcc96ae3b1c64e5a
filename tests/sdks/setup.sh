#!/usr/bin/env bash
# Builds the clients of the SDK matrix: tests/sdks/setup.sh [NAME...], all of them without arguments. Prints the
# directory of each, one a line, in the order named. Everything is pinned, kept between runs under
# ${XDG_CACHE_HOME:-~/.cache}/credlet/sdks, one directory per client and state of its sources, and found quickly when it
# is there. Packages come from whatever registries the package managers are configured for; for Rust, whose lock file
# would name one, the SDK's own crates are pinned and what they need is what cargo finds.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/credlet/sdks
all=(python javascript go java rust)

# needs NAME VERSION LEAST HINT: a toolchain that is there and new enough.
needs() {
    local at_least
    at_least=$(printf '%s\n%s\n' "$3" "$2" | sort -V | head -n 1)
    if [ -z "$2" ] || [ "$at_least" != "$3" ]; then
        echo "setup: $1 $3 or newer is needed here, found ${2:-none}: $4" >&2
        exit 1
    fi
}
found() { "$@" 2>/dev/null | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1 || true; }

build_python() {
    /usr/bin/python3 -m venv .
    bin/pip install --quiet --disable-pip-version-check --no-deps -r "$here/python/requirements.txt"
}

build_javascript() {
    needs node "$(found node --version)" 18.0 "apt package nodejs"
    cp "$here"/javascript/* .
    npm ci --silent --no-audit --no-fund --ignore-scripts
}

build_go() {
    needs go "$(found go version)" 1.24 "the SDK for Go needs it"
    GOTOOLCHAIN=local go build -C "$here/go" -trimpath -ldflags "-s -w" -o "$PWD/client" .
}

build_java() {
    needs javac "$(found javac -version)" 17.0 "apt package default-jdk-headless"
    needs mvn "$(found mvn --version)" 3.6.3 "apt package maven"
    mvn --quiet --batch-mode --file "$here/java/pom.xml" dependency:copy-dependencies -DoutputDirectory="$PWD/lib"
    javac -classpath "lib/*" -d . "$here/java/Client.java"
}

build_rust() {
    needs cargo "$(found cargo --version)" 1.94.1 "the SDK for Rust needs it, and Debian 12's is older"
    cp -r "$here/rust/." .
    cargo build --quiet -j "${CREDLET_JOBS:-2}" --target-dir target
    mv target/debug/credlet-sdk-client client
    rm -r target
}

for name in "${@:-${all[@]}}"; do
    [[ " ${all[*]} " == *" $name "* ]] || { echo "setup: no client is called $name" >&2; exit 2; }
    state=$({
        declare -f "build_$name"
        cd "$here" && find "$name" -type f ! -name client.py -print0 | sort -z | xargs -0 sha256sum
    } | sha256sum | cut -c -12)
    directory=$cache/$name-$state
    if [ ! -e "$directory/built" ]; then
        mkdir -p "$directory"
        (
            flock 9 # somebody else may be building it
            [ ! -e "$directory/built" ] || exit 0
            echo "setup: building the client for $name" >&2
            find "$directory" -mindepth 1 -delete
            cd "$directory"
            "build_$name" >&2
            touch built
        ) 9>"$directory.lock"
    fi
    echo "$directory"
done
