package rig

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// Played are USB devices that a program plays to the kernel, on a bus of the kernel's own: for a VM.
type Played struct {
	t       testing.TB
	orders  io.Writer
	answers *bufio.Scanner
	names   map[int]string
}

// NewPlayed starts the program, with nothing plugged. All is pulled out with the test's end.
func NewPlayed(t testing.TB) *Played {
	t.Helper()
	command := exec.Command("yurt-vm-usb")
	orders, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		Missing(t, "%v (runs in the VM: just vm nomad)", err)
	}
	t.Cleanup(func() { orders.Close(); _ = command.Wait() })
	return &Played{t: t, orders: orders, answers: bufio.NewScanner(answers), names: map[int]string{}}
}

// Plug puts a device into port 0 to 7 of the bus and gives the kernel's name for that port.
func (p *Played) Plug(port int, model, serial string) string {
	p.t.Helper()
	p.names[port] = p.ask("plug %d %s %s", port, model, serial)
	return p.names[port]
}

// At is the kernel's name for a port that something has been plugged into.
func (p *Played) At(port int) string { return p.names[port] }

// Unplug pulls a device out.
func (p *Played) Unplug(port int) { p.t.Helper(); p.ask("unplug %d", port) }

// Send has the device send a line.
func (p *Played) Send(port int, line string) { p.t.Helper(); p.ask("send %d %s", port, line) }

func (p *Played) ask(format string, words ...any) string {
	p.t.Helper()
	order := strings.TrimSpace(fmt.Sprintf(format, words...))
	fmt.Fprintln(p.orders, order)
	if !p.answers.Scan() {
		p.t.Fatalf("%s: no answer", order)
	}
	word, rest, _ := strings.Cut(p.answers.Text(), " ")
	if word != "ok" {
		p.t.Fatalf("%s: %s", order, p.answers.Text())
	}
	return rest
}
