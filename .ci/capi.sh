#!/usr/bin/env bash
# Tests the C interface with clang, valgrind and AddressSanitizer.
#
# Debian 12, as root, with Rust stable and nightly. Installs what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(gcc g++ libc6-dev binutils clang libclang-rt-14-dev valgrind abigail-tools)
if ! dpkg -s "${packages[@]}" >/dev/null 2>&1; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
fi

# Reports name the lines of the library; those of its dependencies would be most of the build's size.
debug=(--config 'profile.dev.debug="line-tables-only"' --config 'profile.dev.package."*".debug=false')

# The tests that find memory errors: every function of the interface, its errors, and NULL for every pointer.
instrumented=(smoke_everything errors_every null_in_every)
test_capi() { cargo test --all-features --test capi -- "$@"; }
# The C++ header, and every call of bindings/cases.json in C and C++.
test_bindings() { cargo test --all-features --test bindings -- "$@"; }

echo "=== the header with gcc and clang, the library, the C programs"
CROSSRANK_REQUIRE_COMPILERS=1 test_capi

echo "=== valgrind"
# Valgrind does not support AVX-512: 3 is CROSSRANK_ISA_AVX2.
export CROSSRANK_RUNNER="valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite"
# A library without the GPU feature: errors in drivers and their loader are not ours.
target_folder=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
packaging/build.sh --locked "${debug[@]}"
export CROSSRANK_BUILT=$target_folder/debug
CROSSRANK_TEST_ISA=3 test_capi "${instrumented[@]}"
test_bindings loads_callbacks
unset CROSSRANK_RUNNER

echo "=== AddressSanitizer"
# Only the library is built for it. It uses the sanitizer's run-time library of the C programs, which link that of gcc.
target=x86_64-unknown-linux-gnu
folder=$target_folder/asan
# Dependencies are built for it too, without optimization, which would take most of the time.
RUSTFLAGS=-Zsanitizer=address RUSTUP_TOOLCHAIN=nightly packaging/build.sh --locked --target $target --target-dir "$folder" \
    "${debug[@]}" --config 'profile.dev.package."*".opt-level=0'
export CROSSRANK_BUILT=$folder/$target/debug CROSSRANK_CFLAGS=-fsanitize=address
export ASAN_OPTIONS=allocator_may_return_null=1
test_capi "${instrumented[@]}" handles_ threads_ cancel_
test_bindings every_runner loads_callbacks
# A second build of every dependency, which no later step needs.
rm -rf "$folder"
