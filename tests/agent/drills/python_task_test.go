package drills

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"yurt.dev/tests/agent/rig"
)

// Says what it is, which signals it hears, and what stands in a file that a template writes.
const listener = `
import os, signal, time

def heard(number, _):
    with open(os.path.join(os.environ["NOMAD_TASK_DIR"], "word")) as file:
        print("heard", signal.Signals(number).name, "at the word", file.read().strip())

signal.signal(signal.SIGUSR1, heard)
signal.signal(signal.SIGHUP, heard)
print("listening")
while True:
    time.sleep(60)
`

// Ids, groups, privileges, namespaces and control groups of whoever runs it.
const self = `
import json, os
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
about = {key: " ".join(status[key].split()) for key in ["Uid", "Gid", "Groups", "CapBnd", "CapEff", "NoNewPrivs", "Seccomp"]}
about.update({"ns " + name: os.readlink("/proc/self/ns/" + name) for name in ["mnt", "pid", "ipc", "net", "uts"]})
about["cgroups"] = open("/proc/self/cgroup").read()
print(json.dumps(about))
`

// All that an operator does to a running task, asked of the agent, and seen by the kernel. First with Nomad's own driver: where that one
// fails, the rig is wrong.
func TestWhatAnOperatorDoesToARunningPythonTask(t *testing.T) {
	t.Parallel()
	t.Run("the control, Nomad's own exec driver", func(t *testing.T) {
		setup := rig.Setup{Config: []string{rig.PythonClient(t)}}
		operate(t, setup, rig.Python3(t))
	})
	t.Run("Yurt, isolation chroot", func(t *testing.T) { operate(t, rig.WithPython(t, ""), "") })
	t.Run("Yurt, isolation none", func(t *testing.T) {
		operate(t, rig.WithPython(t, "yurt {\n isolation = \"none\"\n}"), "")
	})
}

func operate(t *testing.T, setup rig.Setup, withExec string) {
	consul := rig.NewConsul(t)
	setup.Config = append(setup.Config, consul.Config())
	agent := rig.Start(t, setup)
	say := func(word string) {
		variable := &api.Variable{Path: "nomad/jobs/listener", Items: api.VariableItems{"word": word}}
		if _, _, err := agent.API.Variables().Update(variable, nil); err != nil {
			t.Fatal(err)
		}
	}
	say("one")
	alloc := agent.Submit(rig.PythonTask{ID: "listener", Script: listener, WithExec: withExec, Task: `
      template {
        destination   = "local/word"
        change_mode   = "signal"
        change_signal = "SIGHUP"
        splay         = "0s"
        wait {
          min = "10ms"
          max = "1s"
        }
        data          = "{{ with nomadVar \"nomad/jobs/listener\" }}{{ .word }}{{ end }}"
      }
      service {
        name     = "listener"
        provider = "consul"
        check {
          name     = "well"
          type     = "script"
          command  = "/bin/sh"
          args     = ["-c", "cat $NOMAD_ALLOC_DIR/data/well || exit 2"]
          interval = "1s"
          timeout  = "5s"
        }
      }
`}.HCL()).Runs()
	log := agent.Follow(alloc, "t", "stdout")
	log.Wait("listening", 1)
	task := agent.Interpreter(alloc)
	operator := operator{t: t, agent: agent, alloc: alloc, task: task}

	operator.check("exec without a terminal", func(t *testing.T) {
		ran, err := agent.Run(alloc, "t", false, "word\n", "/bin/sh", "-c", "cat; echo trouble >&2; id -u; exit 7")
		want := rig.Ran{Code: 7, Stdout: "word\n65534\n", Stderr: "trouble\n"}
		if err != nil || ran != want {
			t.Errorf("%+v, %v; not %+v", ran, err, want)
		}
	})
	operator.check("exec with a terminal", func(t *testing.T) {
		ran, err := agent.Run(alloc, "t", true, "word\n", "/bin/sh", "-c", "read word; sleep 1; stty size; echo got $word >&2; exit 3")
		if want := "word\r\n33 99\r\ngot word\r\n"; err != nil || ran.Code != 3 || ran.Stdout != want || ran.Stderr != "" {
			t.Errorf("%+v, %v; not code 3 and %q", ran, err, want)
		}
	})
	operator.check("exec that dies of a signal", func(t *testing.T) {
		ran, err := agent.Run(alloc, "t", false, "", "/bin/sh", "-c", "kill -9 $$")
		if err != nil || ran.Code != 137 {
			t.Errorf("%+v, %v; not code 137", ran, err)
		}
	})
	operator.check("exec is in the task's place and has no more than the task", func(t *testing.T) {
		ran, err := agent.Run(alloc, "t", false, "", rig.Python3(t), "-c", self)
		var inside map[string]string
		if err == nil {
			err = json.Unmarshal([]byte(ran.Stdout), &inside)
		}
		if err != nil {
			t.Fatalf("%v in %+v", err, ran)
		}
		for _, key := range []string{"Uid", "Gid", "Groups", "CapBnd", "CapEff", "NoNewPrivs", "Seccomp"} {
			if outside := task.Status(key); outside != inside[key] {
				t.Errorf("%s: %q in the exec, %q in the task", key, inside[key], outside)
			}
		}
		for _, name := range []string{"mnt", "pid", "ipc", "net", "uts"} {
			if outside := task.Namespace(name); outside != inside["ns "+name] {
				t.Errorf("namespace %s: %s in the exec, %s of the task", name, inside["ns "+name], outside)
			}
		}
		// It counts as the task's: in the same control group of each hierarchy, or in one below.
		for _, group := range task.Cgroups() {
			if withExec != "" && strings.Contains(group, ":cpuset:") {
				// Nomad's own driver leaves the task's processors.
				continue
			}
			if !strings.Contains(inside["cgroups"], group) {
				t.Errorf("the task is in the control group %s, the exec in\n%s", group, inside["cgroups"])
			}
		}
	})
	operator.check("a signal", func(t *testing.T) {
		if err := agent.Signal(alloc, "t", "SIGUSR1"); err != nil {
			t.Fatal(err)
		}
		log.Wait("heard SIGUSR1 at the word one", 1)
	})
	if withExec == "" {
		// Nomad's own driver hangs from then on: no exec is answered any more, and no figures.
		operator.check("exec of a program that is not there", func(t *testing.T) {
			if ran, err := agent.Run(alloc, "t", false, "", "/no/such/program"); err == nil && ran.Code == 0 {
				t.Errorf("%+v, no error", ran)
			}
		})
		// Nomad's own drivers send SIGINT instead, which ends the task.
		operator.check("a signal that does not exist", func(t *testing.T) {
			err := agent.Signal(alloc, "t", "SIGNONSENSE")
			if err == nil || !strings.Contains(err.Error(), "SIGNONSENSE") {
				t.Errorf("the agent says %v", err)
			}
		})
	}
	operator.check("a template that changes", func(t *testing.T) {
		say("two")
		log.Wait("heard SIGHUP at the word two", 1)
	})
	operator.check("a script check", func(t *testing.T) {
		// The agent runs it through ExecTask; what it hears goes to Consul.
		rig.Until(t, "the check is critical", func() error { return checked(consul, "critical", "") })
		ran, err := agent.Run(alloc, "t", false, "", "/bin/sh", "-c", "echo quite well > $NOMAD_ALLOC_DIR/data/well")
		if err != nil || ran.Code != 0 {
			t.Fatalf("%+v, %v", ran, err)
		}
		rig.Until(t, "the check is passing", func() error { return checked(consul, "passing", "quite well") })
	})
	operator.check("figures", func(t *testing.T) {
		rig.Until(t, "memory and processor time of the task", func() error {
			stats, err := agent.API.Allocations().Stats(alloc, nil)
			if err != nil {
				return err
			}
			usage := stats.Tasks["t"]
			if usage == nil || usage.ResourceUsage == nil || usage.ResourceUsage.MemoryStats == nil || usage.ResourceUsage.CpuStats == nil {
				return fmt.Errorf("the task's figures are %+v", usage)
			}
			if memory := usage.ResourceUsage.MemoryStats; memory.RSS+memory.Usage < 1<<20 || len(memory.Measured) == 0 {
				return fmt.Errorf("memory: %+v", memory)
			}
			return nil
		})
	})

	before := log.Text()
	agent.Restart(alloc, "t")
	log.Wait("listening", 2)
	t.Run("a restart", func(t *testing.T) {
		again := agent.Interpreter(alloc)
		if again.PID == task.PID || task.Lives() {
			t.Errorf("the process was %d and is %d", task.PID, again.PID)
		}
		if text := log.Text(); !strings.HasPrefix(text, before) {
			t.Errorf("what was logged before the restart is lost: %q", text)
		}
		if err := agent.Signal(alloc, "t", "SIGUSR1"); err != nil {
			t.Fatal(err)
		}
		log.Wait("heard SIGUSR1 at the word two", 1)
		ran, err := agent.Run(alloc, "t", false, "", "/bin/sh", "-c", "exit 5")
		if err != nil || ran.Code != 5 {
			t.Errorf("%+v, %v", ran, err)
		}
	})
	wantNoComplaint(t, agent)
	agent.LeavesNothing()
}

// operator does one thing after another to a task, none of which may end it.
type operator struct {
	t     *testing.T
	agent *rig.Agent
	alloc *api.Allocation
	task  rig.Process
}

func (o operator) check(what string, act func(t *testing.T)) {
	o.t.Helper()
	o.t.Run(what, act)
	if now := rig.Interpreters(o.alloc.ID); !o.task.Lives() || len(now) != 1 {
		o.t.Fatalf("after %s the task's process %d is one of %v", what, o.task.PID, now)
	}
}

func checked(consul *rig.Consul, status, output string) error {
	check := consul.Check("well")
	if check == nil || check.Status != status || !strings.Contains(check.Output, output) {
		return fmt.Errorf("Consul has %+v", check)
	}
	return nil
}

// What a job gets wrong is told in one sentence, and leaves nothing.
func TestAPythonTaskThatCannotStartSaysWhyAndLeavesNothing(t *testing.T) {
	t.Parallel()
	agent := rig.Start(t, rig.WithPython(t, ""))
	for name, bad := range map[string]struct {
		task  rig.PythonTask
		words []string
	}{
		"a user that does not exist":       {rig.PythonTask{Code: "1", Task: "user = \"nosuchuser\""}, []string{"nosuchuser"}},
		"a script that is not there":       {rig.PythonTask{Script: "1", Config: "work_dir = \"/alloc\""}, []string{"local/task.py"}},
		"an interpreter that is not there": {rig.PythonTask{Code: "1", Config: "interpreter = \"python9.9\""}, []string{"python9.9"}},
	} {
		t.Run(name, func(t *testing.T) {
			bad.task.ID = strings.ReplaceAll(name, " ", "-")
			bad.task.Batch = true
			job := agent.Submit(bad.task.HCL())
			alloc := job.Ends(30 * time.Second)
			told := rig.Told(alloc)
			t.Log(told)
			if alloc.ClientStatus != api.AllocClientStatusFailed || len(rig.Events(alloc, api.TaskStarted)) != 0 {
				t.Errorf("the allocation is %s", alloc.ClientStatus)
			}
			for _, word := range bad.words {
				if !strings.Contains(told, word) {
					t.Errorf("what is told lacks %q", word)
				}
			}
		})
	}
	agent.LeavesNothing()
}
