#!/usr/bin/env bash
# The model tests of the thread pool: src/cpu/threads.rs under every interleaving of its threads that loom explores.
#
#   .ci/loom.sh [arguments of the test program]
#
# A crate of its own with few dependencies, so that crossrank's are not built again.
set -euo pipefail
cd "$(dirname "$0")/.."

export CARGO_TARGET_DIR=target/loom
manifest=tests/loom/Cargo.toml
cargo fmt --manifest-path "$manifest" --check
cargo test --locked --manifest-path "$manifest" -- "$@"
