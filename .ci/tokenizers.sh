#!/usr/bin/env bash
# Compares what models with edited tokenizer files read with Hugging Face transformers, versions 4 and 5: 200 variants of the
# files per family.
#
# Debian 12, as root. Installs what is missing: Python's venv, and transformers without torch into target/.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! python3 -c 'import ensurepip' 2>/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3 python3-venv >/dev/null
fi

export PYTHONDONTWRITEBYTECODE=1
folder=$PWD/target/tokenizers
mkdir -p "$folder"
# The answers of one version; the other's are made at the same time.
generate() {
    local requirements=tests/tokenizers/requirements-$1.txt venv=$folder/venv-$1
    # A venv is made again when its requirements change.
    if ! cmp -s "$requirements" "$venv/requirements.txt"; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check -r "$requirements"
        cp "$requirements" "$venv/requirements.txt"
    fi
    "$venv/bin/python" tests/tokenizers/generate.py tests/fixtures "$folder"
}
generate 4 &
four=$!
generate 5
wait $four

export CROSSRANK_TOKENIZER_CASES=$folder
cargo test --locked --all-features --test tokenizers -- --nocapture
