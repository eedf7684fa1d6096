package rig

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Process is a line of the kernel's process table.
type Process struct {
	PID, Parent int
	Args        []string
	State       byte // R, S, D, Z, …
	// Born is when it was started, in clock ticks since boot: with the PID it names a process for good.
	Born string
}

// Processes lists all of this machine that are not dead.
func Processes() []Process {
	entries, _ := os.ReadDir("/proc")
	var all []Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		// pid (name, which may hold anything) state parent …
		after := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if len(after) < 20 || after[0] == "Z" {
			continue
		}
		parent, _ := strconv.Atoi(after[1])
		args := strings.Split(strings.TrimRight(string(command), "\x00"), "\x00")
		all = append(all, Process{PID: pid, Parent: parent, Args: args, State: after[0][0], Born: after[19]})
	}
	return all
}

// Mentions says whether an argument or a variable of the process holds the text.
func (p Process) Mentions(text string) bool {
	return strings.Contains(strings.Join(p.Args, "\x00"), text) || strings.Contains(strings.Join(p.environ(), "\x00"), text)
}

func (p Process) environ() []string {
	bytes, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.PID))
	return strings.Split(strings.TrimRight(string(bytes), "\x00"), "\x00")
}

// Environ is what the process was given, as the kernel keeps it.
func (p Process) Environ() map[string]string { return Variables(strings.Join(p.environ(), "\x00")) }

// Variables reads an environment as the kernel and `env -0` write it.
func Variables(text string) map[string]string {
	all := map[string]string{}
	for pair := range strings.SplitSeq(text, "\x00") {
		if name, value, found := strings.Cut(pair, "="); found {
			all[name] = value
		}
	}
	return all
}

// Alive says whether the process exists and is no zombie.
func Alive(pid int) bool {
	for _, process := range Processes() {
		if process.PID == pid {
			return true
		}
	}
	return false
}

// Plugins are the living processes of a plugin file of this agent's plugin directory, orphans of an earlier agent included.
func (a *Agent) Plugins(name string) []Process {
	path := filepath.Join(a.PluginDir, name)
	var found []Process
	for _, process := range Processes() {
		if process.Args[0] == path {
			found = append(found, process)
		}
	}
	return found
}

// Plugin is the one process of a plugin file; none or several fail the test.
func (a *Agent) Plugin(name string) Process {
	a.t.Helper()
	var found []Process
	Until(a.t, "one process of plugin "+name, func() error {
		found = a.Plugins(name)
		if len(found) != 1 {
			return fmt.Errorf("%d processes: %v", len(found), found)
		}
		return nil
	})
	return found[0]
}

// Task is the process of a task, found by the variables that Nomad gives it.
func (a *Agent) Task(alloc, program string) Process {
	a.t.Helper()
	var found []Process
	Until(a.t, "process of the task", func() error {
		found = nil
		for _, process := range Processes() {
			if filepath.Base(process.Args[0]) == program && process.Environ()["NOMAD_ALLOC_ID"] == alloc {
				found = append(found, process)
			}
		}
		if len(found) != 1 {
			return fmt.Errorf("%d processes %s with NOMAD_ALLOC_ID=%s", len(found), program, alloc)
		}
		return nil
	})
	return found[0]
}

// Descendants are the processes below this one. Of children that have ended since, `ended` says whether there were any: the
// kernel adds up what they used.
func Descendants(pid int) (living []Process, ended bool) {
	below := map[int]bool{pid: true}
	all := Processes()
	for grown := true; grown; {
		grown = false
		for _, process := range all {
			if below[process.Parent] && !below[process.PID] {
				below[process.PID], grown = true, true
				living = append(living, process)
			}
		}
	}
	// Field 11 of stat: page faults of children that were waited for. No program starts without one.
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return living, len(fields) > 8 && fields[8] != "0"
}

// Shell runs a script until the test ends, with its output in a pipe as a plugin's is, and gives its process id.
func Shell(t testing.TB, script string) int {
	t.Helper()
	command := exec.Command("/bin/sh", "-c", script)
	command.Stdout, command.Stderr = newLog(), newLog()
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		_ = command.Wait()
	})
	return command.Process.Pid
}

// Kill sends SIGKILL.
func Kill(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
}

// PipesOf are the pipes that a process has open, such as `pipe:[4242]`.
func PipesOf(pid int) (pipes []string) {
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	open, _ := os.ReadDir(folder)
	for _, fd := range open {
		target, _ := os.Readlink(filepath.Join(folder, fd.Name()))
		if strings.HasPrefix(target, "pipe:") && !slices.Contains(pipes, target) {
			pipes = append(pipes, target)
		}
	}
	return pipes
}

// HoldersOf are the processes with an open file that is one of these.
func HoldersOf(files []string) map[int][]string {
	holders := map[int][]string{}
	for _, process := range Processes() {
		folder := fmt.Sprintf("/proc/%d/fd", process.PID)
		open, _ := os.ReadDir(folder)
		for _, fd := range open {
			target, _ := os.Readlink(filepath.Join(folder, fd.Name()))
			if slices.Contains(files, target) {
				holders[process.PID] = append(holders[process.PID], fd.Name()+" → "+target)
			}
		}
	}
	return holders
}

// Launches counts how often the agent has started a plugin file, by the agent's own log.
func (a *Agent) Launches(name string) int {
	return len(a.Log.Find("plugin started", "path", filepath.Join(a.PluginDir, name)))
}

// WaitForNewPlugin waits until the agent runs another process of a plugin file, and gives it.
func (a *Agent) WaitForNewPlugin(name string, old int) Process {
	a.t.Helper()
	var found []Process
	Until(a.t, "a new process of plugin "+name, func() error {
		found = a.Plugins(name)
		if len(found) != 1 || found[0].PID == old || found[0].Parent != a.PID() {
			return fmt.Errorf("processes: %v", found)
		}
		return nil
	})
	return found[0]
}

// Status is a line of the kernel's /proc/<pid>/status, with single spaces.
func (p Process) Status(key string) string {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	for line := range strings.Lines(string(status)) {
		if name, value, _ := strings.Cut(line, ":"); name == key {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return ""
}

// Namespace is the process's namespace of a kind, such as `pid:[4026531836]`.
func (p Process) Namespace(kind string) string {
	target, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", p.PID, kind))
	return target
}

// Cgroups are the process's control groups that an agent made for tasks.
func (p Process) Cgroups() (groups []string) {
	all, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.PID))
	for line := range strings.Lines(string(all)) {
		if strings.Contains(line, "nomad") {
			groups = append(groups, strings.TrimSpace(line))
		}
	}
	return groups
}

// opened says whether the process has something open below a path.
func (p Process) opened(path string) bool {
	folder := fmt.Sprintf("/proc/%d/fd", p.PID)
	open, _ := os.ReadDir(folder)
	return slices.ContainsFunc(open, func(fd os.DirEntry) bool {
		target, _ := os.Readlink(filepath.Join(folder, fd.Name()))
		return strings.HasPrefix(target, path)
	})
}

// Ancestry is a process and those above it.
func Ancestry(process Process) (line []Process) {
	all := map[int]Process{}
	for _, one := range Processes() {
		all[one.PID] = one
	}
	for at, found := process, true; found; at, found = all[at.Parent] {
		line = append(line, at)
	}
	return line
}

// KeeperOf is what holds a task; no process if there is none.
func KeeperOf(task Process) Process {
	var keeper Process
	for _, process := range Ancestry(task) {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", process.PID))
		// Its init below it is called the same.
		if strings.TrimSpace(string(name)) == keeperName {
			keeper = process
		}
	}
	return keeper
}

// KernelTellsOfOthers says whether this kernel tells how a process ended that was nobody's child: Linux 6.15.
func KernelTellsOfOthers() bool {
	var name syscall.Utsname
	if syscall.Uname(&name) != nil {
		return false
	}
	var release []byte
	for _, letter := range name.Release {
		release = append(release, byte(letter))
	}
	var major, minor int
	_, err := fmt.Sscanf(string(release), "%d.%d", &major, &minor)
	return err == nil && (major > 6 || major == 6 && minor >= 15)
}
