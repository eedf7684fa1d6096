#!/usr/bin/env bash
# Boots a VM with control groups v2 once and runs cases in it; its files are this machine's. tests/vm/README.md says more.
#
#   tests/vm/run.sh [CASE…] [-- ARGUMENTS]   smoke, keeper, task, driver, usb, nomad and reboot, or those named; ARGUMENTS go to the test programs: a filter
#   tests/vm/run.sh exec PROGRAM [ARGUMENT…]   a program instead, whose exit code is then this one's
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
target=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
kit=$target/vm
run=$kit/run
step() { printf -- '--- %s (%d s)\n' "$1" "$SECONDS"; }
missing() {
    if [ "${CI:-}" = true ]; then
        echo "tests/vm: failed: $1" >&2
        exit 1
    fi
    echo "tests/vm: skipped: $1" >&2
    exit 0
}
usage() { sed -n '4,5s/^# *//p' "$0" >&2; exit 2; }

[ "$(uname -sm)" = "Linux x86_64" ] || missing "the VM runs this machine's programs, and is x86-64 Linux"
for tool in apt-get dpkg-deb flock python3; do command -v $tool >/dev/null || missing "needs $tool, as Debian has it"; done
[[ ! $here$target =~ [[:space:],] ]] || missing "blanks and commas in paths do not reach the VM: $here, $target"

# The script of a case that is test programs of a package. cargo says where each is; it runs in the folder where cargo would run it.
tests() {
    cargo test --quiet --locked --no-run --message-format=json "$@" | python3 -c '
import json, os, shlex, sys
tests = [said for said in map(json.loads, sys.stdin) if said.get("executable") and said["profile"]["test"]]
for test in tests:
    folder = os.path.dirname(test["manifest_path"])
    run = ["env", "CARGO_MANIFEST_DIR=" + folder, test["executable"], *sys.argv[1:]]
    print("cd", shlex.quote(folder), "&&", shlex.join(run), "|| failed=$?")
print("exit ${failed:-0}")
sys.exit(not tests)' "${arguments[@]}"
}
# Rows of `driver` that stand or fall by the kernel: control groups, namespaces, mounts, capabilities, how all of a task is killed, how
# its end is known.
kernel=(a03_ a04_ a06_ a08_ a09_ d01_ d04_ f09_ r01_ r04_ r05_ r08_ s05_ s07_ s08_ s09_ s11_ s14_ s21_ s22_ s23_ s24_ s26_ s27_ s29_ s36_ s42_a_
    s50_a_step_is_ s50_a_start_ t03_ t04_ t06_ t16_a_stop_goes_ w04_ w08_ w09_ w10_ x01_ x12_ x13_ x14_ x17_the_ x19_all_ x20_)
script() {
    case $1 in
        smoke) echo "exec $(printf %q "$here/smoke.sh")" ;;
        keeper) tests --package yurt-keeper ;;
        task) tests --package yurt-task ;;
        driver) tests --package yurt-conformance --test driver ;;
        kernel) (arguments=("${kernel[@]}" "${arguments[@]}") && tests --package yurt-conformance --test driver) ;;
        # Alone in the machine, all of them: there is one bus.
        usb) (arguments=(--ignored --test-threads=1 --nocapture "${arguments[@]}") && tests --package yurt-vm-usb) ;;
        nomad) nomad ;;
        reboot) reboot ;;
        hostile) hostile ;;
        *) usage ;;
    esac
}
# Drills with a real agent, which Go builds.
nomad() {
    command -v go >/dev/null || { [ "${CI:-}" != true ] && echo 'echo "skipped: Go is not installed" >&2' && return; missing "the case nomad needs Go"; }
    (cd "$here/../agent" && ./build.sh agent && go test -c -vet=off -o "$run/drills" ./vm) >&2
    printf 'cd %q && exec %q -test.v -test.timeout 25m %s\n' "$here/../agent/vm" "$run/drills" "${arguments[*]@Q}"
}
# The first half of a test resets the machine, the second half follows in the next boot: what it finds on the disk tells which it is.
reboot() {
    printf '%s\n' 'modprobe -a virtio_blk ext4 && mkdir /lasting && mount /dev/vda /lasting || exit 125' \
        'export YURT_LASTING=/lasting half=before' '[ ! -e /lasting/handles ] || half=after'
    (arguments=(--ignored --nocapture --exact HALF) && tests --package yurt-task --test task) | sed 's/ HALF/ "reboot::$half"/'
}
# What a hostile task tries, side by side with Nomad's own exec where Go can build that.
hostile() {
    local subject
    for subject in python yurt_exec exec; do
        if [ $subject = exec ]; then
            command -v go >/dev/null || continue
            "$here/../agent/build.sh" drivers >&2
            echo "export YURT_DRIVER=$(printf %q "$(realpath "$here/../agent/bin/drivers")")"
        fi
        echo "export YURT_HOSTILE=1 YURT_DRIVER_FLAVOUR=$subject"
        (arguments=(s42_ --nocapture --test-threads=1) && tests --package yurt-conformance --test driver) | sed '/^exit/d'
    done
    echo 'exit ${failed:-0}'
}

cases=() arguments=() program=''
while [ $# -gt 0 ]; do
    case $1 in
        exec) shift; [ $# -gt 0 ] || usage; program=$(printf '%q ' "$@"); break ;;
        --) shift; arguments=("$@"); break ;;
        -*) usage ;;
        *) cases+=("$1"); shift ;;
    esac
done

mkdir -p "$kit"
exec 9>"$kit/lock"
flock 9
rm -rf "$run"
mkdir -p "$run"
if [ -n "$program" ]; then
    cases=(exec)
    echo "cd $(printf %q "$PWD") && exec $program" >"$run/exec.sh"
else
    [ ${#cases[@]} -gt 0 ] || cases=(smoke keeper task driver usb nomad reboot)
    step "test programs"
    # By itself: built together with the tests, it would share features with them that it does not have by itself.
    cargo build --quiet --locked --package yurt
    cargo build --quiet --locked --package yurt-vm-usb
    for name in "${cases[@]}"; do script "$name" >"$run/$name.sh"; done
fi
step "kit"
"$here/kit.sh" "$kit" || missing "could not get what the VM is made of, see above"

cat >"$run/settings" <<SETTINGS
export kit=$(printf %q "$kit") patience=${YURT_VM_CASE_SECONDS:-1800}
export PATH=\$PATH:$(printf %q "$target/debug:$PATH") CI=${CI:-} YURT_BIN=$(printf %q "${YURT_BIN:-$target/debug/yurt}")
export YURT_TEST_PATIENCE=${YURT_TEST_PATIENCE:-10} RUST_BACKTRACE=${RUST_BACKTRACE:-0}
SETTINGS

qemu=qemu-system-x86_64 data=() libraries=''
if ! command -v $qemu >/dev/null; then
    root=$kit/root
    qemu=$root/usr/bin/$qemu data=(-L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L "$root/usr/lib/ipxe/qemu")
    libraries=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu
fi
# What the kernel says goes to a file. The first port is what the cases print, the second how they end; by the third they plug what QEMU
# emulates. A socket's path has to be short, thus relative.
boot() {
    step "boot"
    printf '%s\n' "$@" >"$run/cases"
    LD_LIBRARY_PATH=$libraries timeout --foreground "${YURT_VM_SECONDS:-2700}" "$qemu" "${data[@]}" \
        -machine q35 -accel "${YURT_VM_ACCEL:-tcg,thread=multi}" -cpu max,erms=off,fsrm=off,la57=off -smp 2 -m "${YURT_VM_MEMORY:-2048}" \
        -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$kit"/kernel/boot/vmlinuz-* -initrd "$kit/initramfs" -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
        -serial "file:$run/kernel.log" -device virtio-serial-pci \
        -chardev file,id=output,append=on,path=>(exec tee -a "$run/output") -device virtserialport,chardev=output,name=output \
        -chardev "file,id=verdicts,append=on,path=$run/verdicts" -device virtserialport,chardev=verdicts,name=verdicts \
        -device qemu-xhci,id=xhci,p2=8,p3=8 -blockdev raw,node-name=disk,file.driver=file,file.filename=disk \
        -blockdev raw,node-name=lasting,file.driver=file,file.filename=lasting -device virtio-blk-pci,drive=lasting \
        -chardev socket,id=qmp,path=monitor,server=on,wait=off -mon chardev=qmp,mode=control \
        -chardev socket,id=monitor,path=monitor -device virtserialport,chardev=monitor,name=monitor \
        -append "console=ttyS0 quiet panic=-1 mitigations=off norandmaps tsc=reliable no_timer_check random.trust_cpu=on cgroup_no_v1=all yurt.guest=$here/guest.sh yurt.run=$run" \
        </dev/null || echo "tests/vm: QEMU ended with $?" >&2
    wait $! # for the last words
}
cd "$run"
truncate -s 8M disk
truncate -s 64M lasting
others=()
for name in "${cases[@]}"; do [ "$name" = reboot ] || others+=("$name"); done
[ ${#others[@]} -eq 0 ] || boot "${others[@]}"
if [ ${#others[@]} -lt ${#cases[@]} ]; then
    PATH=$PATH:/sbin:/usr/sbin
    command -v mkfs.ext4 >/dev/null || missing "the case reboot needs mkfs.ext4, of e2fsprogs"
    mkfs.ext4 -q -F lasting
    boot reboot
    boot reboot
fi

touch "$run/verdicts"
if [ -n "$program" ]; then
    read -r _ status _ <"$run/verdicts" || { tail -20 "$run/kernel.log" >&2; exit 125; }
    exit "$status"
fi
printf '\n'
bad=0
for name in "${cases[@]}"; do
    read -r _ status seconds < <(grep "^$name " "$run/verdicts") || { status=none seconds=-; }
    case $status in
        0) said=passed ;;
        none) said="never ended" bad=1 ;;
        *) said="FAILED: $status" bad=1 ;;
    esac
    printf '%-8s %4s s  %s\n' "$name" "$seconds" "$said"
done
grep -q . "$run/verdicts" || tail -20 "$run/kernel.log" >&2
step "done"
exit $bad
