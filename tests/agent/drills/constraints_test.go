package drills

import (
	"fmt"
	"strings"
	"testing"

	"yurt.dev/tests/agent/rig"
)

// Nomad reads a literal that looks like a number as one, so an id of digits only is the hard case: 0x1050, `1050`.
func TestAnIDOfDigitsOnlyIsMatchedByConstraints(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.YubiKey, "--vendor", "0x1050", "--product", "0x0407", "--serial", "0004321")
	bus.Plug("1-2", rig.MemoryStick)
	agent := rig.Start(t, rig.WithYurt(t, "usb", bus, `
    rule {
      vendor = "0x1050"
    }
`))
	id := agent.WaitHealthy(1)[0]
	group := onlyGroup(t, agent)
	wantText(t, group, "vendor_id", "0x1050")
	wantInteger(t, group, "vendor_id_number", 4176)

	for _, constraint := range []struct {
		attribute, operator, value string
		placed                     bool
	}{
		{"${device.attr.vendor_id}", "=", "0x1050", true},
		{"${device.attr.product_id}", "=", "0x0407", true},
		{"${device.attr.vendor_id_number}", "=", "4176", true},
		{"${device.attr.product_id_number}", "=", "1031", true},
		{"${device.attr.vendor_id}", "set_contains", "0x1050", true},
		{"${device.ids}", "set_contains_any", id, true},
		{"${device.vendor}", "=", group.Vendor, true},
		{"${device.model}", "=", group.Name, true},
		{"${device.attr.vendor_id}", "=", "0x1051", false},
		{"${device.attr.vendor_id_number}", "=", "1050", false},
		{"${device.ids}", "set_contains_any", "sn-4321", false},
	} {
		name := strings.NewReplacer("${device.", "", "}", "", ".", "_").Replace(constraint.attribute)
		t.Run(fmt.Sprintf("%s %s %s", name, constraint.operator, constraint.value), func(t *testing.T) {
			job := agent.Submit(rig.Sleeper("constrained", fmt.Sprintf(
				"constraint {\n attribute = \"$%s\"\n operator = %q\n value = %q\n}",
				constraint.attribute, constraint.operator, constraint.value)))
			if constraint.placed {
				job.Runs()
			} else {
				job.Waits()
			}
			job.Purge()
		})
	}
}
