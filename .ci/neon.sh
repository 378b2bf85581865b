#!/usr/bin/env bash
# Builds tests for 64-bit ARM and runs them under qemu, so that the NEON kernels are tested on an x86-64 machine.
#
#   .ci/neon.sh [arguments of cargo test]        default: --release --lib
#
# Debian 12, as root. The first run installs a cross linker and qemu, and unpacks Debian's Rust compiler with its
# standard library for both architectures into a cache folder; the Rust that the machine already has stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/crossrank-neon
packages=(gcc libc6-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static)

install_packages() {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

# Names of the packages that package $1 depends on and that match $2. They carry versions, so they are looked up.
dependency() {
    apt-cache depends "$1" | awk -v name="$2" '$1 == "Depends:" && $2 ~ name && !found++ { print $2 }'
}

# Unpacks rustc-web, the Rust compiler that Debian keeps current, and the standard libraries of both architectures.
# The package lists of the second architecture have a folder of their own: the machine's apt settings do not change.
unpack_compiler() {
    local apt=$cache/apt uris uri suite runtime llvm deb
    rm -rf "$cache"
    mkdir -p "$apt"/{lists/partial,archives/partial,parts,debs} "$cache/root"
    touch "$apt/status"
    # The archives that this machine is set up to reach, else Debian's own. Installers write another file than images have.
    uris=$(awk '$1 == "URIs:" && !seen[$2]++ { print $2 }' /etc/apt/sources.list.d/debian.sources 2>/dev/null) ||
        uris="http://deb.debian.org/debian http://deb.debian.org/debian-security"
    for uri in $uris; do
        case $uri in *security*) suite=bookworm-security ;; *) suite=bookworm ;; esac
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main"
    done >"$apt/sources.list"
    cat >"$apt/apt.conf" <<EOF
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "root";
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/parts";
EOF
    export APT_CONFIG=$apt/apt.conf
    apt-get update -qq
    runtime=$(dependency libstd-rust-web-dev '^libstd-rust-web-')
    llvm=$(dependency "$runtime" '^libllvm')
    (cd "$apt/debs" && apt-get download -qq rustc-web "$runtime" libstd-rust-web-dev libstd-rust-web-dev:arm64)
    unset APT_CONFIG
    # The compiler's one dependency that a machine with a C compiler lacks.
    install_packages "$llvm"
    for deb in "$apt"/debs/*.deb; do dpkg -x "$deb" "$cache/root"; done
    rm -rf "$apt"

    cat >"$cache/rustc" <<EOF
#!/bin/sh
export LD_LIBRARY_PATH=$cache/root/usr/lib/x86_64-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
exec $cache/root/usr/bin/rustc --sysroot $cache/root/usr "\$@"
EOF
    chmod +x "$cache/rustc"
    "$cache/rustc" --version
}

dpkg -s "${packages[@]}" >/dev/null 2>&1 || install_packages "${packages[@]}"
"$cache/rustc" --version >/dev/null 2>&1 || unpack_compiler

[ $# -gt 0 ] || set -- --release --lib
export RUSTC=$cache/rustc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
# The best instruction sets must be tested, not skipped.
export CROSSRANK_REQUIRE_ISA=neon CROSSRANK_REQUIRE_INT8_KERNELS=portable,dotprod,i8mm
# Link-time optimization would double the build and tests nothing more.
export CARGO_PROFILE_RELEASE_LTO=off
# The tests' time is in the kernels: optimizing the dependencies as well would double the build.
exec cargo test --config 'profile.release.package."*".opt-level=1' --target aarch64-unknown-linux-gnu "$@"
