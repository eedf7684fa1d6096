package drills

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"yurt.dev/tests/agent/rig"
)

// count is a number from the environment, else few.
func count(t *testing.T, variable string, few int) int {
	t.Helper()
	text, given := os.LookupEnv(variable)
	if !given {
		return few
	}
	number, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return number
}

// The plugin is killed about every second, the agent after every round, and one keeper in twenty; tasks come, go and stay meanwhile.
func TestAgentsPluginsAndKeepersAreKilledAndNoExitCodeIsLost(t *testing.T) {
	rounds, kills := count(t, "YURT_CHAOS_AGENTS", 2), count(t, "YURT_CHAOS_KILLS", 10)
	const stayers = 20
	setup := rig.WithPython(t, "yurt {\n fingerprint_period = \"1s\"\n}")
	setup.Lasting = true
	agent := rig.Start(t, setup)
	const noted = "import os, time\ndata = os.environ['NOMAD_ALLOC_DIR'] + '/data/'\nopen(data + 'starts', 'a').write('1\\n')\n"
	const stay = noted + "while not os.path.exists(data + 'go'): time.sleep(0.2)\nos._exit(100 + int(os.environ['NOMAD_ALLOC_INDEX']))"
	const pass = noted + "time.sleep(%d / 1000)\nos._exit(10 + int(os.environ['NOMAD_ALLOC_INDEX']))"

	long := agent.Submit(rig.PythonTask{ID: "stayers", Code: stay, Batch: true, Group: fmt.Sprintf("count = %d", stayers), Silent: true}.HCL())
	allocs := long.AllRun(stayers)
	tasks := map[string]rig.Process{}
	for _, alloc := range allocs {
		tasks[alloc.ID] = agent.Interpreter(alloc)
	}
	// One in twenty, whose exit then comes from the kernel.
	alone := tasks[allocs[0].ID]
	keeper := rig.KeeperOf(alone)
	if keeper.PID == 0 {
		t.Fatal("a task has no keeper")
	}
	rig.Kill(t, keeper.PID)

	var passers []*rig.Job
	// Submitted a moment before an agent was killed.
	cut := map[*rig.Job]bool{}
	const each = 3
	for round := range rounds {
		for kill := range kills {
			passers = append(passers, agent.Submit(rig.PythonTask{ID: fmt.Sprintf("passers-%d-%d", round, kill), Batch: true, Silent: true,
				Group: fmt.Sprintf("count = %d", each), Code: fmt.Sprintf(pass, 100*(kill%13))}.HCL()))
			time.Sleep(time.Duration(50*(kill%9)) * time.Millisecond)
			plugin, before := agent.Plugin("python-driver"), agent.Recoveries()
			rig.Kill(t, plugin.PID)
			rig.Until(t, "all tasks are recovered", func() error {
				if recovered := agent.Recoveries() - before; recovered < stayers {
					return fmt.Errorf("%d", recovered)
				}
				return nil
			})
		}
		cut[passers[len(passers)-1]] = true
		agent.Crash()
		agent.Start()
		for _, alloc := range allocs {
			if task := tasks[alloc.ID]; !task.Lives() {
				t.Errorf("the task of %s ended with an agent", alloc.Name)
			}
		}
	}

	var unborn, right, again, anew int
	for _, job := range passers {
		for _, alloc := range job.AllEnded(each) {
			if len(rig.Events(alloc, api.TaskStarted)) == 0 {
				// Nomad gives up an allocation whose plugin dies while it is asked for the schema, or whose agent dies before it has kept the handle.
				unborn++
				continue
			}
			ends, want := agent.Ends(alloc), 10+rig.IndexOf(t, alloc)
			if len(ends) == 0 || slices.ContainsFunc(ends, func(end rig.End) bool { return end.Code != want }) {
				t.Errorf("%s: %+v, not code %d: %s", alloc.Name, ends, want, rig.Told(alloc))
			} else {
				right++
				again += len(ends) - 1
			}
			starts := agent.Shared(alloc, "starts")
			if cut[job] && starts == "1\n1\n" && len(rig.Events(alloc, api.TaskStarted)) == 1 {
				// An agent that dies before it is told of a start has its successor start the task under another id. The first one is ended by then.
				anew++
			} else if starts != "1\n" {
				t.Errorf("%s was started like this: %q: %s", alloc.Name, starts, rig.Told(alloc))
			}
		}
	}
	for _, alloc := range allocs {
		if found := rig.Interpreters(alloc.ID); len(found) != 1 || found[0].PID != tasks[alloc.ID].PID {
			t.Errorf("the task of %s was process %d; now there are %v", alloc.Name, tasks[alloc.ID].PID, found)
		}
		agent.Touch(alloc, "go")
	}
	for _, alloc := range allocs {
		end, want := agent.Ended(alloc), rig.End{Code: 100 + rig.IndexOf(t, alloc)}
		unknown := tasks[alloc.ID].PID == alone.PID && end.Code == -1 && !rig.KernelTellsOfOthers()
		if end != want && !unknown {
			t.Errorf("%s: %+v, not %+v", alloc.Name, end, want)
		}
	}
	t.Logf("%d agents and %d plugins killed; %d passers and %d stayers ended with their code, %d of them told by two agents; %d passers were started anew by an agent whose predecessor did not live to hear of the first start; %d never came to StartTask",
		rounds, rounds*kills, right, stayers, again, anew, unborn)
	if right < unborn {
		t.Errorf("%d passers of %d are too few for a trial", right, right+unborn)
	}
	agent.LeavesNothing()
}
