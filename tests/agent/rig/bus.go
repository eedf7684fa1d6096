package rig

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"
)

// Bus is a simulated USB bus: a sysfs tree and uevents, written by `yurt simulate` as the kernel would.
type Bus struct {
	t   testing.TB
	Dir string
}

// Models of `yurt simulate`.
const (
	MemoryStick = "memory-stick" // 12f7:1e23, the demo's
	CP2102      = "cp2102"
	YubiKey     = "yubikey" // 1050:…, an id of digits only
	NoStrings   = "no-strings"
)

// NewBus is an empty bus with one root hub.
func NewBus(t testing.TB) *Bus {
	t.Helper()
	bus := NoBus(t)
	bus.Appear()
	return bus
}

// NoBus is a machine without any USB until Appear.
func NoBus(t testing.TB) *Bus {
	t.Helper()
	Needs(t, YurtBinary())
	return &Bus{t: t, Dir: filepath.Join(Scratch(t), "usb")}
}

// Appear makes the bus with its root hub.
func (b *Bus) Appear() { b.t.Helper(); b.simulate("init", b.Dir) }

// Plug puts a device in; more are flags of `yurt simulate plug`.
func (b *Bus) Plug(port, model string, more ...string) {
	b.t.Helper()
	b.simulate(append([]string{"plug", b.Dir, port, model}, more...)...)
}

// Unplug pulls a device out.
func (b *Bus) Unplug(port string) { b.t.Helper(); b.simulate("unplug", b.Dir, port) }

// Set writes a sysfs attribute of a device and tells of it.
func (b *Bus) Set(port, attribute, value string) {
	b.t.Helper()
	b.simulate("set", b.Dir, port, attribute, value)
}

func (b *Bus) simulate(args ...string) {
	b.t.Helper()
	Yurt(b.t, append([]string{"simulate"}, args...)...)
}

// Yurt runs yurt's command line and gives what it printed.
func Yurt(t testing.TB, args ...string) string {
	t.Helper()
	Needs(t, YurtBinary())
	var complaints bytes.Buffer
	command := exec.Command(YurtBinary(), args...)
	command.Stderr = &complaints
	out, err := command.Output()
	if err != nil {
		t.Fatalf("yurt %v: %v\n%s%s", args, err, out, complaints.String())
	}
	return string(out)
}
