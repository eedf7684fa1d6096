#!/usr/bin/env bash
# Fake USB buses in namespaces against the real binary. `tests/rig/run.sh [--release] [CASE…]`
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=debug
flags=(--quiet --locked)
if [ "${1:-}" = --release ]; then
    profile=release
    flags+=(--release)
    shift
fi
target=${CARGO_TARGET_DIR:-target}
# One after the other: built together they would share features that the binary does not have by itself.
cargo build "${flags[@]}" --package yurt
cargo build "${flags[@]}" --package yurt-rig
exec "$target/$profile/yurt-rig" "$@"
