#!/usr/bin/env bash
# The package as cargo would publish it: its size, its doctests and documentation without the repository, and a new crate
# that depends on it with each set of features, loads a model and ranks.
#
# Anywhere with Rust, a C compiler for the TLS library of `pull`, and the repository's fixtures.
set -euo pipefail
cd "$(dirname "$0")/.."

max_bytes=2000000
fixture=$PWD/tests/fixtures/bert
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")/package-test
export CARGO_TARGET_DIR
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
# Nothing here is timed. Without debug sections, dependencies build in half the time.
export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=none CARGO_INCREMENTAL=0
# Mesa's driver wants to know a folder for its sockets, though it makes none.
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$elsewhere}

fail() {
    echo "$1" >&2
    exit 1
}

echo "=== package"
# Unpacked and built below, so not by cargo too. The tests' and examples' files are left out, as cargo then warns.
cargo package --locked --no-verify --allow-dirty --quiet
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
package=$CARGO_TARGET_DIR/package/crossrank-$version.crate
bytes=$(stat -c %s "$package")
echo "$bytes bytes packed"
((bytes < max_bytes)) || fail "the package has $bytes bytes, at most $max_bytes are allowed: see include in Cargo.toml"
tar -xzf "$package" -C "$elsewhere"
crate=$elsewhere/crossrank-$version
[ "$(du -sb "$crate" | cut -f 1)" -lt "$max_bytes" ] || fail "the unpacked package has more than $max_bytes bytes"

echo "=== a new crate that depends on it"
user=$elsewhere/user
mkdir -p "$user/src"
cat >"$user/Cargo.toml" <<EOF
[package]
name = "user"
version = "0.0.0"
edition = "2024"

[dependencies]
crossrank = { path = "../crossrank-$version" }

[features]
capi = ["crossrank/capi"]
cli = ["crossrank/cli"]
bundled-model = ["crossrank/bundled-model"]
gpu = ["crossrank/gpu"]
pull = ["crossrank/pull"]
EOF
cat >"$user/src/main.rs" <<'EOF'
use crossrank::{RerankOptions, Reranker};

fn main() -> crossrank::Result<()> {
    let reranker = Reranker::load(std::env::args().nth(1).unwrap_or_default())?;
    let documents = ["one", "two", "three"];
    let ranking = reranker.rerank("two", &documents, &RerankOptions::new())?;
    for result in &ranking.results {
        println!("{} {}", result.score, documents[result.index]);
    }
    Ok(())
}
EOF
# The versions that the repository is tested with.
cp Cargo.lock "$user/"
for features in "" capi pull gpu; do
    ranking=$(cd "$user" && cargo run --quiet --features "$features" -- "$fixture")
    [ "$(wc -l <<<"$ranking")" -eq 3 ] || fail "with the features '$features' it printed: $ranking"
    echo "features '$features': $(head -n 1 <<<"$ranking")"
done

echo "=== features that need the repository say so"
for features in bundled-model cli; do
    if messages=$(cd "$user" && cargo build --features "$features" 2>&1); then fail "$features builds without a model"; fi
    grep -q 'embed models/crossrank-mini-int8, which is in the repository' <<<"$messages" || fail "$features: $messages"
    # The sentence, and cargo's own that the build script failed.
    errors=$(grep -c '^error' <<<"$messages")
    ((errors <= 2)) || fail "$features: $errors errors in place of one: $messages"
    grep '^error' <<<"$messages"
done

echo "=== documentation and doctests"
(cd "$crate" && RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --no-deps)
(cd "$crate" && cargo test --quiet --locked --doc)
