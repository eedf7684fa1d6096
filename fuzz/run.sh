#!/usr/bin/env bash
# Fuzzes every target, or those named.
#
#   fuzz/run.sh [SECONDS] [TARGET…]   each for SECONDS (60); ends with 1 after a find, and says how to see it again
#   fuzz/run.sh keep [TARGET…]        takes over into fuzz/corpus what earlier runs learnt, as far as it leads to new code
#
# Needs a C++ compiler; the Rust toolchain is the one that builds the rest. JOBS targets run at a time: in CI 2, else 1.
set -euo pipefail
fuzz=$(cd "$(dirname "$0")" && pwd)
cd "$fuzz"

task=${1:-60}
[[ $task =~ ^([1-9][0-9]*|keep)$ ]] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
shift || true
known=$(sed -n 's|^path = "fuzz_targets/\(.*\)\.rs"$|\1|p' Cargo.toml)
targets=${*:-$known}
for target in $targets; do
    grep -qx "$target" <<<"$known" || { echo "fuzz/run.sh: no target is called $target; there are" $known >&2; exit 2; }
done
command -v c++ >/dev/null || { echo "fuzz/run.sh: libFuzzer needs a C++ compiler (Debian: g++)" >&2; exit 1; }

# What cargo-fuzz asks of a nightly compiler, less the address sanitizer: there is no unsafe code to watch, and memory is counted
# by the targets themselves. With --target, so that build scripts stay as they are.
host=$(rustc -vV | sed -n 's/^host: //p')
flags="--cfg fuzzing -Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=" -Cllvm-args=-sanitizer-coverage-$option"
done
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$fuzz/target}
programs=$CARGO_TARGET_DIR/$host/release
# The versions of the product, which is what is to be fuzzed; cargo adds libFuzzer's.
[ Cargo.lock -nt ../Cargo.lock ] || cp ../Cargo.lock Cargo.lock
# shellcheck disable=SC2046
RUSTFLAGS=$flags cargo build --release --target "$host" $(printf -- '--bin %s ' $targets)
echo "built in $SECONDS s"

# Trees of simulated buses are written thousands of times a second: to memory, where there is such a place.
if [ -w /dev/shm ]; then scratch=$(mktemp -d -p /dev/shm yurt-fuzz.XXXXXX); else scratch=$(mktemp -d); fi
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch

if [ "$task" = keep ]; then
    for target in $targets; do
        learnt=$CARGO_TARGET_DIR/corpus/$target new=$scratch/new
        [ -d "$learnt" ] || continue
        rm -rf "$new"
        cp -r "corpus/$target" "$new"
        "$programs/$target" -set_cover_merge=1 -use_counters=0 "$new" "$learnt" >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; exit 1; }
        # The longest reach most; the rest of the way is short.
        ls -S "$new" | grep -vxFf <(ls "corpus/$target") | head -n 48 | while read -r input; do cp "$new/$input" "corpus/$target/"; done
        echo "$target: $(ls "corpus/$target" | wc -l) inputs"
    done
    exit
fi

# The longest input, in bytes: of what has a longer form, the rest is more of the same.
longest() {
    case $1 in
        descriptors | msgpack_config) echo 8192 ;;
        *) echo 4096 ;;
    esac
}

run() {
    local target=$1 log=$scratch/$1.log learnt=$CARGO_TARGET_DIR/corpus/$1 finds=finds/$1 dict=()
    mkdir -p "$learnt" "$finds"
    [ ! -e "dict/$target" ] || dict=("-dict=dict/$target")
    # What it learns goes to the first corpus.
    "$programs/$target" "$learnt" "corpus/$target" "${dict[@]}" \
        -max_total_time="$task" -max_len="$(longest "$target")" -timeout=10 -rss_limit_mb=1024 \
        -artifact_prefix="$finds/" -print_final_stats=1 >"$log" 2>&1 || { touch "$scratch/failed"; tell "$target" "$log"; return; }
    rmdir "$finds" 2>/dev/null || true

    local last
    last=$(grep -E ' cov: ' "$log" | tail -1)
    number() { sed -n "s/.* $1: \([0-9]*\).*/\1/p" <<<"$last"; }
    printf '%-15s %9d executions %5d edges %6d features %5d inputs %4d MiB %5d s\n' "$target" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$(number cov)" "$(number ft)" "$(number corp)" \
        "$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")" "$task"
}

# Of a run that ended early: why, and how to see it again.
tell() {
    local find
    find=$(sed -n 's/.*Test unit written to //p' "$2" | tail -1)
    {
        if [ -n "$find" ]; then
            echo "$1: a find, $(wc -c <"$find") bytes in fuzz/$find"
            grep -E -A1 'panicked at|ERROR: libFuzzer' "$2" | cut -c1-500 | head -6
            echo "$1: again: $programs/$1 fuzz/$find; once mended: mv fuzz/$find fuzz/corpus/$1/"
        else
            echo "$1: failed"
            tail -20 "$2"
        fi
    } >&2
}

jobs=${JOBS:-$([ "${CI:-}" = true ] && echo 2 || echo 1)}
for target in $targets; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do sleep 0.2; done
    run "$target" &
done
wait
[ ! -e "$scratch/failed" ]
