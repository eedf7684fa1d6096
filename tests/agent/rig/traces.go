package rig

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// What a task driver could leave behind, as the kernel shows it.

// keeperName is the name that the kernel knows a task's keeper by.
const keeperName = "yurt-keeper"

// runtimeDir holds a directory per task.
const runtimeDir = "/run/yurt"

// know takes down which allocations this agent has had.
func (a *Agent) know() {
	allocs, _, err := a.API.Allocations().List(nil)
	if err != nil {
		return
	}
	for _, alloc := range allocs {
		a.allocs[alloc.ID] = true
	}
}

// LeavesNothing purges all jobs and waits until nothing of their tasks is left: processes, keepers, control groups, mounts, entries of
// the runtime directory.
func (a *Agent) LeavesNothing() {
	a.t.Helper()
	a.know()
	keepers := a.keepers()
	a.stopJobs()
	if err := a.API.System().GarbageCollect(); err != nil {
		a.t.Fatal(err)
	}
	Until(a.t, "nothing of the tasks is left", func() error {
		left := a.leftovers()
		for _, keeper := range keepers {
			if keeper.Lives() {
				left = append(left, fmt.Sprintf("keeper %d", keeper.PID))
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("%d traces: %s", len(left), strings.Join(left, ", "))
		}
		return nil
	})
}

func (a *Agent) leftovers() (left []string) {
	for _, process := range OfAllocations(a.allocs) {
		left = append(left, fmt.Sprintf("process %d %q", process.PID, process.Args))
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && a.owns(entry.Name()) {
			left = append(left, path)
			return filepath.SkipDir
		}
		return nil
	})
	left = append(left, a.entries()...)
	return append(left, a.mounts()...)
}

// owns says whether a control group is that of an allocation of this agent: `<allocation>.<task>`, with `.scope` or without.
func (a *Agent) owns(cgroup string) bool {
	alloc, _, found := strings.Cut(cgroup, ".")
	return found && a.allocs[alloc]
}

// entries are what stands in the runtime directory about tasks of this agent's plugins.
func (a *Agent) entries() []string {
	scope := a.scope()
	if scope == "" {
		return nil
	}
	entries, _ := filepath.Glob(filepath.Join(scope, "tasks", "*", "*"))
	return entries
}

// scope is where plugins of this agent keep what belongs to one boot: a directory named after their plugin directory. "" if it is not there.
func (a *Agent) scope() string {
	found, _ := filepath.Glob(filepath.Join(runtimeDir, "*"+filepath.Base(a.dir)+"-*"))
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// mounts of tasks in the host's view.
func (a *Agent) mounts() (points []string) {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for _, line := range strings.Split(string(mounts), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], a.dir+"/") {
			points = append(points, fields[1])
		}
	}
	return points
}

// keepers are the keepers of this agent's tasks: ancestors of a task's process, and holders of a socket in the runtime directory.
func (a *Agent) keepers() (keepers []Process) {
	keeper := map[int]bool{}
	for _, process := range OfAllocations(a.allocs) {
		for _, above := range Ancestry(process) {
			keeper[above.PID] = true
		}
	}
	if sockets := a.sockets(); len(sockets) > 0 {
		for pid := range HoldersOf(sockets) {
			keeper[pid] = true
		}
	}
	for _, process := range Processes() {
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", process.PID)); keeper[process.PID] && strings.TrimSpace(string(name)) == keeperName {
			keepers = append(keepers, process)
		}
	}
	return keepers
}

// sockets in the runtime directory that somebody listens on, as descriptors show them.
func (a *Agent) sockets() (sockets []string) {
	file, err := os.Open("/proc/net/unix")
	if err != nil {
		return nil
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 8 && strings.Contains(fields[7], filepath.Base(a.dir)) {
			sockets = append(sockets, "socket:["+fields[6]+"]")
		}
	}
	return sockets
}

// killTasks ends what tests that failed have left.
func (a *Agent) killTasks() {
	doomed := append(a.keepers(), OfAllocations(a.allocs)...)
	for _, process := range doomed {
		if process.Lives() {
			_ = syscall.Kill(process.PID, syscall.SIGKILL)
		}
	}
	if scope := a.scope(); scope != "" {
		_ = os.RemoveAll(scope)
	}
}
