// Package vm holds drills that need the kernel's own USB and control groups v2: `just vm nomad`.
package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"yurt.dev/tests/agent/rig"
)

// A task whose device is plugged into `port`, known by its id.
type reader struct {
	driver, serial, id string
	port               int
	// What the driver's control group makes of the device once it has other numbers.
	afterwards bool
}

// Under each driver a task has the terminal of its own device, by serial number or by port, and bytes from it; and again after a replug.
func TestATaskReadsFromItsDeviceAndAgainAfterAReplug(t *testing.T) {
	played := rig.NewPlayed(t)
	played.Plug(0, "cp2102", "AAA1")
	played.Plug(1, "cp2102", "BBB2")
	twin := played.Plug(2, "cp2102", "0001")
	played.Plug(3, "cp2102", "0001")
	agent := rig.Start(t, rig.Setup{
		Plugins: map[string]string{"usb": rig.YurtBinary(), "python-driver": rig.YurtBinary()},
		Config: []string{
			rig.PythonClient(t),
			"plugin \"usb\" {\n config {\n rule {\n driver = \"cp210x\"\n expose = \"both\"\n }\n yurt {\n node_mode = \"0666\"\n }\n }\n}\n",
			"plugin \"python-driver\" {}\n",
		},
	})
	agent.WaitHealthy(4)
	readers := []reader{
		{driver: "raw_exec", serial: "AAA1", id: "sn-AAA1", port: 0, afterwards: true},
		{driver: "exec", serial: "BBB2", id: "sn-BBB2", port: 1, afterwards: false},
		{driver: "python", serial: "0001", id: "port-" + twin, port: 2, afterwards: true},
	}
	for _, reader := range readers {
		t.Run(reader.driver, func(t *testing.T) { reader.drill(t, agent, played) })
	}
}

func (r reader) drill(t *testing.T, agent *rig.Agent, played *rig.Played) {
	stem := "YURT_USB_" + strings.ToUpper(regexp.MustCompile("[^A-Za-z0-9]").ReplaceAllString(r.id, "_"))
	alloc := agent.Submit(r.job(stem + "_TTY")).Runs()
	if held := rig.DevicesOf(alloc); !slices.Equal(held, []string{r.id}) {
		t.Fatalf("it holds %v, not %s", held, r.id)
	}
	program := "sh"
	if r.driver == "python" {
		program = filepath.Base(rig.Python3(t))
	}
	task := agent.Task(alloc.ID, program)
	tty := task.Environ()[stem+"_TTY"]
	output := agent.Follow(alloc, "t", "stdout")
	played.Send(r.port, "hello")
	output.Wait("read hello", 1)

	// The same number as before, then another one, since somebody else has taken it meanwhile.
	for round, taken := range []bool{false, true} {
		before := numbers(t, kernels(t, played.At(r.port)))
		played.Unplug(r.port)
		rig.Until(t, "the path is gone", func() error {
			if _, err := os.Stat(tty); err == nil {
				return fmt.Errorf("%s is there", tty)
			}
			return nil
		})
		if taken {
			kernels(t, played.Plug(taker(r.port), "cp2102", "TAKER"+r.serial))
		}
		now := numbers(t, kernels(t, played.Plug(r.port, "cp2102", r.serial)))
		bound := time.Now()
		inside := fmt.Sprintf("/proc/%d/root%s", task.PID, tty)
		rig.Until(t, "the path in the task is the device again", func() error {
			var stat syscall.Stat_t
			if err := syscall.Stat(inside, &stat); err != nil {
				told, _ := os.ReadFile(filepath.Join(filepath.Dir(tty), "manifest.json"))
				return fmt.Errorf("%w; the directory tells %s", err, told)
			}
			if stat.Rdev != now {
				return fmt.Errorf("it is %d, the device %d", stat.Rdev, now)
			}
			return nil
		})
		t.Logf("round %d: %d before, %d now; from the kernel's node to the task's path %v", round, before, now, time.Since(bound).Round(time.Millisecond))
		if (now != before) != taken {
			t.Errorf("the number was %d and is %d", before, now)
		}
		line := fmt.Sprintf("again-%d", round)
		played.Send(r.port, line)
		if taken && !r.afterwards {
			output.Wait("refused", 1)
		} else {
			output.Wait("read "+line, 1)
		}
	}
	if same := agent.Task(alloc.ID, program); same.PID != task.PID {
		t.Error("the task was started again")
	}
}

// taker is the port of what takes a device's number for good: the kernel gives the lowest that is free.
func taker(port int) int { return port + 5 }

// A task that prints each line that its terminal sends, and "refused" where it may not open it.
func (r reader) job(variable string) string {
	driver := `
      driver = "` + r.driver + `"
      config {
        command = "/bin/sh"
        args    = ["-c", "while :; do if read -r line 2>/dev/null < $` + variable + `; then echo \"read $line\"; else test -e $` + variable + ` && ! true 2>/dev/null < $` + variable + ` && echo refused; sleep 0.3; fi; done"]
      }`
	if r.driver == "python" {
		driver = `
      driver = "python"
      config {
        script = "local/task.py"
      }
      template {
        destination = "local/task.py"
        data = <<END
import os, time
while True:
    try:
        with open(os.environ["` + variable + `"], "rb", buffering=0) as terminal:
            if line := terminal.readline():
                print("read", line.decode().strip(), flush=True)
                continue
    except PermissionError:
        print("refused", flush=True)
    except OSError:
        pass
    time.sleep(0.3)
END
      }`
	}
	return fmt.Sprintf(`
job "reader-%s" {
  datacenters = ["dc1"]
  group "g" {
    restart {
      attempts = 0
      mode     = "fail"
    }
    task "t" {%s
      resources {
        cpu    = 50
        memory = 64
        device "usb" {
          constraint {
            attribute = "${device.ids}"
            operator  = "set_contains_any"
            value     = %q
          }
        }
      }
    }
  }
}
`, r.driver, driver, r.id)
}

// From the plug to the node as the server shows it, with the parts of kernel, plugin and Nomad.
func TestFromThePlugToTheNode(t *testing.T) {
	played := rig.NewPlayed(t)
	agent := rig.Start(t, rig.Setup{
		Plugins: map[string]string{"usb": rig.YurtBinary()},
		Config:  []string{"plugin \"usb\" {\n config {\n rule {\n driver = \"cp210x\"\n }\n }\n}\n"},
	})
	agent.WaitHealthy(0)
	var kernel, plugin, nomad []time.Duration
	for range 5 {
		known := len(agent.Changes())
		plugged := time.Now()
		name := played.Plug(0, "cp2102", "")
		kernels(t, name)
		bound := time.Now()
		rig.Until(t, "the agent knows", func() error {
			if len(agent.Changes()) == known {
				return fmt.Errorf("nothing yet")
			}
			return nil
		})
		told := time.Now()
		agent.WaitHealthy(1)
		kernel, plugin, nomad = append(kernel, bound.Sub(plugged)), append(plugin, told.Sub(bound)), append(nomad, time.Since(told))
		played.Unplug(0)
		agent.WaitHealthy(0)
	}
	for what, spans := range map[string][]time.Duration{"kernel, to the driver's node": kernel, "plugin, to the agent": plugin, "Nomad, to its API": nomad} {
		slices.Sort(spans)
		t.Logf("%-30s median %v of %v", what, spans[len(spans)/2].Round(time.Millisecond), len(spans))
	}
}

// kernels is the node of the terminal at this port of the kernel, as soon as there is one.
func kernels(t *testing.T, port string) (node string) {
	t.Helper()
	rig.Until(t, "a terminal at "+port, func() error {
		found, err := filepath.Glob("/sys/bus/usb/devices/" + port + "/" + port + ":1.0/ttyUSB*")
		if err == nil && len(found) != 1 {
			err = fmt.Errorf("%v", found)
		}
		if err == nil {
			node = filepath.Join("/dev", filepath.Base(found[0]))
			_, err = os.Stat(node)
		}
		return err
	})
	return node
}

func numbers(t *testing.T, node string) uint64 {
	t.Helper()
	var stat syscall.Stat_t
	if err := syscall.Stat(node, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Rdev
}
