package drills

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"yurt.dev/tests/agent/rig"
)

func TestTwentyKillsOfThePluginLoseNoDevice(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick, "--serial", "AA01")
	bus.Plug("1-2", rig.MemoryStick, "--serial", "AA02")
	agent := rig.Start(t, rig.WithYurt(t, "example-device", bus, sticks))
	agent.WaitHealthy(2)
	alloc := agent.Submit(rig.Sleeper("holder", "")).Runs()
	task := agent.Task(alloc.ID, "sleep")
	watch := agent.WatchNode()
	before := agent.Changes()

	var slowest time.Duration
	for kill := range 20 {
		plugin := agent.Plugin("example-device")
		start := time.Now()
		rig.Kill(t, plugin.PID)
		agent.WaitForNewPlugin("example-device", plugin.PID)
		slowest = max(slowest, time.Since(start))
		// A plugin that dies while it is being configured is given up by Nomad, for good: that is not what is drilled. Fresh
		// figures say that the new one serves.
		rig.Until(t, "figures from the new process", func() error { return fresh(agent, alloc.NodeID, "sn-AA01", start) })
		time.Sleep(time.Duration(kill%4) * 100 * time.Millisecond)
	}
	t.Logf("kill to the next process: at most %v", slowest.Round(time.Millisecond))
	rig.Throughout(t, 2*time.Second, "the node's devices", func() error {
		instances, err := agent.Instances()
		if err == nil && (len(instances) != 2 || instances["sn-AA01"]+instances["sn-AA02"] != "") {
			err = fmt.Errorf("%v", instances)
		}
		return err
	})

	if launches := agent.Launches("example-device"); launches != 3+20 {
		t.Errorf("%d launches, not 3 and 20", launches)
	}
	for _, instances := range watch.Instances(t) {
		if len(instances) != 2 || instances["sn-AA01"]+instances["sn-AA02"] != "" {
			t.Errorf("the server was told of %v", instances)
		}
	}
	// A fresh process that begins with an empty list takes the devices away for a moment, in which a reservation fails.
	if after := agent.Changes(); len(after) != len(before) {
		t.Errorf("the offer changed %d times; numbers of groups: %v", len(after)-len(before), after[len(before):])
	}
	if !rig.Alive(task.PID) {
		t.Error("the task died with the plugin")
	}
	wantNobodyElseHoldsTheOutput(t, agent, "example-device")

	// The last one is as good as the first: it sees an unplug, and reserves.
	bus.Unplug("1-2")
	agent.WaitHealthy(1)
	bus.Plug("1-2", rig.MemoryStick, "--serial", "AA02")
	agent.WaitHealthy(2)
	agent.Submit(rig.Sleeper("other", "")).Runs()
}

func fresh(agent *rig.Agent, node, id string, since time.Time) error {
	stats, err := agent.API.Nodes().Stats(node, nil)
	if err != nil {
		return err
	}
	if figures := figuresOf(stats.DeviceStats, id); figures == nil || figures.Timestamp.Before(since) {
		return fmt.Errorf("figures: %v", figures)
	}
	return nil
}

// SIGKILL to the agent leaves the plugin alone, with a stderr that nobody reads.
func TestAPluginOfACrashedAgentLivesOnAndMakesWayForItsSuccessor(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick, "--serial", "AA01")
	setup := rig.WithYurt(t, "example-device", bus, sticks+"\n    yurt {\n      log_level = \"debug\"\n    }\n")
	setup.Lasting = true
	agent := rig.Start(t, setup)
	agent.WaitHealthy(1)
	job := agent.Submit(rig.Sleeper("survivor", ""))
	alloc := job.Runs()
	task := agent.Task(alloc.ID, "sleep")
	orphan := agent.Plugin("example-device")

	agent.Crash()
	makeThePluginComplain(t, agent)
	bus.Plug("1-2", rig.MemoryStick, "--serial", "AA02")
	rig.Until(t, "a log line of the orphan, which nobody reads", func() error {
		files, _ := filepath.Glob(filepath.Join(agent.StateDir(), "*", "example-device.log"))
		if len(files) == 1 {
			if about, err := os.Stat(files[0]); err == nil && about.Size() > 0 {
				return nil
			}
		}
		return fmt.Errorf("nothing in %v", files)
	})
	rig.Throughout(t, 2*time.Second, "the orphan", func() error {
		if !rig.Alive(orphan.PID) {
			return fmt.Errorf("it died with the agent's end of its stderr")
		}
		return nil
	})

	agent.Start()
	successor := agent.WaitForNewPlugin("example-device", orphan.PID)
	if rig.Alive(orphan.PID) {
		t.Error("the orphan is still there beside its successor")
	}
	agent.WaitHealthy(2)
	if launches := agent.Launches("example-device"); launches != 3 {
		t.Errorf("beside the orphan the new agent needed %d launches, not 3", launches)
	}
	if !rig.Alive(task.PID) {
		t.Error("the task did not survive the agent")
	}
	if now := job.Runs(); now.ID != alloc.ID {
		t.Errorf("the job was placed anew: %s instead of %s", now.ID, alloc.ID)
	}

	// The successor has the bus to itself: it hears of an unplug and a plug, and serves a reservation. (This agent, not being a -dev
	// one, tells its server only 5 to 10 s later.)
	before := len(agent.Changes())
	bus.Unplug("1-2")
	rig.Until(t, "the unplug is heard", func() error { return changed(agent, before+1) })
	bus.Plug("1-2", rig.MemoryStick, "--serial", "AA02")
	rig.Until(t, "the plug is heard", func() error { return changed(agent, before+2) })
	agent.Submit(rig.Sleeper("newcomer", "")).Runs()
	if now := agent.Plugin("example-device"); now.PID != successor.PID {
		t.Errorf("the successor %d was replaced by %d", successor.PID, now.PID)
	}
	wantNobodyElseHoldsTheOutput(t, agent, "example-device")
	wantNoComplaint(t, agent)
}

func changed(agent *rig.Agent, want int) error {
	if changes := agent.Changes(); len(changes) < want {
		return fmt.Errorf("%d changes of the offer", len(changes))
	}
	return nil
}

// The policy's memory can no longer be written, so the next change of the offer makes the plugin write a log line for sure.
func makeThePluginComplain(t *testing.T, agent *rig.Agent) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(agent.StateDir(), "*", "example-device.memory.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the policy's memory is kept in %v (%v), not in one file", files, err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(files[0], "in-the-way"), 0o755); err != nil {
		t.Fatal(err)
	}
}
