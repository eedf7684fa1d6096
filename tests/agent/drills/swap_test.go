package drills

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"

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

// A guest is exchanged under a real agent and back again, with broken ones between: what the server is told of the node differs by what the
// new guest says differently and by nothing else, and a job that holds a device does not notice.
func TestAGuestIsExchangedWhileAJobHoldsADevice(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick)
	bus.Plug("1-2", rig.YubiKey)

	// The second version calls one attribute by another name of the same length.
	const before, after = "max_milliamps", "max_milliwatt"
	one := rig.Component(t, "usb")
	two := bytes.ReplaceAll(one, []byte(before), []byte(after))
	if bytes.Equal(one, two) {
		t.Fatalf("the built-in guest has no text %q", before)
	}
	versions := rig.Scratch(t)
	for name, component := range map[string][]byte{"1.wasm": one, "2.wasm": two, "broken.wasm": one[:len(one)/2]} {
		if err := os.WriteFile(filepath.Join(versions, name), component, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to string) time.Time {
		t.Helper()
		if said, err := exec.Command("ln", "-sfn", to, filepath.Join(versions, "current")).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		return time.Now()
	}
	link("1.wasm")
	agent := rig.Start(t, rig.WithYurtArgs(t, "acme", bus, "rule {}", "--guest", versions))
	ids := agent.WaitHealthy(2)
	plugin, launches := agent.Plugin("acme").PID, agent.Launches("acme")
	job := agent.Submit(rig.Sleeper("holder", ""))
	alloc := job.Runs()
	held, task := rig.DevicesOf(alloc), agent.Task(alloc.ID, "sleep").PID
	if len(held) != 1 {
		t.Fatalf("the job holds %v", held)
	}
	watch := agent.WatchNode()

	named := func(groups map[string]*api.NodeDeviceResource) (names []string) {
		for _, group := range groups {
			for _, name := range []string{before, after} {
				if group.Attributes[name] != nil && !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
		return names
	}
	shows := func(name string) {
		t.Helper()
		rig.Until(t, "the node has the attribute "+name, func() error {
			groups, err := agent.Groups()
			if names := named(groups); err != nil || !slices.Equal(names, []string{name}) {
				return fmt.Errorf("it has %v (%v)", names, err)
			}
			return nil
		})
	}
	shows(before)
	linked := link("2.wasm")
	shows(after)
	t.Logf("from ln -sfn to the node: %v", time.Since(linked).Round(10*time.Millisecond))
	for broken, said := range map[string]string{"broken.wasm": "refused at stage component", "3.wasm": "leads to 3.wasm, which is not there"} {
		link(broken)
		rig.Until(t, broken+" is refused with the reason", func() error {
			if len(agent.Log.Find(said, "@module", "yurt")) == 0 {
				return fmt.Errorf("%q is not in the log", said)
			}
			return nil
		})
	}
	shows(after)
	link("1.wasm")
	shows(before)

	// Each state of the node is of one guest, and each guest took its turn once.
	var turns []string
	for _, groups := range watch.Groups(t) {
		names := named(groups)
		if len(names) != 1 {
			t.Fatalf("the server was told of a node with %v", names)
		}
		if len(turns) == 0 || turns[len(turns)-1] != names[0] {
			turns = append(turns, names[0])
		}
	}
	if turns[0] != before {
		turns = append([]string{before}, turns...)
	}
	if !slices.Equal(turns, []string{before, after, before}) {
		t.Errorf("the server was told of %v", turns)
	}
	for _, seen := range watch.Instances(t) {
		for _, id := range ids {
			if reason, there := seen[id]; !there || reason != "" {
				t.Errorf("the server was told of a node where %s is not healthy: %v", id, seen)
			}
		}
		if len(seen) != len(ids) {
			t.Errorf("the server was told of other devices: %v", seen)
		}
	}
	now := job.Runs()
	if now.ID != alloc.ID || !slices.Equal(rig.DevicesOf(now), held) || agent.Task(alloc.ID, "sleep").PID != task || !rig.Alive(task) {
		t.Errorf("the job holds %v, not %v, or was started again", rig.DevicesOf(now), held)
	}
	if pid := agent.Plugin("acme").PID; pid != plugin || agent.Launches("acme") != launches {
		t.Errorf("the plugin was restarted: %d, then %d", plugin, pid)
	}
	job.Stop()
}
