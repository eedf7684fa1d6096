#!/usr/bin/env bash
# `just bench`: `benches/run.sh [policy|peers] [--json] [ARG…]`; without a name both. What is left goes to `peers`, such as --minute 10.
#   policy  a call of the default policy beside bare wasmtime      peers  yurt beside Nomad's example device plugin (needs Go)
set -euo pipefail
cd "$(dirname "$0")/.."

what=both
json=
more=()
for argument; do
    case $argument in
        policy | peers) what=$argument ;;
        --json) json=yes ;;
        *) more+=("$argument") ;;
    esac
done
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
# Only the result is for stdout when a program reads it.
[ -z "$json" ] || exec 3>&1 1>&2

if [ "$what" != peers ]; then
    # The very component that the binary embeds, from the same intermediate files.
    YURT_GUESTS_TARGET=target/guests guests/build.sh target/guests/components
    YURT_GUESTS_DIR=$PWD/target/guests/components YURT_BENCH_JSON=$results/policy.json \
        cargo bench --locked -p yurt-benches --bench policy_call
fi

if [ "$what" != policy ]; then
    cargo build --locked --release -p yurt
    cargo build --locked --release -p yurt-benches --bin peers
    if command -v go >/dev/null; then
        tests/agent/build.sh fsdev
        more+=(--fsdev tests/agent/bin/fsdev)
    elif [ "${CI:-}" = true ]; then
        echo "benches: Go is not installed (1.26 or newer; go.dev/dl)" >&2
        exit 1
    else
        echo "benches: Go is not installed, so yurt is measured alone" >&2
    fi
    if [ -n "$json" ]; then
        target/release/peers --json "${more[@]}" >"$results/peers.json"
    else
        target/release/peers "${more[@]}"
    fi
fi

if [ -n "$json" ]; then
    policy=null peers=null
    [ ! -e "$results/policy.json" ] || policy=$(cat "$results/policy.json")
    [ ! -e "$results/peers.json" ] || peers=$(cat "$results/peers.json")
    printf '{"policy":%s,"peers":%s}\n' "$policy" "$peers" >&3
fi
