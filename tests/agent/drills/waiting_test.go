package drills

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"yurt.dev/tests/agent/rig"
)

// Nomad remembers of a class of nodes that a job does not fit. Whatever makes a device usable has to change the class,
// or jobs that wait for it wait for ever.

// The demo's stick as a rule.
const sticks = `
    rule {
      vendor  = "0x12f7"
      product = "0x1e23"
    }
`

// Writing `authorized` tells nobody by itself, so it is looked at often.
const sticksOften = `fingerprint_period = "1s"` + sticks

func TestAJobThatWaitsForAnAbsentBusStartsWhenTheDeviceComes(t *testing.T) {
	t.Parallel()
	bus := rig.NoBus(t)
	agent := rig.Start(t, rig.WithYurt(t, "example-device", bus, sticks))
	agent.WaitHealthy(0)
	job := agent.Submit(rig.Sleeper("early", ""))
	job.KeepsWaiting(time.Second)

	bus.Appear()
	job.KeepsWaiting(time.Second)
	bus.Plug("1-1", rig.MemoryStick)
	plugged := time.Now()
	job.Runs()
	t.Logf("plug to running: %v", time.Since(plugged).Round(10*time.Millisecond))
}

func TestAJobThatWaitsForAnUnhealthyDeviceStartsWhenItIsWell(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick)
	bus.Set("1-1", "authorized", "0")
	agent := rig.Start(t, rig.WithYurt(t, "example-device", bus, sticksOften))
	rig.Until(t, "an unhealthy device on the node", func() error { return unhealthy(agent, "authori") })
	job := agent.Submit(rig.Sleeper("patient", ""))
	job.KeepsWaiting(2 * time.Second)

	bus.Set("1-1", "authorized", "1")
	agent.WaitHealthy(1)
	job.Runs()
}

func TestAJobThatWaitsForTwoHealthyDevicesStartsWhenTheSecondIsWell(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick, "--serial", "AA01")
	bus.Plug("1-2", rig.MemoryStick, "--serial", "AA02")
	bus.Set("1-2", "authorized", "0")
	agent := rig.Start(t, rig.WithYurt(t, "example-device", bus, sticksOften))
	rig.Until(t, "an unhealthy device on the node", func() error { return unhealthy(agent, "authori") })
	job := agent.Submit(rig.Sleeper("pair", "count = 2"))
	job.KeepsWaiting(2 * time.Second)

	bus.Set("1-2", "authorized", "1")
	agent.WaitHealthy(2)
	alloc := job.Runs()
	if held := rig.DevicesOf(alloc); len(held) != 2 {
		t.Errorf("the allocation holds %v", held)
	}
}

func TestADeviceInUseIsGivenToTheNextJobWhenItIsFree(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick)
	agent := rig.Start(t, rig.WithYurt(t, "example-device", bus, sticks))
	agent.WaitHealthy(1)
	first := agent.Submit(rig.Sleeper("first", ""))
	held := rig.DevicesOf(first.Runs())
	second := agent.Submit(rig.Sleeper("second", ""))
	second.KeepsWaiting(time.Second)
	first.Stop()
	if now := rig.DevicesOf(second.Runs()); len(now) != 1 || now[0] != held[0] {
		t.Errorf("the second job holds %v, the first held %v", now, held)
	}
}

// unhealthy says whether the node shows an unhealthy device, and with such a reason.
func unhealthy(agent *rig.Agent, word string) error {
	instances, err := agent.Instances()
	for _, reason := range instances {
		if reason != "" && strings.Contains(reason, word) {
			return nil
		}
	}
	if err == nil {
		err = fmt.Errorf("the node shows %v", instances)
	}
	return err
}
