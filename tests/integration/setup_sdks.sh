#!/usr/bin/env bash
# Installs the AWS SDKs that the integration tests run, beside Debian's own, under build/sdks. Pinned; does nothing,
# quickly, when they are there. Packages come from whatever registries pip and npm are configured for.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
sdks=${CREDLET_SDKS:-$root/build/sdks}
python_packages=(boto3==1.44.5 awscli==1.46.3 awscrt==0.38.1)
npm_packages=(@aws-sdk/credential-providers@3.1173.0 @aws-sdk/client-sts@3.1173.0)

wanted="${python_packages[*]} ${npm_packages[*]}"
if [ "$(cat "$sdks/installed" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
rm -rf "$sdks"
mkdir -p "$sdks/node"
/usr/bin/python3 -m venv "$sdks/python"
"$sdks/python/bin/pip" install --quiet --disable-pip-version-check "${python_packages[@]}"
(cd "$sdks/node" && npm init --yes >/dev/null && npm install --silent --no-audit --no-fund "${npm_packages[@]}")
echo "$wanted" >"$sdks/installed"
