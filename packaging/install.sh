#!/bin/sh
# Installs the C and C++ libraries: packaging/install.sh PREFIX [--from FOLDER | CARGO OPTIONS]
#
# PREFIX gets include/, lib/, lib/pkgconfig/ and lib/cmake/crossrank/, and may be moved as a whole afterwards. Without --from
# the libraries are built by cargo, with the profile `dist` and CARGO OPTIONS such as `--features bundled-model`; with it they are
# taken from FOLDER, where packaging/build.sh has put them. DESTDIR is put before PREFIX, as packagers expect.
set -eu
# With it, cd may go elsewhere and print where.
unset CDPATH

usage() {
    sed -n '2,6s/^# \{0,1\}//p' "$0"
}

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

case ${1-} in
    -h | --help) usage; exit ;;
    '' | -*) usage >&2; exit 2 ;;
    /*) prefix=$1 ;;
    *) prefix=$PWD/$1 ;;
esac
shift
[ "$(uname -s)" = Linux ] || fail "it knows the file names of Linux only"

from=
if [ "${1-}" = --from ]; then
    [ $# -eq 2 ] || { usage >&2; exit 2; }
    from=$(cd "$2" 2>/dev/null && pwd) || fail "there is no folder '$2'"
    [ -e "$from/libcrossrank.so" ] && [ -e "$from/libcrossrank.a" ] ||
        fail "'$from' lacks libcrossrank.so or libcrossrank.a: build them with packaging/build.sh"
fi
cd "$(dirname "$0")/.."
if [ -z "$from" ]; then
    command -v cargo >/dev/null ||
        fail "there is no cargo in PATH: install Rust with rustup, or add ~/.cargo/bin to PATH; or give --from a folder of libraries"
    # Only cargo knows where its configuration, the environment and CARGO OPTIONS put the libraries.
    artifacts=$(packaging/build.sh --profile dist --message-format=json-render-diagnostics "$@")
    library=$(printf '%s\n' "$artifacts" | sed -n 's/.*"\([^"]*\/libcrossrank\.so\)".*/\1/p' | tail -n 1)
    [ -e "$library" ] || fail "cargo did not say where it has put libcrossrank.so"
    from=$(dirname "$library")
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

# The files find the prefix from where they are themselves: it is not in them, whatever characters it has.
fill() {
    cmake_libs=$(echo "$native" | sed 's/-l//g; s/ /;/g')
    sed -e "s|@VERSION@|$version|g; s|@ABI@|$abi|g; s|@NATIVE@|$native|g; s|@CMAKE_NATIVE@|$cmake_libs|g" \
        "packaging/$1.in" >"$2/$1"
}
fill crossrank.pc "$to/lib/pkgconfig"
fill crossrankConfig.cmake "$to/lib/cmake/crossrank"
fill crossrankConfigVersion.cmake "$to/lib/cmake/crossrank"
