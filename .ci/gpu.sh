#!/usr/bin/env bash
# Runs tests/gpu.rs on a software GPU with cooperative matrices, which Debian 12's Mesa does not have.
#
#   .ci/gpu.sh [arguments of the test program]        default: the tests that look at every tier
#
# Debian 12 on x86-64, as root. The first run unpacks Debian 13's Mesa of the backports, with every library that it needs,
# into a cache folder (60 MB to download, seconds); the machine's own Mesa and apt settings stay as they are.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/crossrank-mesa
libraries=$cache/root/usr/lib/x86_64-linux-gnu
driver=$cache/lvp.json

unpack_mesa() {
    local apt=$cache/apt uri suite deb
    rm -rf "$cache"
    mkdir -p "$apt"/{lists/partial,archives/partial,parts} "$cache/root"
    touch "$apt/status"
    # The archive that this machine is set up to reach, else Debian's own. Installers write another file than images have.
    uri=$(awk '$1 == "URIs:" && $2 !~ /security/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources 2>/dev/null) ||
        uri=http://deb.debian.org/debian
    for suite in trixie trixie-backports; do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main"
    done >"$apt/sources.list"
    cat >"$apt/apt.conf" <<EOF
APT::Sandbox::User "root";
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/parts";
EOF
    export APT_CONFIG=$apt/apt.conf
    apt-get update -qq
    # With no package installed, as its state says, this fetches the C library and everything else too.
    apt-get install -qq -y --no-install-recommends --download-only -t trixie-backports \
        mesa-vulkan-drivers libvulkan1 >/dev/null
    unset APT_CONFIG
    for deb in "$apt"/archives/*.deb; do dpkg -x "$deb" "$cache/root"; done
    rm -rf "$apt"
    # Last, because it tells the next run that nothing is missing.
    sed "s|\"library_path\": \"|&$libraries/|" "$cache/root/usr/share/vulkan/icd.d/lvp_icd.json" >"$driver"
}

[ -e "$driver" ] || unpack_mesa

[ $# -gt 0 ] || set -- f16 tier padding a_score
test=$(cargo test --all-features --test gpu --no-run --message-format=json |
    sed -n 's/.*"name":"gpu".*"executable":"\([^"]*\)".*/\1/p')
[ -n "$test" ] || { echo "cargo names no test program" >&2; exit 1; }

# Under Debian 13's loader: its Mesa needs a newer C library than this machine has, and finds it beside itself.
# Neither the GPU nor its cooperative matrices may be skipped.
export VK_DRIVER_FILES=$driver CROSSRANK_REQUIRE_GPU=1 CROSSRANK_REQUIRE_COOPERATIVE=1
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$PWD/target}"
exec "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" "$test" "$@"
