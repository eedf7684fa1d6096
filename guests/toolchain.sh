#!/bin/sh
# Makes sure that the rustc in use can compile for WebAssembly, and prints the sysroot to give it for that; nothing if its own will do.
#   sysroot=$(guests/toolchain.sh DEST); RUSTFLAGS="${sysroot:+--sysroot=$sysroot}" cargo build --target wasm32-unknown-unknown …
# Progress and complaints go to stderr.
#
#   1. the target's standard library is there already;
#   2. else `rustup target add`, given 60 seconds: some machines can reach the package mirror but not rustup's;
#   3. else the standard library is built once into DEST (about 30 seconds, 80 MB) from Debian's package `rust-src` of exactly this
#      rustc's version: another one does not compile. Nothing outside DEST is touched.
#
# DEBIAN_MIRROR overrides the mirror that apt uses here; YURT_TOOLCHAIN=source skips 1 and 2; CARGO_NET_OFFLINE=true forbids 2 and 3.
set -eu

target=wasm32-unknown-unknown
dest=${1:?usage: toolchain.sh DEST}
rustc=${RUSTC:-rustc}
cargo=${CARGO:-cargo}
say() { echo "guests/toolchain.sh: $*" >&2; }
give_up() {
    say "$*"
    say "install the Rust target $target (rustup target add $target), or set YURT_GUESTS_DIR to a folder with the guests built elsewhere"
    exit 1
}

if [ "${YURT_TOOLCHAIN:-}" != source ]; then
    present() { ls "$("$rustc" --print sysroot)/lib/rustlib/$target/lib"/libcore-*.rlib >/dev/null 2>&1; }
    if present; then exit 0; fi
    [ "${CARGO_NET_OFFLINE:-}" != true ] || give_up "the target $target is missing, and CARGO_NET_OFFLINE forbids to fetch it"
    if command -v rustup >/dev/null 2>&1; then
        say "adding the target $target"
        timeout 60 rustup target add "$target" >&2 || true
        if present; then exit 0; fi
    fi
fi

version=$("$rustc" -vV | sed -n 's/^release: //p')
host=$("$rustc" -vV | sed -n 's/^host: //p')
sysroot=$("$rustc" --print sysroot)
stamp="$("$rustc" -vV | cksum) $target"
mkdir -p "$dest"
dest=$(cd "$dest" && pwd)
use() { echo "$dest"; exit 0; }
[ "$(cat "$dest/stamp" 2>/dev/null || true)" = "$stamp" ] && use

[ -e "$sysroot/lib/rustlib/$host/bin/wasm-component-ld" ] || give_up "this rustc ($version) comes without wasm-component-ld"
for tool in curl xz dpkg-deb sha256sum; do
    command -v "$tool" >/dev/null 2>&1 || give_up "neither the target $target nor $tool is here"
done

# The mirror: from apt's own lists of Debian archives, else from its source files; never the security archive, which has no rust-src.
apt_mirrors() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null || true
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -nE 's/^(URIs:|deb( +\[[^]]*\])?) +(https?:[^ ]*\/debian\/?)( .*)?$/\3/p' || true
}
mirror=${DEBIAN_MIRROR:-$(apt_mirrors | grep -E '^https?:' | grep -v security | head -n 1 || true)}
mirror=${mirror%/}
[ -n "$mirror" ] || give_up "no Debian mirror among apt's sources (DEBIAN_MIRROR names one)"

# A fixed name: the path goes into the library's symbol names.
work=$dest/work
rm -rf "$work"
mkdir -p "$work/empty/src"
trap 'rm -rf "$work"' EXIT
fetch() { curl -fsSL --retry 3 --connect-timeout 10 -m 300 -o "$2" "$1"; }

found=
for suite in trixie-backports sid forky experimental trixie bookworm-backports; do
    fetch "$mirror/dists/$suite/main/binary-all/Packages.xz" "$work/list.xz" 2>/dev/null || continue
    found=$(xz -dc "$work/list.xz" | awk -v version="$version+" '
        /^Package: / { mine = ($2 == "rust-src") } /^Version: / { same = (index($2, version) == 1) }
        /^Filename: / { file = $2 } /^SHA256: / { sum = $2 }
        /^$/ { if (mine && same) answer = sum " " file; mine = 0 } END { print answer }')
    [ -z "$found" ] || break
done
[ -n "$found" ] || give_up "Debian has no rust-src of version $version"
say "building the standard library of $version for $target from Debian's sources, once"
fetch "$mirror/${found#* }" "$work/src.deb" || give_up "the download of rust-src failed"
echo "${found%% *}  $work/src.deb" | sha256sum -c --quiet >&2 || give_up "rust-src is not what Debian's list says"
sources=$work/usr/src/rustc-$version
dpkg-deb --fsys-tarfile "$work/src.deb" | tar -x -C "$work" "./usr/src/rustc-$version/library"

: >"$work/empty/src/lib.rs"
cat >"$work/empty/Cargo.toml" <<'MANIFEST'
[package]
name = "empty"
version = "0.0.0"
edition = "2021"
[workspace]
[profile.release]
codegen-units = 1
MANIFEST
# The bitcode is for guests that are optimised across crates, as with the official library. The variable with the long name is how
# cargo's own tests say where std's sources are; it goes with the version of cargo, which is the version of rustc.
(cd "$work/empty" && env -u CARGO_BUILD_TARGET -u CARGO_ENCODED_RUSTFLAGS -u RUSTC_WRAPPER -u RUSTC_WORKSPACE_WRAPPER \
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Cembed-bitcode=yes --remap-path-prefix=$sources=/rustc/$version" CARGO_TARGET_DIR="$work/target" \
    __CARGO_TESTS_ONLY_SRC_ROOT="$sources/library" \
    "$cargo" build -q --release -Zbuild-std=std,panic_abort --target "$target" >&2) || give_up "the standard library did not build"

rm -rf "$dest/lib"
mkdir -p "$dest/lib/rustlib/$host" "$dest/lib/rustlib/$target/lib"
ln -s "$sysroot/lib/rustlib/$host/bin" "$dest/lib/rustlib/$host/bin" # rust-lld, wasm-component-ld
cp "$work/target/$target/release/deps/"*.rlib "$dest/lib/rustlib/$target/lib/"
rm -f "$dest/lib/rustlib/$target/lib/"libempty-*.rlib
echo "$stamp" >"$dest/stamp"
use
