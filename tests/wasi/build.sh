#!/bin/sh
# Builds the task of the WASI driver's tests as a component: tests/wasi/build.sh OUT → OUT/task.wasm.
# YURT_GUESTS_TARGET: the folder for cargo's intermediate files, where that of the embedded guests has the toolchain already.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: build.sh OUT}
target_dir=${YURT_GUESTS_TARGET:-$here/target}
target=wasm32-unknown-unknown
mkdir -p "$out" "$target_dir"
out=$(cd "$out" && pwd)
target_dir=$(cd "$target_dir" && pwd)

sysroot=$("$here/../../guests/toolchain.sh" "$target_dir/sysroot")
cd "$here" # for .cargo/config.toml: the linker that makes components
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
[ -z "$sysroot" ] || export RUSTFLAGS="--sysroot=$sysroot"
"${CARGO:-cargo}" build --release --locked --target "$target" --target-dir "$target_dir"

cp "$target_dir/$target/release/yurt_test_task.wasm" "$out/task.wasm.new"
mv "$out/task.wasm.new" "$out/task.wasm"
