package drills

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yurt.dev/tests/agent/rig"
)

func TestAnAgentStartLaunchesThePluginThreeTimesAndKeepsOne(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick)
	// Each SetConfig finds the same fault, a warning only: that makes the calls countable in the agent's log.
	agent := rig.Start(t, rig.WithYurt(t, "example-device", bus, `
    rule {
      vendor = "1050"
    }
    rule {
      class = "storage"
    }
`))
	agent.WaitHealthy(1)
	if launches := agent.Launches("example-device"); launches != 3 {
		t.Errorf("%d launches, not 3", launches)
	}
	if plugin := agent.Plugin("example-device"); plugin.Parent != agent.PID() {
		t.Errorf("the plugin is a child of %d, not of the agent %d", plugin.Parent, agent.PID())
	}
	// Twice in the copy that checks the configuration, once in the one that stays.
	if calls := len(agent.Log.Find("is read as a decimal number")); calls != 3 {
		t.Errorf("%d lines about the configuration, not 3", calls)
	}
	wantNoComplaint(t, agent)

	took := agent.Interrupt()
	t.Logf("SIGINT to the agent's end: %v", took.Round(time.Millisecond))
	if took > 1500*time.Millisecond {
		t.Errorf("the agent ended after %v: it waits 2 s for a plugin that does not end by itself", took)
	}
	if left := agent.Plugins("example-device"); len(left) != 0 {
		t.Errorf("the plugin outlives an agent that ended in order: %v", left)
	}
	wantNoComplaint(t, agent)
}

// A client is started, and registers its node, once it has every plugin's first message; it tells of a second one only 5 to 10 s
// later (with -dev, 1 s). So the first message has to be the true one, or each start of an agent begins with a node without devices.
func TestTheFirstMessageHasTheDevices(t *testing.T) {
	t.Parallel()
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "one"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick)
	for name, setup := range map[string]rig.Setup{
		"the control, Nomad's example plugin": withFiles(files, "1s"),
		"Yurt":                                rig.WithYurt(t, "example-device", bus, ""),
	} {
		t.Run(name, func(t *testing.T) {
			agent := rig.Start(t, setup)
			agent.WaitHealthy(1)
			order := agent.Log.Order("new devices detected", "started client")
			if len(order) < 2 || order[0] != "new devices detected" {
				t.Errorf("the client was started without the devices: %q", order)
			}
		})
	}
}

func TestALinkCalledUsbIsServed(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.NoStrings)
	agent := rig.Start(t, rig.WithYurt(t, "usb", bus, "rule {\n port = \"1-*\"\n}"))
	ids := agent.WaitHealthy(1)
	if ids[0] != "port-1-1" {
		t.Errorf("a device without strings is called %s, not by its place", ids[0])
	}
}

// What the README tells an operator to do; only the bus is another one.
func TestWhatInstallLinksAndPrintsIsServed(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick)
	bus.Plug("1-2", rig.CP2102)
	agent := rig.Prepare(t, rig.Setup{})
	agent.Configure(rig.Yurt(t, "install", "--plugin-dir", agent.PluginDir))
	agent.Configure(fmt.Sprintf("plugin \"usb\" {\n  args = [\"--usb-root\", %q]\n}\n", bus.Dir))
	agent.Start()
	agent.WaitHealthy(1)
	wantText(t, onlyGroup(t, agent), "vendor_id", "0x12f7")
	agent.Submit(rig.Sleeper("reader", `
      constraint {
        attribute = "${device.attr.vendor_id}"
        value     = "0x12f7"
      }
`)).Runs()
}

func TestAPluginFileWithoutAStanzaIsNotTouched(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick)
	setup := rig.WithYurt(t, "usb", bus, sticks)
	setup.Config = nil
	agent := rig.Start(t, setup)
	if skipped := agent.Log.Find("loading skipped"); len(skipped) != 1 {
		t.Errorf("%d lines say that a plugin was skipped, not 1", len(skipped))
	}
	if launches := agent.Launches("usb"); launches != 0 {
		t.Errorf("%d launches, not 0", launches)
	}
	agent.WaitHealthy(0)
}

// What the operator typed wrong stops the agent, by Nomad's rules; then the agent's last words have to name it.
func TestABadConfigurationStopsTheAgentInOneSentence(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	for name, bad := range map[string]struct {
		config string
		words  []string
	}{
		"period out of range": {`fingerprint_period = "0s"`, []string{"fingerprint_period", "0s", "100ms to 24h"}},
		"period not a time":   {`fingerprint_period = "soon"`, []string{"fingerprint_period", "soon"}},
		"vendor not a number": {`target_vendor_id = "banana"`, []string{"target_vendor_id", "number"}},
		"vendor out of range": {`target_vendor_id = 65536`, []string{"target_vendor_id", "65536", "65535"}},
		"rule with a typo":    {"rule {\n vendor = \"12f7\"\n }", []string{"rule[0].vendor", "12f7", "0x12f7"}},
		"unknown key":         {`fingerprint_perod = "1s"`, []string{"fingerprint_perod"}},
		"host's own block":    {"yurt {\n settle = \"soon\"\n }", []string{"yurt.settle", "soon", "250ms"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, reason := rig.Prepare(t, rig.WithYurt(t, "usb", bus, bad.config)).StartRefused()
			t.Log(reason)
			if code == 0 {
				t.Error("the agent ended with 0")
			}
			for _, word := range bad.words {
				if !strings.Contains(reason, word) {
					t.Errorf("the agent's reason lacks %q", word)
				}
			}
		})
	}
}

// Here the agent has only the plugin's last words to show.
func TestAPluginFileOfANameThatStandsForNothingIsRefusedInOneSentence(t *testing.T) {
	t.Parallel()
	agent := rig.Prepare(t, rig.WithYurt(t, "gadget", rig.NewBus(t), sticks))
	code, reason := agent.StartRefused()
	t.Log(reason)
	if code == 0 {
		t.Error("the agent ended with 0")
	}
	said := agent.Log.Find("stands for no guest")
	if len(said) != 1 || !strings.Contains(said[0].Message(), "gadget") || !strings.Contains(said[0].Message(), "--guest") {
		t.Errorf("the agent's log says %v", said)
	}
}

// The agent finds nothing wrong with how the plugin behaves.
func wantNoComplaint(t *testing.T, agent *rig.Agent) {
	t.Helper()
	for _, complaint := range []string{
		"plugin failed to exit gracefully",
		"plugin exited unexpectedly",
		"error killing plugin",
		"fingerprinting returned an error",
		"returned devices failed fingerprinting",
		"stats returned an error",
		"error encountered while scanning stdout",
	} {
		for _, line := range agent.Log.Find(complaint) {
			if strings.Contains(line.Raw, "task_hook.logmon") {
				// The agent's own collector of logs, which it took over from an agent before it.
				continue
			}
			t.Errorf("the agent complains: %s", line.Raw)
		}
	}
}
