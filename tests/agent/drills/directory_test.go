package drills

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"yurt.dev/tests/agent/rig"
)

// What a directory's manifest.json tells of its one device.
type manifest struct {
	Devices []struct {
		Present    bool
		Generation int
		Nodes      []struct {
			Name string
			Node *struct{ Major, Minor uint32 }
		}
	}
}

func told(directory string) (all manifest, err error) {
	text, err := os.ReadFile(filepath.Join(directory, "manifest.json"))
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	return all, err
}

// The directory that a rule mounts goes through Nomad into the task, whichever driver runs it, and follows the device while the task runs.
func TestADirectoryFollowsADeviceIntoARunningTask(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.CP2102, "--serial", "AA01")
	bus.Plug("1-2", rig.CP2102, "--serial", "AA02")
	setup := rig.WithYurt(t, "usb", bus, "rule {\n serial = \"AA01\"\n expose = \"both\"\n}\nrule {\n expose = \"mount\"\n}\nyurt {\n settle = \"20ms\"\n}")
	setup.Config = append(setup.Config, rig.PythonClient(t))
	agent := rig.Start(t, setup)
	agent.WaitHealthy(2)
	// A simulated bus has no nodes below the host's /dev, which exec would insist on: its task gets the directory alone.
	for serial, driver := range map[string]string{"AA01": "raw_exec", "AA02": "exec"} {
		job := strings.Replace(rig.Sleeper("holder-"+driver, fmt.Sprintf(`
          constraint {
            attribute = "${device.ids}"
            operator  = "set_contains_any"
            value     = "sn-%s"
          }`, serial)), "raw_exec", driver, 1)
		alloc := agent.Submit(job).Runs()
		held := rig.DevicesOf(alloc)[0]
		port := map[string]string{"sn-AA01": "1-1", "sn-AA02": "1-2"}[held]
		task := agent.Task(alloc.ID, "sleep")
		stem := "YURT_USB_" + strings.ReplaceAll(strings.ToUpper(held), "-", "_")
		directory, tty := task.Environ()[stem+"_DIR"], task.Environ()[stem+"_TTY"]
		if directory == "" || tty != directory+"/tty" {
			t.Fatalf("%s: the directory is %q, the tty %q", driver, directory, tty)
		}
		// As the task sees it.
		inside := func(path string) (numbers uint64, err error) {
			var stat syscall.Stat_t
			err = syscall.Stat(fmt.Sprintf("/proc/%d/root%s", task.PID, path), &stat)
			return stat.Rdev, err
		}
		before, err := inside(directory + "/usb")
		if err != nil {
			t.Fatalf("%s: %v", driver, err)
		}
		was, err := told(directory)
		if err != nil {
			t.Fatal(err)
		}

		bus.Unplug(port)
		rig.Until(t, driver+": no node while the device is away", func() error {
			if _, err := inside(tty); err == nil {
				return fmt.Errorf("%s is there", tty)
			}
			return nil
		})
		bus.Plug(port, rig.CP2102, "--serial", serial)
		plugged := time.Now()
		rig.Until(t, driver+": the nodes are there again", func() error { _, err := inside(tty); return err })
		took := time.Since(plugged)
		now, err := told(directory)
		if err != nil {
			t.Fatal(err)
		}
		after, err := inside(directory + "/usb")
		if err != nil || after == before {
			t.Errorf("%s: the usbfs node is %d, as before the replug, %v", driver, after, err)
		}
		if now.Devices[0].Generation <= was.Devices[0].Generation {
			t.Errorf("%s: generation %d after %d", driver, now.Devices[0].Generation, was.Devices[0].Generation)
		}
		if same := agent.Task(alloc.ID, "sleep"); same.PID != task.PID {
			t.Errorf("%s: the task was started again", driver)
		}
		t.Logf("%s: plugged to opened path: %v", driver, took.Round(time.Millisecond))
		agent.WaitHealthy(2)
	}
}
