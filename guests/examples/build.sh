#!/usr/bin/env bash
# Builds the example policies: guests/examples/build.sh [LANGUAGE…] → target/languages/components/LANGUAGE.wasm
# Toolchains are those of `just languages` (target/languages), else those of the machine; what is missing is said in one sentence.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- rust c javascript go python
target=${CARGO_TARGET_DIR:-target}
tools=$target/languages
for folder in "$tools"/{python/bin,c/bin,javascript/node_modules/.bin,go/bin}; do
    [ ! -d "$folder" ] || PATH=$(realpath "$folder"):$PATH
done
if [ -d "$tools/sysroot/lib" ]; then
    export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="--sysroot=$(realpath "$tools/sysroot")"
fi
cargo build --quiet --locked --package yurt
mkdir -p "$tools/components"
for language; do
    [ -d "guests/examples/$language" ] || { echo "guests/examples/build.sh: there is no language $language" >&2; exit 1; }
    CARGO_TARGET_DIR=$(realpath "$tools")/rust "$target/debug/yurt" guest build "guests/examples/$language" -o "$tools/components/$language.wasm"
done
