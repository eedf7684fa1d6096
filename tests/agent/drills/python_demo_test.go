package drills

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"yurt.dev/tests/agent/rig"
)

// The demo's second job with the demo's own agent file: both plugins of it from one binary.
func TestThePythonDemoServesItsPage(t *testing.T) {
	t.Parallel()
	bus := rig.NewBus(t)
	bus.Plug("1-1", rig.MemoryStick)
	setup := rig.WithYurt(t, "example-device", bus, "")
	python := rig.WithPython(t, "")
	setup.Plugins["python-driver"] = python.Plugins["python-driver"]
	setup.Config = append(setup.Config, rig.PythonClient(t))
	agent := rig.Start(t, setup)

	node, err := agent.Node()
	if err != nil {
		t.Fatal(err)
	}
	driver := node.Drivers["python"]
	if driver == nil || !driver.Detected || !driver.Healthy {
		t.Fatalf("the node's python driver is %+v", driver)
	}
	version := rig.PythonVersion(t)
	if said := node.Attributes["driver.python.version"]; said != version {
		t.Errorf("driver.python.version is %q, and %s says %s", said, rig.Python3(t), version)
	}
	if said := node.Attributes["driver.python"]; said != "1" && said != "true" {
		t.Errorf("driver.python is %q", said)
	}

	submitted := time.Now()
	job := agent.SubmitFile(rig.Repository("examples", "demo", "python-demo.nomad.hcl"))
	alloc := job.Runs()
	page := pageOf(t, alloc)
	t.Logf("submitted to served: %v", time.Since(submitted).Round(10*time.Millisecond))
	if !strings.Contains(page, "<h1>Extending Nomad with Plugins</h1>") {
		t.Errorf("the page is %q", page)
	}
	agent.Follow(alloc, "python-server", "stdout").Wait("serving at "+strings.TrimSuffix(addressOf(t, alloc), "/")+"/", 1)
	server := agent.Interpreter(alloc)
	if id := server.Status("Uid"); id != "65534 65534 65534 65534" {
		t.Errorf("the server runs as %s, not as nobody", id)
	}

	agent.Restart(alloc, "python-server")
	var again rig.Process
	rig.Until(t, "another server process", func() error {
		if found := rig.Interpreters(alloc.ID); len(found) == 1 && found[0].PID != server.PID {
			again = found[0]
			return nil
		}
		return fmt.Errorf("processes: %v", rig.Interpreters(alloc.ID))
	})
	if pageOf(t, alloc) != page {
		t.Error("after a restart another page is served")
	}
	if !again.Lives() || server.Lives() {
		t.Errorf("of the processes before and after the restart live: %v, %v", server.Lives(), again.Lives())
	}
	wantNoComplaint(t, agent)
	wantNoTaskHoldsTheOutput(t, agent, alloc)
	agent.LeavesNothing()
}

func addressOf(t *testing.T, alloc *api.Allocation) string {
	t.Helper()
	for _, port := range alloc.AllocatedResources.Shared.Ports {
		if port.Label == "http" {
			return fmt.Sprintf("http://%s:%d/", port.HostIP, port.Value)
		}
	}
	t.Fatalf("the allocation has the ports %+v", alloc.AllocatedResources.Shared.Ports)
	return ""
}

func pageOf(t *testing.T, alloc *api.Allocation) (page string) {
	t.Helper()
	address := addressOf(t, alloc)
	rig.Until(t, "an answer from "+address, func() error {
		answer, err := http.Get(address)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", answer.Status)
		}
		body, err := io.ReadAll(answer.Body)
		page = string(body)
		return err
	})
	return page
}

// A task, its keeper or its init that holds the plugin's fd 1 or 2 hides the plugin's death from the agent, which then kills healthy
// tasks.
func wantNoTaskHoldsTheOutput(t *testing.T, agent *rig.Agent, alloc *api.Allocation) {
	t.Helper()
	output := agentsPipesOf(t, agent, "python-driver")
	holders := rig.HoldersOf(output)
	delete(holders, agent.PID())
	delete(holders, agent.Plugin("python-driver").PID)
	for _, process := range rig.Ancestry(agent.Interpreter(alloc)) {
		if held := holders[process.PID]; held != nil {
			t.Errorf("process %d %q holds the plugin's output: %v", process.PID, process.Args, held)
		}
	}
}
