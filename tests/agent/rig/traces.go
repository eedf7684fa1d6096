package rig

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	watched := a.keepers()
	a.stopJobs()
	if err := a.API.System().GarbageCollect(); err != nil {
		a.t.Fatal(err)
	}
	Until(a.t, "nothing of the tasks is left", func() error {
		left := a.leftovers()
		for _, keeper := range append(a.keepers(), watched...) {
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
	return slices.DeleteFunc(entries, func(entry string) bool {
		about, err := os.Stat(entry)
		return err == nil && !about.IsDir()
	})
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
func (a *Agent) mounts() []string {
	return mountsWhere(func(point string) bool { return strings.HasPrefix(point, a.dir+"/") })
}

// pluginMounts are the directories for tasks that device plugins of this agent made, beside their runtime directory.
func (a *Agent) pluginMounts() []string {
	return mountsWhere(func(point string) bool {
		return strings.HasPrefix(point, runtimeDir+"-devices/") && strings.Contains(point, filepath.Base(a.dir)+"-")
	})
}

func mountsWhere(holds func(point string) bool) (points []string) {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for _, line := range strings.Split(string(mounts), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && holds(fields[1]) {
			points = append(points, fields[1])
		}
	}
	return points
}

// keepers are the keepers of this agent's tasks, those that a task has beside it and those that are left alone: each has its entry open.
func (a *Agent) keepers() (keepers []Process) {
	scope := a.scope()
	above := map[int]bool{}
	for _, process := range OfAllocations(a.allocs) {
		for _, ancestor := range Ancestry(process) {
			above[ancestor.PID] = true
		}
	}
	for _, process := range Processes() {
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", process.PID)); strings.TrimSpace(string(name)) != keeperName {
			continue
		}
		if above[process.PID] || scope != "" && process.opened(scope+"/") {
			keepers = append(keepers, process)
		}
	}
	return keepers
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
