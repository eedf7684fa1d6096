package drills

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"yurt.dev/tests/agent/rig"
)

// A rule changes on a live node by saving a file: no process is restarted, and a job keeps its device.
func TestARuleChangesByAFileWhileAJobHoldsADevice(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick)
	bus.Plug("1-2", rig.YubiKey)
	rules := filepath.Join(t.TempDir(), "usb.hcl")
	save := func(text string) time.Time {
		t.Helper()
		draft := rules + ".draft"
		if err := os.WriteFile(draft, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(draft, rules); err != nil {
			t.Fatal(err)
		}
		return time.Now()
	}
	save("rule {\n  vendor = \"0x12f7\"\n}\n")
	agent := rig.Start(t, rig.WithYurt(t, "usb", bus, "rule {\n  class = \"audio\"\n}\nyurt {\n  policy_file = \""+rules+"\"\n}"))
	held := agent.WaitHealthy(1)
	plugin, launches := agent.Plugin("usb").PID, agent.Launches("usb")
	job := agent.Submit(rig.Sleeper("holder", ""))
	alloc := job.Runs()
	watch := agent.WatchNode()

	// What the server is told comes in a batch of the agent's, at most a second later.
	saved := save("rule {}\n")
	both := agent.WaitHealthy(2)
	took := time.Since(saved)
	t.Logf("from saving to the node: %v", took.Round(10*time.Millisecond))
	if took > 3*time.Second {
		t.Errorf("the node showed the new rule's device after %v", took)
	}
	if !slices.Contains(both, held[0]) {
		t.Errorf("the node shows %v without %s, which a job holds", both, held[0])
	}

	save("rule {\n  vendro = \"0x12f7\"\n}\n")
	rig.Until(t, "the typo is told with its line", func() error {
		if len(agent.Log.Find(rules+":2:3: no key or block is called", "@module", "yurt")) == 0 {
			return errors.New("it is not in the log")
		}
		return nil
	})
	if now, err := agent.Instances(); err != nil || len(now) != 2 {
		t.Errorf("after a typo the node shows %v (%v)", now, err)
	}

	for _, seen := range watch.Instances(t) {
		if _, there := seen[held[0]]; !there || seen[held[0]] != "" {
			t.Errorf("the server was told of a node without the held device: %v", seen)
		}
	}
	if ids := rig.DevicesOf(job.Runs()); !slices.Equal(ids, held) || !rig.Alive(agent.Task(alloc.ID, "sleep").PID) {
		t.Errorf("the job holds %v, not %v", ids, held)
	}
	if pid := agent.Plugin("usb").PID; pid != plugin || agent.Launches("usb") != launches {
		t.Errorf("the plugin was restarted: %d, then %d", plugin, pid)
	}
	job.Stop()
}
