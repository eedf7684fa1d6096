package drills

import (
	"slices"
	"strings"
	"testing"

	"yurt.dev/tests/agent/rig"
)

// Nomad merges the variables of all device blocks of a task, the last one wins: what one reservation says must not hide another.
func TestTwoDeviceBlocksOfATaskDoNotHideEachOther(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick, "--serial", "AA01")
	bus.Plug("1-2", rig.MemoryStick, "--serial", "AA02")
	bus.Plug("1-3", rig.CP2102, "--serial", "BB01")
	agent := rig.Start(t, rig.WithYurt(t, "usb", bus, "rule {\n port = \"1-*\"\n}"))
	agent.WaitHealthy(3)
	alloc := agent.Submit(rig.Sleeper("mixed", `
      count = 2
      constraint {
        attribute = "${device.attr.vendor_id}"
        value     = "0x12f7"
      }
    }
    device "usb" {
      constraint {
        attribute = "${device.attr.vendor_id}"
        operator  = "!="
        value     = "0x12f7"
      }
`)).Runs()

	held := rig.DevicesOf(alloc)
	slices.Sort(held)
	if !slices.Equal(held, []string{"sn-AA01", "sn-AA02", "sn-BB01"}) {
		t.Fatalf("the allocation holds %v", held)
	}
	environ := agent.Task(alloc.ID, "sleep").Environ()
	nodes, lists, manifests := map[string]bool{}, 0, 0
	for name, value := range environ {
		switch {
		case strings.HasPrefix(name, "YURT_USB_MANIFEST_"):
			manifests++
		case strings.HasPrefix(name, "YURT_USB_SN_") && strings.HasSuffix(name, "_NODE"):
			nodes[value] = true
		case strings.HasPrefix(name, "YURT_USB_") && strings.HasSuffix(name, "_IDS"):
			lists++
		}
	}
	if len(nodes) != 3 || lists != 2 || manifests != 2 {
		t.Errorf("%d nodes, %d lists of ids, %d manifests, not 3, 2 and 2, in %v", len(nodes), lists, manifests, environ)
	}
	for name, want := range map[string]string{"YURT_USB_SN_AA01_PORT": "1-1", "YURT_USB_SN_AA02_PORT": "1-2", "YURT_USB_SN_BB01_PORT": "1-3"} {
		if environ[name] != want {
			t.Errorf("%s is %q, not %q", name, environ[name], want)
		}
	}
}
