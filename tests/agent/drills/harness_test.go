package drills

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"yurt.dev/tests/agent/rig"
)

// The rig itself, proved with Nomad's own example plugin, so that a drill that fails says something about Yurt.
func TestTheRigRunsANomadThatOffersAndReservesDevices(t *testing.T) {
	t.Parallel()
	rig.Needs(t, rig.ExampleBinary())
	files := t.TempDir()
	for _, name := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(files, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	agent := rig.Start(t, withFiles(files, "1s"))
	agent.WaitHealthy(2)
	if launches := agent.Launches("fsdev"); launches != 3 {
		t.Errorf("%d launches of a plugin with a schema, not 3", launches)
	}
	watch := agent.WatchNode()

	job := agent.Submit(fileHolder("holder"))
	alloc := job.Runs()
	if ids := rig.DevicesOf(alloc); len(ids) != 1 {
		t.Errorf("the allocation holds %v", ids)
	}
	if task := agent.Task(alloc.ID, "sleep"); task.Environ()["NOMAD_JOB_NAME"] != "holder" {
		t.Errorf("wrong task process: %v", task)
	}

	if said := agent.Exec(alloc, "t", "echo", "here"); said != "here\n" {
		t.Errorf("a program in the task printed %q", said)
	}
	wantNobodyElseHoldsTheOutput(t, agent, "fsdev")
	plugin := agent.Plugin("fsdev")
	rig.Kill(t, plugin.PID)
	agent.WaitForNewPlugin("fsdev", plugin.PID)

	if err := os.Remove(filepath.Join(files, "one")); err != nil {
		t.Fatal(err)
	}
	agent.WaitHealthy(1)
	rig.Until(t, "the event stream tells of the loss", func() error {
		for _, instances := range watch.Instances(t) {
			if len(instances) == 1 {
				return nil
			}
		}
		return fmt.Errorf("states seen: %v", watch.Instances(t))
	})
}

// The control for the drills about waiting jobs: with a plugin that takes no care, Nomad leaves the job blocked although the node
// shows a healthy device. If this fails, Nomad has changed and those drills prove nothing any more.
func TestNomadDoesNotWakeAJobWhenOnlyTheHealthOfADeviceChanges(t *testing.T) {
	t.Parallel()
	rig.Needs(t, rig.ExampleBinary())
	files := t.TempDir()
	file := filepath.Join(files, "one")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	permit := func(mode os.FileMode) {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	permit(0o777) // What the example plugin takes for ill.
	agent := rig.Start(t, withFiles(files, "200ms"))
	rig.Until(t, "an unhealthy device on the node", func() error { return unhealthy(agent, "") })
	job := agent.Submit(fileHolder("forgotten"))
	job.Waits()
	permit(0o644)
	agent.WaitHealthy(1)
	job.KeepsWaiting(5 * time.Second)
}

// withFiles offers the files of a folder through Nomad's example plugin.
func withFiles(folder, period string) rig.Setup {
	return rig.Setup{
		Plugins: map[string]string{"fsdev": rig.ExampleBinary()},
		Config:  []string{fmt.Sprintf("plugin \"fsdev\" {\n config {\n dir = %q\n list_period = %q\n }\n}\n", folder, period)},
	}
}

func fileHolder(id string) string {
	return `
job "` + id + `" {
  datacenters = ["dc1"]
  group "g" {
    task "t" {
      driver = "raw_exec"
      config {
        command = "sleep"
        args    = ["600"]
      }
      resources {
        cpu    = 50
        memory = 16
        device "nomad/file/mock" {}
      }
    }
  }
}
`
}
