#!/usr/bin/env bash
# The engines' bindings against a built library: C# for Unity under mono, the Unreal module over stand-ins for the engine's
# types, and the Godot extension compiled and linked; with --godot also run in Godot itself. Each must refuse a library of
# another binary interface.
#
#   .ci/engines.sh [--godot]
#
# Debian 12, as root, with Rust. CROSSRANK_LIBRARY names a folder with a libcrossrank.so to use; without it, one is built.
# --godot unpacks Debian's Godot 4 of the unstable suite into a cache folder, which takes about two minutes once.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(gcc g++ libc6-dev binutils mono-mcs mono-runtime libmono-system-json4.0-cil)
if ! dpkg -s "${packages[@]}" >/dev/null 2>&1; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
fi

if [ -z "${CROSSRANK_LIBRARY:-}" ]; then
    packaging/build.sh --locked --release
    CROSSRANK_LIBRARY=${CARGO_TARGET_DIR:-target}/release
fi
CROSSRANK_LIBRARY=$(realpath "$CROSSRANK_LIBRARY")
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
header=include/crossrank.h
# Linked programs look for the name with the number of the binary interface.
abi=$(sed -n 's/^#define CROSSRANK_ABI //p' $header)
ln -s "$CROSSRANK_LIBRARY/libcrossrank.so" "$out/libcrossrank.so.$abi"
export LD_LIBRARY_PATH=$out:$CROSSRANK_LIBRARY
warnings=(-Wall -Wextra -Wpedantic -Werror)
link=("-L$CROSSRANK_LIBRARY" -lcrossrank)

fail() {
    echo "$1" >&2
    exit 1
}

echo "=== every status has its value in Unreal and in Godot"
statuses=$(grep -oE 'CROSSRANK_ERR_[A-Z0-9_]+ = [0-9]+' $header)
[ -n "$statuses" ] || fail "no statuses in $header"
while read -r name _ value; do
    file=bindings/unreal/Source/Crossrank/Public/CrossrankReranker.h
    grep -qE "= $value, // $name\$" $file || fail "$file lacks $name = $value"
    file=bindings/godot/crossrank.cpp
    grep -qF "\"${name#CROSSRANK_}\", $name}" $file || fail "$file lacks $name"
done <<<"$statuses"

# A library of another binary interface. C# opens it in place of the real one; in programs that are linked with the real one
# its only function comes first.
mkdir "$out/other"
printf '#include "crossrank.h"\nuint32_t crossrank_abi(void) { return CROSSRANK_ABI + 7; }\n' |
    gcc "${warnings[@]}" -Iinclude -shared -fPIC -x c - -o "$out/other/libcrossrank.so"

echo "=== Unity"
csharp=(mcs -warnaserror -langversion:7.2)
sources=(bindings/unity/Crossrank.cs bindings/unity/Native.cs)
"${csharp[@]}" -r:System.Json "-out:$out/Cases.exe" "${sources[@]}" bindings/unity/Cases.cs
mono "$out/Cases.exe"
LD_LIBRARY_PATH=$out/other mono "$out/Cases.exe" --abi
"${csharp[@]}" -define:UNITY_IOS -target:library "-out:$out/ios.dll" "${sources[@]}"
grep -qa __Internal "$out/ios.dll" || fail "the library for iOS is not __Internal"

echo "=== Unreal"
unreal=bindings/unreal
g++ -std=c++17 "${warnings[@]}" -I$unreal/check/stubs -I$unreal/Source/Crossrank/Public -Iinclude \
    $unreal/Source/Crossrank/Private/*.cpp $unreal/check/main.cpp "${link[@]}" -o "$out/unreal"
"$out/unreal" tests/fixtures/bert
LD_PRELOAD=$out/other/libcrossrank.so "$out/unreal" --abi
mcs -warnaserror -target:library "-out:$out/Build.dll" $unreal/check/stubs/UnrealBuildTool.cs \
    $unreal/Source/Crossrank/Crossrank.Build.cs

echo "=== Godot"
extension=libcrossrank_godot.linux.x86_64.so
g++ -std=c++17 -O2 "${warnings[@]}" -fPIC -shared -fvisibility=hidden -Iinclude bindings/godot/crossrank.cpp \
    "${link[@]}" -Wl,-rpath,'$ORIGIN' -Wl,--no-undefined -o "$out/$extension"
entry=$(sed -n 's/^entry_symbol = "\(.*\)"/\1/p' bindings/godot/crossrank.gdextension)
nm -D --defined-only "$out/$extension" | grep -q " T $entry\$" || fail "the extension does not export '$entry'"
g++ -std=c++17 "${warnings[@]}" -Iinclude bindings/godot/check/abi.cpp "${link[@]}" -o "$out/godot_abi"
"$out/godot_abi" "$out/$extension" 0
LD_PRELOAD=$out/other/libcrossrank.so "$out/godot_abi" "$out/$extension" 1

[ "${1:-}" = --godot ] || exit 0

echo "=== Godot itself"
root=${XDG_CACHE_HOME:-$HOME/.cache}/crossrank-godot
if ! chroot "$root" godot --headless --version >/dev/null 2>&1; then
    rm -rf "$root"
    mkdir -p "$root"
    if ! dpkg -s debootstrap >/dev/null 2>&1; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends debootstrap >/dev/null
    fi
    mirror=$(awk '$1 == "URIs:" { print $2; exit }' /etc/apt/sources.list.d/debian.sources 2>/dev/null) ||
        mirror=http://deb.debian.org/debian
    debootstrap --variant=minbase sid "$root" "$mirror" >/dev/null
    chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends godot >/dev/null
    chroot "$root" apt-get clean
fi
project=$root/project
rm -rf "$project" "$root/repository"
mkdir -p "$project/bin" "$project/.godot" "$root/repository/bindings" "$root/repository/tests"
cp -r tests/fixtures "$root/repository/tests/"
cp bindings/cases.json "$root/repository/bindings/"
cp "$out/$extension" "$project/bin/"
cp "$CROSSRANK_LIBRARY/libcrossrank.so" "$project/bin/libcrossrank.so.$abi"
cp bindings/godot/crossrank.gdextension bindings/godot/cases.gd "$project/"
printf 'config_version=5\n[application]\nconfig/name="cases"\n' >"$project/project.godot"
# What the editor writes when it imports a project.
echo 'res://crossrank.gdextension' >"$project/.godot/extension_list.cfg"
chroot "$root" env HOME=/root godot --headless --path /project --script cases.gd -- /repository
