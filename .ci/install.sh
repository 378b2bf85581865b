#!/usr/bin/env bash
# Installs the C library as it is shipped, builds and runs programs against it, and checks its size.
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
packaging/install.sh "$prefix"
export CROSSRANK_REQUIRE_TOOLS=1
CROSSRANK_PREFIX=$prefix cargo test --features capi --test install
cargo test --features capi --test bindings
