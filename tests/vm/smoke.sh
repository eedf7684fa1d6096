#!/usr/bin/env bash
# The case `smoke`: the VM is what the other cases take it for. Each line is something that holds; the first that does not ends it.
set -euo pipefail
root=/sys/fs/cgroup
holds() {
    local what=$1
    shift
    "$@" || { echo "does not hold: $what" >&2; exit 1; }
    echo "holds: $what"
}
group() { mkdir -p "$root/smoke/$1"; echo "$root/smoke/$1"; }
inside() { # GROUP PROGRAM…
    local dir=$1
    shift
    bash -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$dir" "$@"
}

holds "control groups are version 2 and nothing else" test "$(grep -c ' - cgroup' /proc/self/mountinfo) $(stat -fc %T $root)" = "1 cgroup2fs"
mkdir $root/smoke
echo '+cpuset +cpu +io +memory +pids' >$root/smoke/cgroup.subtree_control
for controller in cpuset cpu io memory pids; do
    holds "$controller is handed down" grep -qw "$controller" "$(group "$controller")/cgroup.controllers"
done

memory=$(group memory)
echo 32M >"$memory/memory.max"
status=0
inside "$memory" python3 -c 'bytearray(100 << 20)' || status=$?
holds "who takes more than memory.max is killed" test $status = 137
holds "and counted" grep -qx 'oom_kill 1' "$memory/memory.events"

pids=$(group pids)
inside "$pids" bash -c 'sleep 600 & sleep 600 & wait' &
until [ "$(wc -l <"$pids/cgroup.procs")" = 3 ]; do sleep 0.1; done
echo 1 >"$pids/cgroup.kill"
status=0
wait $! || status=$?
holds "cgroup.kill ends all of a group" test $status = 137
until grep -qx 'populated 0' "$pids/cgroup.events"; do sleep 0.1; done

holds "this machine's python3 runs" test "$(python3 -c 'import json, ssl, subprocess; print(6 * 7)')" = 42
holds "this machine's sh runs" test "$(sh -c 'echo $((6 * 7))')" = 42
holds "a file can be written where the machine has it, as in memory" bash -c 'echo vm >/etc/yurt-vm && grep -qx vm /etc/yurt-vm'
holds "namespaces" unshare --mount --uts --ipc --net --pid --fork --mount-proc sh -c 'test "$(ls -d /proc/[1-9]* | wc -l)" -le 4'
holds "user namespaces, for everybody" setpriv --reuid 65534 --regid 65534 --clear-groups unshare --user --map-root-user true
holds "pivot_root" unshare --mount sh -c 'mount -t tmpfs new /mnt && mkdir /mnt/old && cd /mnt && pivot_root . old'
holds "the kernel finds a module when it needs one" python3 -c 'import socket; socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).bind(("hash", "sha256"))'
holds "a terminal" python3 -c 'import pty; assert pty.spawn(["test", "-t", "0"]) == 0'
rmdir $root/smoke/{cpuset,cpu,io,memory,pids} $root/smoke
