package drills

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"yurt.dev/tests/agent/rig"
)

// The demo with its own agent file and its own job, from the node's first look at the stick to its return after an unplug.
func TestTheDemoRuns(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick)
	bus.Plug("1-2", rig.YubiKey)
	agent := rig.Start(t, rig.WithYurt(t, "example-device", bus, ""))

	id := agent.WaitHealthy(1)[0]
	group := onlyGroup(t, agent)
	t.Logf("%s/%s/%s offers %s", group.Vendor, group.Type, group.Name, id)
	wantText(t, group, "vendor_id", "0x12f7")
	wantText(t, group, "product_id", "0x1e23")
	wantInteger(t, group, "vendor_id_number", 4855)
	wantInteger(t, group, "product_id_number", 7715)

	job := agent.SubmitFile(rig.Repository("examples", "demo", "device-demo.nomad.hcl"))
	alloc := job.Runs()
	if held := rig.DevicesOf(alloc); !slices.Equal(held, []string{id}) {
		t.Fatalf("the allocation holds %v, not %s", held, id)
	}
	task := agent.Task(alloc.ID, "sleep")
	wantReservation(t, "the kernel", task.Environ(), group, id)
	wantReservation(t, "alloc exec", rig.Variables(agent.Exec(alloc, "demo", "env", "-0")), group, id)

	wantStatistics(t, agent, alloc, id)
	wantNobodyElseHoldsTheOutput(t, agent, "example-device")

	bus.Unplug("1-1")
	agent.WaitHealthy(0)
	if !rig.Alive(task.PID) {
		t.Error("the task of an unplugged device was ended; Nomad lets it run")
	}
	job.Stop()
	again := agent.Submit(rig.Sleeper("again", ""))
	again.KeepsWaiting(2 * time.Second)

	bus.Plug("1-1", rig.MemoryStick)
	plugged := time.Now()
	back := agent.WaitHealthy(1)[0]
	if back != id {
		t.Errorf("the replugged stick is %s, it was %s", back, id)
	}
	seen := time.Since(plugged)
	again.Runs()
	t.Logf("replug to the node: %v, to running: %v", seen.Round(10*time.Millisecond), time.Since(plugged).Round(10*time.Millisecond))
	if seen > 6*time.Second {
		t.Errorf("the node showed the stick after %v: that was the poll of every 10 s, not the event", seen)
	}
	wantNoComplaint(t, agent)
	// Nothing was wrong, so an operator finds no warning of the plugin in the agent's log.
	for _, level := range []string{"warn", "error"} {
		for _, line := range agent.Log.Find("", "@module", "yurt", "@level", level) {
			t.Errorf("the plugin warns though all is well: %s", line.Raw)
		}
	}
}

func onlyGroup(t *testing.T, agent *rig.Agent) *api.NodeDeviceResource {
	t.Helper()
	groups, err := agent.Groups()
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) != 1 {
		t.Fatalf("the node shows the groups %v, not one", slices.Collect(maps.Keys(groups)))
	}
	for _, group := range groups {
		if group.Type != "usb" {
			t.Errorf("the type is %q, not usb", group.Type)
		}
		return group
	}
	return nil
}

func wantText(t *testing.T, group *api.NodeDeviceResource, name, want string) {
	t.Helper()
	if attribute := group.Attributes[name]; attribute == nil || attribute.StringVal == nil || *attribute.StringVal != want {
		t.Errorf("attribute %s is %v, not the text %q", name, attribute, want)
	}
}

func wantInteger(t *testing.T, group *api.NodeDeviceResource, name string, want int64) {
	t.Helper()
	if attribute := group.Attributes[name]; attribute == nil || attribute.IntVal == nil || *attribute.IntVal != want {
		t.Errorf("attribute %s is %v, not the integer %d", name, attribute, want)
	}
}

// The task's environment, by `source`, holds what a reservation hands out.
func wantReservation(t *testing.T, source string, environ map[string]string, group *api.NodeDeviceResource, id string) {
	t.Helper()
	upper := func(text string) string {
		return strings.Map(func(r rune) rune {
			if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
				return r
			}
			return '_'
		}, strings.ToUpper(text))
	}
	stem := "YURT_USB_" + upper(id)
	wants := map[string]func(string) bool{
		fmt.Sprintf("YURT_USB_%s_%s_IDS", upper(group.Vendor), upper(group.Name)): func(v string) bool { return v == id },
		stem + "_NODE":                   func(v string) bool { return strings.Contains(v, "/bus/usb/001/") },
		stem + "_PORT":                   func(v string) bool { return v == "1-1" },
		"YURT_USB_MANIFEST_" + upper(id): func(v string) bool { return strings.Contains(v, `"0x12f7"`) && strings.Contains(v, id) },
		"NOMAD_TASK_NAME":                func(v string) bool { return v == "demo" },
	}
	for name, good := range wants {
		if value, found := environ[name]; !found || !good(value) {
			t.Errorf("by %s the task has %s=%q", source, name, value)
		}
	}
	if t.Failed() {
		t.Logf("the task's environment: %v", environ)
	}
}

// Figures of the device in the API of the node and in that of the allocation, and they are fresh.
func wantStatistics(t *testing.T, agent *rig.Agent, alloc *api.Allocation, id string) {
	t.Helper()
	var first time.Time
	rig.Until(t, "figures of the device", func() error {
		stats, err := agent.API.Nodes().Stats(alloc.NodeID, nil)
		if err != nil {
			return err
		}
		figures := figuresOf(stats.DeviceStats, id)
		switch {
		case figures == nil || figures.Summary == nil || figures.Stats == nil:
			return fmt.Errorf("the node's figures are %v", figures)
		case figures.Summary.Desc == "" || figures.Summary.IntNumeratorVal == nil && figures.Summary.FloatNumeratorVal == nil:
			return fmt.Errorf("the summary says nothing: %+v", figures.Summary)
		case time.Since(figures.Timestamp) > 10*time.Second:
			return fmt.Errorf("the figures are of %v", figures.Timestamp)
		case first.IsZero():
			first = figures.Timestamp
			return fmt.Errorf("seen once")
		case !figures.Timestamp.After(first):
			return fmt.Errorf("the figures stay those of %v", first)
		}
		return nil
	})
	rig.Until(t, "figures in the allocation", func() error {
		stats, err := agent.API.Allocations().Stats(alloc, nil)
		if err != nil {
			return err
		}
		if figuresOf(stats.ResourceUsage.DeviceStats, id) == nil {
			return fmt.Errorf("device figures: %v", stats.ResourceUsage.DeviceStats)
		}
		return nil
	})
}

func figuresOf(groups []*api.DeviceGroupStats, id string) *api.DeviceStats {
	for _, group := range groups {
		if figures := group.InstanceStats[id]; figures != nil {
			return figures
		}
	}
	return nil
}
