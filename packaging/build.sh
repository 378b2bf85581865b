#!/bin/sh
# Builds the C libraries for Linux or Android: packaging/build.sh [CARGO OPTIONS]
#
# The target folder gets libcrossrank.so and libcrossrank.a, with the profile, features and target of CARGO OPTIONS. The
# compiler prints what a program that links the static library must link too.
set -eu
cd "$(dirname "$0")/.."

command -v cargo >/dev/null || {
    echo "build.sh: there is no cargo in PATH: install Rust with rustup, or add ~/.cargo/bin to PATH" >&2
    exit 1
}
abi=$(sed -n 's/^#define CROSSRANK_ABI //p' include/crossrank.h)
# Android looks libraries up by file name alone: an application's library folder holds no versioned names.
case "$* ${CARGO_BUILD_TARGET-}" in
    *android*) soname= ;;
    *) soname="-C link-arg=-Wl,-soname,libcrossrank.so.$abi" ;;
esac
# Systems with pages of 16 KiB (Android 15) refuse segments that are aligned to less.
# Worker threads and thread-local destructors run the library's code: dlclose must leave it in memory.
# Without the rlib, which would rule out optimization across crates.
# shellcheck disable=SC2086 # $soname is two words or none.
exec cargo rustc --lib --features capi --crate-type cdylib,staticlib "$@" -- $soname \
    -C link-arg=-Wl,-z,max-page-size=16384 -C link-arg=-Wl,-z,nodelete --print native-static-libs
