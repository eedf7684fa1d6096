#!/usr/bin/env bash
# One policy in five languages: toolchains from package registries, builds, the corpus, mistakes, figures.
#   tests/languages/run.sh [LANGUAGE…]    `--release` first: release figures; `--table` first: those, into docs/languages.md
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=debug
flags=(--quiet --locked)
more=()
if [ "${1:-}" = --table ]; then more=(--table docs/languages.md); fi
case ${1:-} in --release | --table)
    profile=release
    flags+=(--release)
    shift
    ;;
esac
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/languages"
tools=$(realpath "$target/languages")
ready=$(guests/examples/toolchains.sh "$tools" "$@")
eval "$ready"
cargo build "${flags[@]}" --package yurt --package yurt-languages
# The guests' own intermediate files stay out of the sources.
CARGO_TARGET_DIR=$tools/rust "$target/$profile/yurt-languages" --yurt "$target/$profile/yurt" "${more[@]}" "$@"
