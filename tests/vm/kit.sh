#!/usr/bin/env bash
# tests/vm/kit.sh DIR: what the VM is made of, in DIR: QEMU, a static busybox, Debian's kernel with its modules, an initramfs.
#
# By apt, but unpacked into DIR and not installed: the same way for root and for others, and nothing of this machine changes, least
# of all its kernel or the QEMU that it already has. What is there from an earlier run is kept; remove DIR for newer packages.
# YURT_VM_KERNEL: another kernel package (linux-image-amd64), such as linux-image-6.12-amd64. Not the cloud flavour: it has no USB.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
kit=$(cd "$1" && pwd)
package=${YURT_VM_KERNEL:-linux-image-amd64}
step() { printf -- '--- %s (%d s)\n' "$1" "$SECONDS"; }

# The machine's own archives and trusted keys; lists and downloads of our own, so that no root and no lock is needed.
apt() {
    local program=$1
    shift
    "$program" -qq -o Dir::State::Lists="$kit/apt/lists" -o Dir::Cache="$kit/apt" -o Debug::NoLocking=1 \
        -o APT::Sandbox::User="$(id -un)" "$@"
}
lists() {
    [ -z "${listed:-}" ] || return 0
    step "lists of Debian's packages"
    mkdir -p "$kit/apt/lists/partial" "$kit/apt/archives/partial"
    apt apt-get update || echo "going on with the lists that came" >&2
    listed=yes
}
download() {
    rm -rf "$kit/debs"
    mkdir -p "$kit/debs"
    (cd "$kit/debs" && apt apt-get download "$@")
}
unpack() {
    local into=$1
    shift
    mkdir -p "$into"
    download "$@"
    for deb in "$kit"/debs/*.deb; do dpkg-deb -x "$deb" "$into"; done
    rm -r "$kit/debs"
}

# QEMU of this machine, if it has one. Else with all that it depends on and this machine lacks.
if ! command -v qemu-system-x86_64 >/dev/null && [ ! -e "$kit/root/complete" ]; then
    lists
    step QEMU
    # shellcheck disable=SC2046
    unpack "$kit/root" $(apt apt-get install -s --no-install-recommends qemu-system-x86 | awk '/^Inst/ { print $2 }')
    touch "$kit/root/complete"
fi

busybox=$kit/busybox/bin/busybox
if [ ! -x "$busybox" ]; then
    lists
    step busybox
    unpack "$kit/busybox" busybox-static
fi

if [ "$(cat "$kit/kernel/package" 2>/dev/null)" != "$package" ]; then
    lists
    # What stands behind a name that only depends on the current version.
    image=$(apt apt-cache depends --important "$package" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p')
    step "kernel ${image:-$package}"
    rm -rf "$kit/kernel"
    mkdir -p "$kit/kernel"
    download "${image:-$package}"
    # Half of it is for hardware that no VM has.
    dpkg-deb --fsys-tarfile "$kit"/debs/*.deb | tar -x -C "$kit/kernel" --strip-components=1 --exclude='*/usr/share' --exclude='*/sound' \
        --exclude='*/drivers/gpu' --exclude='*/drivers/media' --exclude='*/drivers/infiniband' \
        --exclude='*/drivers/net/ethernet' --exclude='*/drivers/net/wireless'
    rm -r "$kit/debs"
    [ -d "$kit/kernel/lib" ] || mv "$kit/kernel/usr/lib" "$kit/kernel/lib"
    "$busybox" depmod -b "$kit/kernel" "$(ls "$kit/kernel/lib/modules")"
    echo "$package" >"$kit/kernel/package"
fi

rm -rf "$kit/apt"

# Made each time, in an instant, rather than asked whether it is stale. Of the modules it has those that reach the host's files, where
# all the others are.
version=$(ls "$kit/kernel/lib/modules")
modules=lib/modules/$version
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage"/{bin,dev,lower,proc,root,run,sys,upper} "$stage/$modules"
cp "$busybox" "$stage/bin/busybox"
cp "$here/init" "$stage/init"
for name in $(sed -n 's/^for module in \([^;]*\);.*/\1/p' "$here/init"); do
    # A name's own file and those that it needs; nothing where it is built in.
    sed -nE "s/:/ /; /^[^ ]*\/$name\.ko/p" "$kit/kernel/$modules/modules.dep"
done | xargs -n1 | sort -u | (cd "$kit/kernel/$modules" && xargs cp --parents -t "$stage/$modules")
"$busybox" depmod -b "$stage" "$version"
(cd "$stage" && find . | "$busybox" cpio -o -H newc 2>/dev/null) >"$kit/initramfs.new"
mv "$kit/initramfs.new" "$kit/initramfs"
