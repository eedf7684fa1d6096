#!/usr/bin/env bash
# Fake USB buses in namespaces against the real binary. `tests/rig/run.sh [--release] [CASE…]`
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=()
[ "${1:-}" = --release ] && { profile=(--release); shift; }
cargo build --quiet --locked "${profile[@]}" -p yurt -p yurt-rig
exec "target/$([ ${#profile[@]} -gt 0 ] && echo release || echo debug)/yurt-rig" "$@"
