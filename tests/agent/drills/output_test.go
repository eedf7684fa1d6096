package drills

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"yurt.dev/tests/agent/rig"
)

// A child of the plugin that holds the plugin's fd 1 or 2 hides the plugin's death from the agent, which then gives the devices up
// for good. None may exist, however short its life: no process of this machine but the plugin and the agent may have those pipes
// open, and the plugin may not have had a child that ended before it could be looked at.
func wantNobodyElseHoldsTheOutput(t *testing.T, agent *rig.Agent, name string) {
	t.Helper()
	plugin := agent.Plugin(name)
	output := agentsPipesOf(t, agent, name)
	suspects := map[int]bool{}
	rig.Throughout(t, time.Second, "the plugin's output", func() error {
		holders := rig.HoldersOf(output)
		delete(holders, plugin.PID)
		delete(holders, agent.PID())
		for pid, files := range holders {
			// A child that the agent is just starting has all of the agent's files for a moment.
			if suspects[pid] {
				return fmt.Errorf("process %d holds %v", pid, files)
			}
			suspects[pid] = true
		}
		return nil
	})
	if living, ended := rig.Descendants(plugin.PID); len(living) != 0 || ended {
		t.Errorf("the plugin started processes: living %v, ended %v; a device plugin needs none", living, ended)
	}
}

// agentsPipesOf are the plugin's fds 1 and 2, whatever fds it has them at now: pipes that lead to the agent, and are not from whoever
// started the tests.
func agentsPipesOf(t *testing.T, agent *rig.Agent, name string) []string {
	t.Helper()
	agents, ours := rig.PipesOf(agent.PID()), rig.PipesOf(os.Getpid())
	output := slices.DeleteFunc(rig.PipesOf(agent.Plugin(name).PID), func(pipe string) bool {
		return !slices.Contains(agents, pipe) || slices.Contains(ours, pipe)
	})
	if len(output) == 0 {
		t.Fatal("the plugin has no pipe to the agent: there is nothing to look for")
	}
	return output
}

// The control: this way of looking finds a child with the plugin's output, and one that has ended.
func TestAChildWithThePluginsOutputWouldBeFound(t *testing.T) {
	t.Parallel()
	shell := rig.Shell(t, "/bin/true; sleep 600 & wait")
	output := rig.PipesOf(shell)
	rig.Until(t, "the child is found", func() error {
		living, ended := rig.Descendants(shell)
		if len(living) != 1 || !ended {
			return fmt.Errorf("living %v, ended %v", living, ended)
		}
		if rig.HoldersOf(output)[living[0].PID] == nil {
			return fmt.Errorf("%v is held by %v", output, rig.HoldersOf(output))
		}
		return nil
	})
}
