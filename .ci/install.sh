#!/usr/bin/env bash
# Installs the C library as it is shipped, builds and runs programs against it, and checks its size. Debian 12, as root.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(gcc g++ libc6-dev clang cmake make pkg-config binutils)
if ! dpkg -s "${packages[@]}" >/dev/null 2>&1; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
fi

prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
packaging/install.sh "$prefix"
# The tests are compiled with the features of the other steps, so that nothing is compiled again for them.
export CROSSRANK_REQUIRE_TOOLS=1 CROSSRANK_BUILT=$prefix/lib
CROSSRANK_PREFIX=$prefix cargo test --all-features --test install
cargo test --all-features --test bindings
