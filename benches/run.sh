#!/usr/bin/env bash
# `just bench`: `benches/run.sh [policy|publish|records|peers|drivers|extism] [--json] [ARG…]`; without a name all. With one, what is left goes to its program,
# such as `peers --minute 10`.
#   policy   a call of the default policy beside bare wasmtime       peers  yurt beside Nomad's example device plugin (needs Go)
#   publish  what an exchange of guests holds up                     records  what looking at 16 and 127 devices costs
#   drivers  yurt beside Nomad's raw_exec and exec (needs root, Go)     extism  a call beside one of Extism; only by its name
set -euo pipefail
cd "$(dirname "$0")/.."

what=all
json=()
more=()
for argument; do
    case $argument in
        policy | publish | records | peers | drivers | extism) what=$argument ;;
        --json) json=(--json) ;;
        *) more+=("$argument") ;;
    esac
done
if [ "$what" = all ] && [ ${#more[@]} -gt 0 ]; then
    echo "benches: ${more[*]}: of policy, publish, records, peers, drivers or extism?" >&2
    exit 2
fi
target=${CARGO_TARGET_DIR:-target}
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
# Only the result is for stdout when a program reads it.
[ -z "${json[*]}" ] || exec 3>&1 1>&2

# `beside PROGRAM PEER ARG…`: the release binary measured by one of our programs, beside one of tests/agent's if Go is there.
beside() {
    local program=$1 peer=$2
    shift 2
    cargo build --locked --release -p yurt
    cargo build --locked --release -p yurt-benches --bin "$program"
    set -- --yurt "$target/release/yurt" "${json[@]}" "$@"
    if command -v go >/dev/null; then
        tests/agent/build.sh "$peer"
        set -- "--$peer" "tests/agent/bin/$peer" "$@"
    elif [ "${CI:-}" = true ]; then
        echo "benches: Go is not installed (1.26 or newer; go.dev/dl)" >&2
        exit 1
    else
        echo "benches: Go is not installed, so yurt is measured alone" >&2
    fi
    if [ -n "${json[*]}" ]; then
        "$target/release/$program" "$@" >"$results/$program.json"
    else
        "$target/release/$program" "$@"
    fi
}

if [ "$what" = policy ] || [ "$what" = all ]; then
    # The very component that the binary embeds, from the same intermediate files.
    YURT_GUESTS_TARGET=$target/guests guests/build.sh "$target/guests/components"
    YURT_GUESTS_DIR=$(realpath "$target")/guests/components YURT_BENCH_JSON=$results/policy.json \
        cargo bench --locked -p yurt-benches --bench policy_call
    cargo bench --locked -p yurt-guest --bench isolation
fi
if [ "$what" = publish ] || [ "$what" = all ]; then
    cargo run --locked --release --quiet -p yurt-benches --bin publish
fi
if [ "$what" = records ] || [ "$what" = all ]; then
    cargo build --locked --release -p yurt
    cargo run --locked --release --quiet -p yurt-benches --bin records -- --yurt "$target/release/yurt"
fi
if [ "$what" = peers ] || [ "$what" = all ]; then
    beside peers fsdev "${more[@]}"
fi
if [ "$what" = drivers ] || { [ "$what" = all ] && [ "$(id -u)" = 0 ]; }; then
    beside drivers drivers "${more[@]}"
elif [ "$what" = all ]; then
    echo "benches: the drivers are not measured, which needs root" >&2
fi

if [ "$what" = extism ]; then
    # Built apart, with its own lock file: minutes the first time.
    cargo build --locked --release --manifest-path benches/peers/Cargo.toml --target-dir "$target/peers"
    YURT_BENCH_EXTISM=$(realpath "$target")/peers/release/yurt-bench-extism cargo bench --locked -p yurt-guest --bench extism
fi

if [ -n "${json[*]}" ]; then
    for part in policy peers drivers; do
        [ -e "$results/$part.json" ] || echo null >"$results/$part.json"
    done
    printf '{"policy":%s,"peers":%s,"drivers":%s}\n' \
        "$(cat "$results/policy.json")" "$(cat "$results/peers.json")" "$(cat "$results/drivers.json")" >&3
fi
