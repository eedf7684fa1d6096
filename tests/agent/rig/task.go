package rig

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/nomad/api"
)

// Ran is what became of a program in a task.
type Ran struct {
	Code           int
	Stdout, Stderr string
}

// Run runs a program in a task to its end, as `nomad alloc exec` does. With a terminal, it is one of 33 lines of 99 characters.
func (a *Agent) Run(alloc *api.Allocation, task string, tty bool, stdin string, command ...string) (Ran, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	var out, errors bytes.Buffer
	var sizes chan api.TerminalSize
	var input io.Reader = strings.NewReader(stdin)
	if tty {
		// Nobody hangs up a terminal before the program has ended.
		rest, hangUp := io.Pipe()
		defer hangUp.Close()
		input = io.MultiReader(input, rest)
		sizes = make(chan api.TerminalSize, 1)
		sizes <- api.TerminalSize{Height: 33, Width: 99}
	}
	code, err := a.API.Allocations().Exec(ctx, alloc, task, tty, command, input, &out, &errors, sizes, nil)
	return Ran{Code: code, Stdout: out.String(), Stderr: errors.String()}, err
}

// Signal sends a signal, as `nomad alloc signal` does.
func (a *Agent) Signal(alloc *api.Allocation, task, name string) error {
	return a.API.Allocations().Signal(alloc, nil, task, name)
}

// Restart restarts a task in its allocation, as `nomad alloc restart` does.
func (a *Agent) Restart(alloc *api.Allocation, task string) {
	a.t.Helper()
	if err := a.API.Allocations().Restart(alloc, task, nil); err != nil {
		a.t.Fatalf("restart of task %s: %v", task, err)
	}
}

// Follower has the output of a task as it comes.
type Follower struct {
	agent *Agent
	mutex sync.Mutex
	text  bytes.Buffer
	err   error
}

// Follow reads a task's output from its beginning until the test ends, as `nomad alloc logs -f` does; stream is "stdout" or "stderr".
func (a *Agent) Follow(alloc *api.Allocation, task, stream string) *Follower {
	a.t.Helper()
	follower := &Follower{agent: a}
	cancel := make(chan struct{})
	a.t.Cleanup(func() { close(cancel) })
	frames, errs := a.API.AllocFS().Logs(alloc, true, task, stream, api.OriginStart, 0, cancel, nil)
	go func() {
		for {
			var err error
			select {
			case frame, open := <-frames:
				if !open {
					return
				}
				follower.mutex.Lock()
				follower.text.Write(frame.Data)
				follower.mutex.Unlock()
				continue
			case err = <-errs:
			}
			follower.mutex.Lock()
			follower.err = err
			follower.mutex.Unlock()
			return
		}
	}()
	return follower
}

// Text is what has come so far.
func (f *Follower) Text() string {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.text.String()
}

// Wait waits until a line with this text has come so many times.
func (f *Follower) Wait(line string, times int) {
	f.agent.t.Helper()
	Until(f.agent.t, fmt.Sprintf("%q in the task's output", line), func() error {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		if strings.Count(f.text.String(), line+"\n") < times {
			return fmt.Errorf("output so far: %q (%v)", f.text.String(), f.err)
		}
		return nil
	})
}

// End is how a task ended, as the agent tells it.
type End struct {
	Code, Signal int
	OOM          bool
}

// Ended waits until the allocation's task "t" has ended for good, and says how.
func (a *Agent) Ended(alloc *api.Allocation) End {
	a.t.Helper()
	ends := a.Ends(alloc)
	if len(ends) != 1 {
		now, _, err := a.API.Allocations().Info(alloc.ID, nil)
		if err != nil {
			a.t.Fatal(err)
		}
		a.t.Fatalf("%d ends of %s: %s", len(ends), alloc.Name, Told(now))
	}
	return ends[0]
}

// Ends waits for the same, and gives all ends that are told: of a task that has ended once, one for each agent that died before it was
// through with it.
func (a *Agent) Ends(alloc *api.Allocation) (ends []End) {
	a.t.Helper()
	// An agent that has been started anew tells its server only after a while.
	UntilWithin(a.t, 90*time.Second, "the end of "+alloc.Name, func() error {
		now, _, err := a.API.Allocations().Info(alloc.ID, nil)
		if err != nil {
			return err
		}
		state := now.TaskStates["t"]
		if state == nil || state.State != "dead" {
			return fmt.Errorf("%s: %s", now.ClientStatus, Told(now))
		}
		ends = nil
		for _, event := range Events(now, api.TaskTerminated) {
			end, err := endOf(event)
			if err != nil {
				return err
			}
			ends = append(ends, end)
		}
		return nil
	})
	return ends
}

func endOf(event *api.TaskEvent) (end End, err error) {
	if end.Code, err = strconv.Atoi(event.Details["exit_code"]); err != nil {
		return end, fmt.Errorf("%v in %v", err, event.Details)
	}
	if end.Signal, err = strconv.Atoi(event.Details["signal"]); err != nil {
		return end, fmt.Errorf("%v in %v", err, event.Details)
	}
	end.OOM = event.Details["oom_killed"] == "true"
	return end, nil
}

// Events are an allocation's events of a kind, of task "t".
func Events(alloc *api.Allocation, kind string) (events []*api.TaskEvent) {
	if state := alloc.TaskStates["t"]; state != nil {
		for _, event := range state.Events {
			if event.Type == kind {
				events = append(events, event)
			}
		}
	}
	return events
}

// Told is all that an operator is told of an allocation's tasks.
func Told(alloc *api.Allocation) string {
	var told []string
	for name, state := range alloc.TaskStates {
		for _, event := range state.Events {
			told = append(told, name+": "+event.Type+": "+event.DisplayMessage)
		}
	}
	return strings.Join(told, "; ")
}

// Interpreter is the python process of a task, seen from the host.
func (a *Agent) Interpreter(alloc *api.Allocation) Process {
	a.t.Helper()
	var found []Process
	Until(a.t, "the python process of "+alloc.Name, func() error {
		if found = Interpreters(alloc.ID); len(found) != 1 {
			return fmt.Errorf("%d processes: %v", len(found), found)
		}
		return nil
	})
	return found[0]
}

// Interpreters are the python processes of an allocation that live.
func Interpreters(alloc string) (found []Process) {
	for _, process := range OfAllocations(map[string]bool{alloc: true}) {
		if name := process.Args[0]; strings.HasPrefix(name[strings.LastIndexByte(name, '/')+1:], "python") {
			found = append(found, process)
		}
	}
	return found
}

// Recoveries counts the tasks that the agent has found again after the death of their driver's plugin, by the agent's own log.
func (a *Agent) Recoveries() int { return len(a.Log.Find("task successfully recovered on driver")) }

// OfAllocations are the processes with the environment of one of these allocations.
func OfAllocations(ids map[string]bool) (found []Process) {
	for _, process := range Processes() {
		if ids[process.Environ()["NOMAD_ALLOC_ID"]] {
			found = append(found, process)
		}
	}
	return found
}

// Lives says whether this very process is there, not another of the same number.
func (p Process) Lives() bool {
	for _, process := range Processes() {
		if process.PID == p.PID {
			return process.Born == p.Born
		}
	}
	return false
}

// Touch makes an empty file in an allocation's shared data directory.
func (a *Agent) Touch(alloc *api.Allocation, name string) {
	a.t.Helper()
	if err := os.WriteFile(a.shared(alloc, name), nil, 0o644); err != nil {
		a.t.Fatal(err)
	}
}

// Shared is the text of a file in an allocation's shared data directory, read past the agent.
func (a *Agent) Shared(alloc *api.Allocation, name string) string {
	a.t.Helper()
	text, err := os.ReadFile(a.shared(alloc, name))
	if err != nil {
		a.t.Fatal(err)
	}
	return string(text)
}

func (a *Agent) shared(alloc *api.Allocation, name string) string {
	return filepath.Join(a.dir, "data", "alloc", alloc.ID, "alloc", "data", name)
}
