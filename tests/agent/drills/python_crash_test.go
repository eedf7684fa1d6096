package drills

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"yurt.dev/tests/agent/rig"
)

// Writes a line whenever it is started; leaves with 5 at SIGUSR1, eats memory until the kernel ends it at SIGUSR2, dies of SIGTERM.
const waiter = `
import os, signal, time

def leave(*_):
    os._exit(5)

def eat(*_):
    eaten = []
    while True:
        eaten.append(b"x" * (1 << 20))

signal.signal(signal.SIGUSR1, leave)
signal.signal(signal.SIGUSR2, eat)
with open(os.environ["NOMAD_ALLOC_DIR"] + "/data/starts", "a") as file:
    file.write("%d\n" % os.getpid())
print("waiting")
while True:
    time.sleep(60)
`

// The ways in which a waiter ends, and how an agent should tell of them.
var ends = []struct {
	name   string
	signal syscall.Signal
	end    rig.End
}{
	{"a code", syscall.SIGUSR1, rig.End{Code: 5}},
	{"a signal", syscall.SIGTERM, rig.End{Code: 128 + 15, Signal: 15}},
	{"no memory", syscall.SIGUSR2, rig.End{Code: 128 + 9, Signal: 9, OOM: true}},
}

// startsOf says how often an allocation's task was started, by the lines that the task itself wrote.
func startsOf(t *testing.T, agent *rig.Agent, alloc *api.Allocation) int {
	t.Helper()
	text, err := agent.API.AllocFS().Cat(alloc, "alloc/data/starts", nil)
	if err != nil {
		t.Fatalf("%s: %v", alloc.Name, err)
	}
	defer text.Close()
	lines, err := io.ReadAll(text)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(lines), "\n")
}

// wantSame says that a task is the one it was: the same process, in the same allocation, started once, and it can be reached.
func wantSame(t *testing.T, agent *rig.Agent, job *rig.Job, alloc *api.Allocation, task rig.Process) {
	t.Helper()
	now := job.Runs()
	if now.ID != alloc.ID {
		t.Errorf("job %s was placed anew: %s instead of %s: %s", job.ID, now.ID, alloc.ID, rig.Told(now))
	}
	if found := rig.Interpreters(alloc.ID); len(found) != 1 || found[0].PID != task.PID || !task.Lives() {
		t.Errorf("the task of %s was process %d; now there are %v", job.ID, task.PID, found)
	}
	if starts := startsOf(t, agent, alloc); starts != 1 {
		t.Errorf("the task of %s was started %d times", job.ID, starts)
	}
	rig.Until(t, "an exec", func() error {
		ran, err := agent.Run(alloc, "t", false, "", "/bin/sh", "-c", "echo here; exit 4")
		if err == nil && (ran.Code != 4 || ran.Stdout != "here\n") {
			err = fmt.Errorf("%+v", ran)
		}
		return err
	})
	if !task.Lives() {
		t.Errorf("the exec ended the task of %s", job.ID)
	}
}

func TestAPythonTaskLivesThroughTheEndsOfTwoAgents(t *testing.T) {
	t.Parallel()
	setup := rig.WithPython(t, "")
	setup.Lasting = true
	agent := rig.Start(t, setup)
	first := agent.Submit(rig.PythonTask{ID: "first", Script: waiter, Batch: true}.HCL())
	second := agent.Submit(rig.PythonTask{ID: "second", Script: waiter, Batch: true}.HCL())
	one, two := first.Runs(), second.Runs()
	taskOne, taskTwo := agent.Interpreter(one), agent.Interpreter(two)
	agent.Follow(one, "t", "stdout").Wait("waiting", 1)
	agent.Follow(two, "t", "stdout").Wait("waiting", 1)
	plugin := agent.Plugin("python-driver")

	// The plugin lives on, with a stderr that nobody reads, and the next agent takes it as it is.
	agent.Crash()
	agent.Start()
	wantSame(t, agent, first, one, taskOne)
	wantSame(t, agent, second, two, taskTwo)
	if now := agent.Plugin("python-driver"); now.PID != plugin.PID || !plugin.Lives() {
		t.Errorf("the plugin %d was replaced by %d", plugin.PID, now.PID)
	}
	if launches := agent.Launches("python-driver"); launches != 2 {
		t.Errorf("beside the living plugin the new agent needed %d launches, not the 2 for looking at it", launches)
	}
	signal(t, taskOne, syscall.SIGUSR1)
	if end, want := agent.Ended(one), (rig.End{Code: 5}); end != want {
		t.Errorf("the agent tells of %+v, not %+v", end, want)
	}

	// The plugin goes in order; its tasks stay.
	agent.Interrupt()
	if left := agent.Plugins("python-driver"); len(left) != 0 {
		t.Errorf("the plugin outlives an agent that ended in order: %v", left)
	}
	if !taskTwo.Lives() {
		t.Fatal("the task ended with the agent")
	}
	agent.Start()
	wantSame(t, agent, second, two, taskTwo)
	signal(t, taskTwo, syscall.SIGTERM)
	if end, want := agent.Ended(two), (rig.End{Code: 128 + 15, Signal: 15}); end != want {
		t.Errorf("the agent tells of %+v, not %+v", end, want)
	}
	if starts := startsOf(t, agent, two); starts != 1 {
		t.Errorf("the task was started %d times", starts)
	}
	wantNoComplaint(t, agent)
	agent.LeavesNothing()
}

func signal(t *testing.T, process rig.Process, number syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(process.PID, number); err != nil {
		t.Fatalf("signal %d to process %d: %v", number, process.PID, err)
	}
}

// gated is a plugin file that does not become the plugin while the gate is closed.
func gated(t *testing.T, binary string) (file, gate string) {
	t.Helper()
	dir := t.TempDir()
	file, gate = filepath.Join(dir, "gated"), filepath.Join(dir, "closed")
	script := fmt.Sprintf("#!/bin/bash\nwhile [ -e %q ]; do sleep 0.05; done\nexec -a \"$0\" %q \"$@\"\n", gate, binary)
	if err := os.WriteFile(file, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return file, gate
}

func TestAPythonTaskThatEndsWhileThePluginIsDownReportsItsTrueEnd(t *testing.T) {
	t.Parallel()
	setup := rig.WithPython(t, "")
	setup.Lasting = true
	file, gate := gated(t, setup.Plugins["python-driver"])
	setup.Plugins["python-driver"] = file
	agent := rig.Start(t, setup)

	for _, down := range []struct {
		name        string
		bring, back func()
	}{
		{"the agent lives", func() {
			if err := os.WriteFile(gate, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			rig.Kill(t, agent.Plugin("python-driver").PID)
		}, func() {
			if err := os.Remove(gate); err != nil {
				t.Fatal(err)
			}
		}},
		{"the agent has ended", func() { agent.Interrupt() }, func() { agent.Start() }},
		{"agent and plugin were killed", func() {
			plugin := agent.Plugin("python-driver")
			agent.Crash()
			rig.Kill(t, plugin.PID)
		}, func() { agent.Start() }},
	} {
		t.Run(down.name, func(t *testing.T) {
			var allocs []*api.Allocation
			var tasks []rig.Process
			for _, end := range ends {
				id := strings.ReplaceAll(down.name+" "+end.name, " ", "-")
				alloc := agent.Submit(rig.PythonTask{ID: id, Script: waiter, Batch: true}.HCL()).Runs()
				agent.Follow(alloc, "t", "stdout").Wait("waiting", 1)
				allocs, tasks = append(allocs, alloc), append(tasks, agent.Interpreter(alloc))
			}
			down.bring()
			for i, end := range ends {
				signal(t, tasks[i], end.signal)
			}
			for _, task := range tasks {
				rig.Until(t, "the task's end", func() error {
					if task.Lives() {
						return fmt.Errorf("process %d lives", task.PID)
					}
					return nil
				})
			}
			if left := agent.Plugins("python-driver"); len(left) != 0 {
				t.Fatalf("a plugin is there: %v", left)
			}
			down.back()
			for i, end := range ends {
				if told := agent.Ended(allocs[i]); told != end.end {
					t.Errorf("%s: the agent tells of %+v, not %+v", end.name, told, end.end)
				}
				if starts := startsOf(t, agent, allocs[i]); starts != 1 {
					t.Errorf("%s: the task was started %d times", end.name, starts)
				}
			}
		})
	}
	agent.LeavesNothing()
}

func TestFiftyKillsOfThePluginLoseNoPythonTaskAndDoubleNone(t *testing.T) {
	t.Parallel()
	const kills, stayers = 50, 20
	// What Nomad asks a dying plugin to forget, the next one finds when it looks at the node.
	agent := rig.Start(t, rig.WithPython(t, "yurt {\n fingerprint_period = \"1s\"\n}"))
	const noted = "import os, time\nopen(os.environ['NOMAD_ALLOC_DIR'] + '/data/starts', 'a').write('1\\n')\n"
	long := agent.Submit(rig.PythonTask{ID: "stayers", Code: noted + "time.sleep(3600)", Group: fmt.Sprintf("count = %d", stayers), Silent: true}.HCL())
	tasks := map[string]rig.Process{}
	allocs := long.AllRun(stayers)
	for _, alloc := range allocs {
		tasks[alloc.ID] = agent.Interpreter(alloc)
	}

	var slowest time.Duration
	var unborn int
	for kill := range kills {
		code := 10 + kill
		lasting := rand.IntN(200)
		// One more that is being started, runs or is ending at the moment of the kill.
		passing := agent.Submit(rig.PythonTask{ID: fmt.Sprintf("passer-%d", kill), Batch: true, Silent: true,
			Code: fmt.Sprintf("%stime.sleep(%d / 1000)\nos._exit(%d)", noted, lasting, code)}.HCL())
		time.Sleep(time.Duration(rand.IntN(350)) * time.Millisecond)
		plugin := agent.Plugin("python-driver")
		before := agent.Recoveries()
		start := time.Now()
		rig.Kill(t, plugin.PID)
		// A plugin that dies before it has answered RecoverTask is no driver's trial: Nomad then gives the task up by itself.
		rig.Until(t, "all tasks are recovered", func() error {
			if recovered := agent.Recoveries() - before; recovered < stayers {
				return fmt.Errorf("%d", recovered)
			}
			return nil
		})
		slowest = max(slowest, time.Since(start))

		alloc := passing.Ends(rig.Patience)
		if len(rig.Events(alloc, api.TaskReceived)) == 0 || len(rig.Events(alloc, api.TaskStarted))+len(rig.Events(alloc, api.TaskDriverFailure)) == 0 {
			// Nomad asks for the schema before anything else, once, and gives up the allocation if the plugin dies then.
			t.Logf("passer %d never came to StartTask: %s %s", kill, alloc.ClientDescription, rig.Told(alloc))
			unborn++
			continue
		}
		if end := agent.Ended(alloc); end.Code != code {
			t.Errorf("passer %d (%d ms): %+v, not code %d: %s", kill, lasting, end, code, rig.Told(alloc))
		}
		if starts := startsOf(t, agent, alloc); starts != 1 {
			t.Errorf("passer %d was started %d times: %s", kill, starts, rig.Told(alloc))
		}
	}
	t.Logf("kill to recovered: at most %v; %d of %d passers never came to StartTask", slowest.Round(time.Millisecond), unborn, kills)
	if unborn > kills/5 {
		t.Errorf("%d of %d passers never came to StartTask: that is too many for a trial", unborn, kills)
	}

	for _, alloc := range long.AllRun(stayers) {
		task, known := tasks[alloc.ID]
		if !known {
			t.Errorf("an allocation was placed anew: %s", alloc.Name)
			continue
		}
		if found := rig.Interpreters(alloc.ID); len(found) != 1 || !task.Lives() {
			t.Errorf("the task of %s was process %d; now there are %v", alloc.Name, task.PID, found)
		}
		if starts := startsOf(t, agent, alloc); starts != 1 {
			t.Errorf("the task of %s was started %d times", alloc.Name, starts)
		}
	}
	agent.LeavesNothing()
}
