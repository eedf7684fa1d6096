#!/usr/bin/env bash
# The VM's process 1 once the host's files are its root: mounts what a machine has, runs the cases, switches the machine off.
#
# From the kernel's command line: yurt.run, the folder with `settings` (shell variables), `cases` (names) and a script for each case.
# Two ports lead out: what the cases print, and one line `NAME STATUS SECONDS` for each.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
run=$(sed -n 's/.* yurt\.run=\([^ ]*\).*/\1/p' /proc/cmdline)
. "$run/settings" # and exports them

mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
echo '+cpuset +cpu +io +memory +pids' >/sys/fs/cgroup/cgroup.subtree_control
echo vm >/proc/sys/kernel/hostname
# All of the kernel's modules, for whoever wants one; the kernel itself asks /sbin/modprobe.
mkdir -p "/lib/modules/$(uname -r)"
mount --bind "$kit/kernel/lib/modules/$(uname -r)" "/lib/modules/$(uname -r)"
command -v modprobe >/dev/null || ln -s "$kit/busybox/bin/busybox" /sbin/modprobe
"$kit/busybox/bin/busybox" ip link set lo up
ulimit -Sn 1024 -Hn 524288
# In memory and empty, whatever the host has in /tmp; that one may hold this repository and thus stays. On the file system of all else:
# links lead from one to the other.
TMPDIR=$(mktemp -d /tmp.XXXXXX)
export TMPDIR
chmod 1777 "$TMPDIR"

port() {
    local found
    until found=$(grep -lx "$1" /sys/class/virtio-ports/*/name); do sleep 0.05; done
    found=${found%/name}
    echo "/dev/${found##*/}"
}
exec 3>"$(port verdicts)"
# A pipe before the port, which can be opened but once: programs open /dev/stderr.
mkfifo -m 666 /run/output
cat /run/output >"$(port output)" &
pump=$!
exec >/run/output 2>&1 </dev/null
echo "Linux $(uname -r), $(nproc) processors under emulation, up after $(cut -d. -f1 /proc/uptime) s"

while read -r name; do
    printf '\n=== %s\n' "$name"
    began=$SECONDS
    group=/sys/fs/cgroup/case
    mkdir "$group"
    (
        echo 0 >"$group/cgroup.procs"
        exec timeout --kill-after=5 "$patience" bash "$run/$name.sh" </dev/null 3>&-
    )
    status=$?
    [ $status != 124 ] || echo "$name: not done after $patience s"
    # What it has left behind, except where it has put tasks elsewhere.
    echo 1 >"$group/cgroup.kill"
    until rmdir "$group" 2>/dev/null; do sleep 0.1; done
    echo "$name $status $((SECONDS - began))" >&3
done <"$run/cases"

exec >/dev/null 2>&1
timeout 10 tail --pid=$pump -f /dev/null
sync
echo o >/proc/sysrq-trigger
sleep 60
