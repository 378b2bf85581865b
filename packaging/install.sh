#!/bin/sh
# Installs the C and C++ libraries: packaging/install.sh PREFIX [--from FOLDER | CARGO OPTIONS]
#
# PREFIX gets include/, lib/, lib/pkgconfig/ and lib/cmake/crossrank/. Without --from the libraries are built, with the
# profile `dist` and CARGO OPTIONS such as `--features bundled-model`; with it they are taken from FOLDER. DESTDIR is
# put before PREFIX, as packagers expect.
set -eu

[ $# -ge 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
case $1 in
    /*) prefix=$1 ;;
    *) prefix=$PWD/$1 ;;
esac
shift
[ "$(uname -s)" = Linux ] || { echo "install.sh knows the file names of Linux only" >&2; exit 1; }

from=
if [ "${1-}" = --from ]; then
    from=$(cd "$2" && pwd)
    shift 2
fi
cd "$(dirname "$0")/.."
if [ -z "$from" ]; then
    packaging/build.sh --profile dist "$@"
    from=${CARGO_TARGET_DIR:-target}/dist
fi

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
abi=$(sed -n 's/^#define CROSSRANK_ABI //p' include/crossrank.h)
# What Rust's standard library needs on Linux: `rustc --print native-static-libs`.
native="-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc"

to=${DESTDIR-}$prefix
mkdir -p "$to/include" "$to/lib/pkgconfig" "$to/lib/cmake/crossrank"
install -m 644 include/crossrank.h bindings/cpp/crossrank.hpp "$to/include"
install -m 755 "$from/libcrossrank.so" "$to/lib/libcrossrank.so.$version"
ln -sf "libcrossrank.so.$version" "$to/lib/libcrossrank.so.$abi"
ln -sf "libcrossrank.so.$abi" "$to/lib/libcrossrank.so"
# Debug sections make up most of the archive.
strip --strip-debug -o "$to/lib/libcrossrank.a" "$from/libcrossrank.a"
chmod 644 "$to/lib/libcrossrank.a"

fill() {
    cmake_libs=$(echo "$native" | sed 's/-l//g; s/ /;/g')
    sed -e "s|@PREFIX@|$prefix|g; s|@VERSION@|$version|g; s|@ABI@|$abi|g" \
        -e "s|@NATIVE@|$native|g; s|@CMAKE_NATIVE@|$cmake_libs|g" "packaging/$1.in" >"$2/$1"
}
fill crossrank.pc "$to/lib/pkgconfig"
fill crossrankConfig.cmake "$to/lib/cmake/crossrank"
fill crossrankConfigVersion.cmake "$to/lib/cmake/crossrank"
