#!/bin/sh
# Builds the embedded guests as components: guests/build.sh [OUT] → OUT/usb.wasm, OUT/python.wasm, OUT/exec.wasm, OUT/raw-exec.wasm, OUT/java.wasm,
# OUT/wasi.wasm (default: guests/target/components).
#
# The build script of host/yurt runs this, too; packagers run it once and hand the folder over as YURT_GUESTS_DIR.
# YURT_GUESTS_TARGET: the folder for cargo's intermediate files (default: guests/target). Network: as cargo is told to (CARGO_NET_OFFLINE).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/target/components}
target_dir=${YURT_GUESTS_TARGET:-$here/target}
target=wasm32-unknown-unknown
mkdir -p "$out" "$target_dir"
out=$(cd "$out" && pwd)
target_dir=$(cd "$target_dir" && pwd)

sysroot=$("$here/toolchain.sh" "$target_dir/sysroot")

# The machine's paths have no business in a component; given this way, flags meant for the host's own code do not reach it either.
separator=$(printf '\037')
flags="--remap-path-prefix=$here=/yurt/guests${separator}--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
[ -z "$sysroot" ] || flags="$flags${separator}--sysroot=$sysroot"
unset RUSTFLAGS

cd "$here" # for .cargo/config.toml: the linker that makes components
CARGO_ENCODED_RUSTFLAGS=$flags "${CARGO:-cargo}" build --release --locked --target "$target" --target-dir "$target_dir" \
    -p yurt-usb-guest -p yurt-python-guest -p yurt-exec-guest -p yurt-raw-exec-guest -p yurt-java-guest -p yurt-wasi-guest

# Renamed into place: somebody may be reading the old one.
for guest in usb python exec raw-exec java wasi; do
    cp "$target_dir/$target/release/yurt_$(echo "$guest" | tr - _)_guest.wasm" "$out/$guest.wasm.new"
    if cmp -s "$out/$guest.wasm.new" "$out/$guest.wasm"; then
        rm "$out/$guest.wasm.new"
    else
        mv "$out/$guest.wasm.new" "$out/$guest.wasm"
    fi
done
