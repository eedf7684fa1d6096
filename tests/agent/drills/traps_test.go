package drills

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/api"
	"yurt.dev/tests/agent/rig"
)

// What Nomad does by itself, and what a plugin has to do about it.

// Of two groups of one name Nomad keeps the last; a name with a slash is cut where a job names it; the order is whatever a plugin says.
func TestDevicesOfOneNameAreOneGroupUnderANameThatAJobCanSay(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick, "--serial", "AA01")
	bus.Plug("1-2", rig.CP2102, "--serial", "BB02")
	bus.Plug("1-3", rig.MemoryStick, "--serial", "AA03")
	bus.Plug("1-4", rig.YubiKey)
	agent := rig.Start(t, rig.WithYurt(t, "usb", bus, "rule {\n serial = \"*\"\n vendor_name = \"lab\"\n group = \"bench\"\n}\nrule {}"))
	agent.WaitHealthy(4)
	groups, err := agent.Groups()
	if err != nil {
		t.Fatal(err)
	}
	bench := groups["lab/usb/bench"]
	if bench == nil || len(bench.Instances) != 3 || len(groups) != 2 {
		t.Fatalf("the node has %v", groups)
	}
	for place, id := range []string{"sn-AA01", "sn-AA03", "sn-BB02"} {
		if bench.Instances[place].ID != id {
			t.Errorf("instance %d is %s, not %s", place, bench.Instances[place].ID, id)
		}
	}
	for name := range groups {
		if strings.Count(name, "/") != 2 || strings.ToLower(name) != name {
			t.Errorf("no job can name the group %q", name)
		}
		agent.Submit(strings.Replace(rig.Sleeper("of-"+strings.ReplaceAll(name, "/", "-"), ""), `device "usb"`, fmt.Sprintf("device %q", name), 1)).Runs()
	}
}

// Nomad finds out on which socket of the machine a device is by the address of its host controller.
func TestADeviceHasTheLocalityOfItsHostController(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick)
	agent := rig.Start(t, rig.WithYurt(t, "usb", bus, "rule {}"))
	agent.WaitHealthy(1)
	groups, err := agent.Groups()
	if err != nil {
		t.Fatal(err)
	}
	for name, group := range groups {
		if locality := group.Instances[0].Locality; locality == nil || locality.PciBusID != "0000:00:14.0" {
			t.Errorf("%s is at %+v", name, locality)
		}
	}
}

// A device that left after the scheduler had chosen it: the reservation is refused in words, and the allocation is placed again.
func TestAReservationOfADeviceThatJustLeftIsPlacedAgain(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick, "--serial", "AA01")
	setup := rig.WithYurt(t, "usb", bus, "rule {}")
	// Its server is told of an unplug five to ten seconds later: meanwhile the scheduler believes in the device.
	setup.Lasting = true
	agent := rig.Start(t, setup)
	agent.WaitHealthy(1)
	before := len(agent.Changes())
	bus.Unplug("1-1")
	rig.Until(t, "the agent hears of the unplug", func() error { return changed(agent, before+1) })
	job := agent.Submit(strings.Replace(rig.Sleeper("late", ""), "    restart {", "    reschedule {\n      delay          = \"5s\"\n      delay_function = \"constant\"\n      unlimited      = true\n    }\n    restart {", 1))
	var refused string
	rig.Until(t, "the reservation is refused", func() error {
		stubs, _, err := agent.API.Jobs().Allocations(job.ID, true, nil)
		if err != nil {
			return err
		}
		for _, stub := range stubs {
			for _, task := range stub.TaskStates {
				for _, event := range task.Events {
					if strings.Contains(event.DisplayMessage, "AA01") {
						refused = event.DisplayMessage
						return nil
					}
				}
			}
			if stub.ClientStatus == api.AllocClientStatusRunning {
				return fmt.Errorf("it runs without its device")
			}
		}
		return fmt.Errorf("%d allocations", len(stubs))
	})
	t.Log(refused)
	bus.Plug("1-1", rig.MemoryStick, "--serial", "AA01")
	alloc := job.Runs()
	if held := rig.DevicesOf(alloc); len(held) != 1 || held[0] != "sn-AA01" {
		t.Errorf("it holds %v", held)
	}
}

// After the agent and then the task were started again Nomad gives the task neither its devices nor its mounts, only the variables: so
// those have to name what is still there.
func TestARestartedTaskOfARestartedAgentStillFindsItsDevice(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.CP2102, "--serial", "AA01")
	setup := rig.WithYurt(t, "usb", bus, "rule {\n expose = \"mount\"\n}")
	setup.Lasting = true
	agent := rig.Start(t, setup)
	agent.WaitHealthy(1)
	alloc := agent.Submit(rig.Sleeper("holder", "")).Runs()
	first := agent.Task(alloc.ID, "sleep")
	tty := first.Environ()["YURT_USB_SN_AA01_TTY"]
	orphan := agent.Plugin("usb")
	agent.Crash()
	agent.Start()
	agent.WaitForNewPlugin("usb", orphan.PID)
	agent.WaitHealthy(1)
	agent.Restart(alloc, "t")
	second := agent.Task(alloc.ID, "sleep")
	if second.PID == first.PID {
		t.Fatal("the task was not started again")
	}
	if again := second.Environ()["YURT_USB_SN_AA01_TTY"]; again != tty || tty == "" {
		t.Fatalf("the variable is %q, was %q", again, tty)
	}
	// And replugged since.
	bus.Unplug("1-1")
	bus.Plug("1-1", rig.CP2102, "--serial", "AA01")
	rig.Until(t, "the device at the path of the first start", func() error {
		var stat syscall.Stat_t
		if err := syscall.Stat(fmt.Sprintf("/proc/%d/root%s", second.PID, tty), &stat); err != nil {
			return err
		}
		if stat.Mode&syscall.S_IFMT != syscall.S_IFCHR {
			return fmt.Errorf("mode %o", stat.Mode)
		}
		return nil
	})
}
