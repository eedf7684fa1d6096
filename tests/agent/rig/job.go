package rig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
)

// Job is a submitted job.
type Job struct {
	agent *Agent
	ID    string
}

// Submit registers a job, as `nomad job run` does: the agent itself reads the text.
func (a *Agent) Submit(hcl string) *Job {
	a.t.Helper()
	job, err := a.API.Jobs().ParseHCL(hcl, true)
	if err != nil {
		a.t.Fatalf("%v in\n%s", err, hcl)
	}
	if _, _, err := a.API.Jobs().Register(job, nil); err != nil {
		a.t.Fatalf("job %s: %v", *job.ID, err)
	}
	return &Job{agent: a, ID: *job.ID}
}

// SubmitFile registers a job file of the repository.
func (a *Agent) SubmitFile(path string) *Job {
	a.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.Submit(string(text))
}

// Sleeper is a job that holds one device: `device "usb"` with the given body.
func Sleeper(id, device string) string {
	return fmt.Sprintf(`
job %q {
  datacenters = ["dc1"]
  group "g" {
    restart {
      attempts = 0
      mode     = "fail"
    }
    task "t" {
      driver = "raw_exec"
      config {
        command = "sleep"
        args    = ["600"]
      }
      resources {
        cpu    = 50
        memory = 16
        device "usb" {
          %s
        }
      }
    }
  }
}
`, id, device)
}

// Runs waits until the job has one running allocation and gives it.
func (j *Job) Runs() *api.Allocation {
	j.agent.t.Helper()
	var alloc *api.Allocation
	Until(j.agent.t, "job "+j.ID+" runs", func() error {
		var err error
		alloc, err = j.running()
		return err
	})
	return alloc
}

// AllRun waits until the job has so many running allocations, and gives them.
func (j *Job) AllRun(count int) (allocs []*api.Allocation) {
	j.agent.t.Helper()
	Until(j.agent.t, fmt.Sprintf("%d allocations of job %s run", count, j.ID), func() error {
		stubs, _, err := j.agent.API.Jobs().Allocations(j.ID, true, nil)
		if err != nil {
			return err
		}
		allocs = nil
		for _, stub := range stubs {
			if stub.ClientStatus != api.AllocClientStatusRunning {
				continue
			}
			j.agent.allocs[stub.ID] = true
			alloc, _, err := j.agent.API.Allocations().Info(stub.ID, nil)
			if err != nil {
				return err
			}
			allocs = append(allocs, alloc)
		}
		if len(allocs) != count || len(stubs) != count {
			return fmt.Errorf("%d of %d allocations run; %s", len(allocs), len(stubs), j.whyNot())
		}
		return nil
	})
	return allocs
}

// Ends waits until the job's one allocation has ended, and gives it.
func (j *Job) Ends(patience time.Duration) (alloc *api.Allocation) {
	j.agent.t.Helper()
	UntilWithin(j.agent.t, patience, "job "+j.ID+" ends", func() error {
		stubs, _, err := j.agent.API.Jobs().Allocations(j.ID, true, nil)
		if err != nil {
			return err
		}
		if len(stubs) != 1 || stubs[0].ClientStatus != api.AllocClientStatusComplete && stubs[0].ClientStatus != api.AllocClientStatusFailed {
			return fmt.Errorf("%d allocations; %s", len(stubs), j.whyNot())
		}
		j.agent.allocs[stubs[0].ID] = true
		alloc, _, err = j.agent.API.Allocations().Info(stubs[0].ID, nil)
		return err
	})
	return alloc
}

func (j *Job) running() (*api.Allocation, error) {
	stubs, _, err := j.agent.API.Jobs().Allocations(j.ID, false, nil)
	if err != nil {
		return nil, err
	}
	var states []string
	for _, stub := range stubs {
		if stub.ClientStatus == api.AllocClientStatusRunning && stub.DesiredStatus == api.AllocDesiredStatusRun {
			j.agent.allocs[stub.ID] = true
			alloc, _, err := j.agent.API.Allocations().Info(stub.ID, nil)
			return alloc, err
		}
		states = append(states, stub.ClientStatus+"/"+stub.DesiredStatus+" "+lastEvents(stub))
	}
	return nil, fmt.Errorf("%d allocations %v; %s", len(stubs), states, j.whyNot())
}

func lastEvents(stub *api.AllocationListStub) string {
	var messages []string
	for _, task := range stub.TaskStates {
		for _, event := range task.Events {
			messages = append(messages, event.DisplayMessage)
		}
	}
	return strings.Join(messages, "; ")
}

// whyNot is what the scheduler says of its last evaluation.
func (j *Job) whyNot() string {
	evaluations, _, err := j.agent.API.Jobs().Evaluations(j.ID, nil)
	if err != nil {
		return err.Error()
	}
	var texts []string
	for _, evaluation := range evaluations {
		text := evaluation.Status + " " + evaluation.TriggeredBy
		for _, metric := range evaluation.FailedTGAllocs {
			text += fmt.Sprintf(" filtered %v exhausted %v", metric.ConstraintFiltered, metric.DimensionExhausted)
		}
		if evaluation.Status == "blocked" {
			text += fmt.Sprintf(" classes %v", evaluation.ClassEligibility)
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}

// Waits waits until the scheduler has given up placing the job for now: an evaluation that is blocked, no allocation.
func (j *Job) Waits() {
	j.agent.t.Helper()
	Until(j.agent.t, "job "+j.ID+" is blocked", j.waiting)
}

// KeepsWaiting says that the job stays blocked for a while.
func (j *Job) KeepsWaiting(span time.Duration) {
	j.agent.t.Helper()
	j.Waits()
	Throughout(j.agent.t, span, "job "+j.ID+" stays blocked", j.waiting)
}

func (j *Job) waiting() error {
	stubs, _, err := j.agent.API.Jobs().Allocations(j.ID, false, nil)
	if err != nil {
		return err
	}
	evaluations, _, err := j.agent.API.Jobs().Evaluations(j.ID, nil)
	if err != nil {
		return err
	}
	for _, evaluation := range evaluations {
		if evaluation.Status == "blocked" && len(stubs) == 0 {
			return nil
		}
	}
	return fmt.Errorf("%d allocations; %s", len(stubs), j.whyNot())
}

// Stop ends the job and waits until its tasks have ended.
func (j *Job) Stop() {
	j.agent.t.Helper()
	if _, _, err := j.agent.API.Jobs().Deregister(j.ID, false, nil); err != nil {
		j.agent.t.Fatal(err)
	}
	Until(j.agent.t, "job "+j.ID+" ends", func() error {
		stubs, _, err := j.agent.API.Jobs().Allocations(j.ID, true, nil)
		for _, stub := range stubs {
			if stub.ClientStatus == api.AllocClientStatusRunning || stub.ClientStatus == api.AllocClientStatusPending {
				return fmt.Errorf("allocation %s is %s", stub.ID, stub.ClientStatus)
			}
		}
		return err
	})
}

// DevicesOf are the ids of the devices that an allocation holds.
func DevicesOf(alloc *api.Allocation) (ids []string) {
	for _, task := range alloc.AllocatedResources.Tasks {
		for _, device := range task.Devices {
			ids = append(ids, device.DeviceIDs...)
		}
	}
	return ids
}

// Purge ends the job and forgets it, so that its name can be used again.
func (j *Job) Purge() {
	j.agent.t.Helper()
	j.Stop()
	if _, _, err := j.agent.API.Jobs().Deregister(j.ID, true, nil); err != nil {
		j.agent.t.Fatal(err)
	}
}

// Exec runs a program in a task, as `nomad alloc exec` does, and gives what it printed.
func (a *Agent) Exec(alloc *api.Allocation, task string, command ...string) string {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	var out, errors bytes.Buffer
	code, err := a.API.Allocations().Exec(ctx, alloc, task, false, command, new(bytes.Buffer), &out, &errors, nil, nil)
	if err != nil || code != 0 {
		a.t.Fatalf("%v in task %s: exit code %d, %v\n%s%s", command, task, code, err, out.String(), errors.String())
	}
	return out.String()
}

// AllEnded waits until so many allocations of the job have ended, and gives them.
func (j *Job) AllEnded(count int) (allocs []*api.Allocation) {
	j.agent.t.Helper()
	Until(j.agent.t, fmt.Sprintf("%d allocations of job %s end", count, j.ID), func() error {
		stubs, _, err := j.agent.API.Jobs().Allocations(j.ID, true, nil)
		if err != nil {
			return err
		}
		allocs = nil
		for _, stub := range stubs {
			j.agent.allocs[stub.ID] = true
			if stub.ClientStatus != api.AllocClientStatusComplete && stub.ClientStatus != api.AllocClientStatusFailed {
				continue
			}
			alloc, _, err := j.agent.API.Allocations().Info(stub.ID, nil)
			if err != nil {
				return err
			}
			allocs = append(allocs, alloc)
		}
		if len(allocs) != count || len(stubs) != count {
			return fmt.Errorf("%d of %d allocations have ended; %s", len(allocs), len(stubs), j.whyNot())
		}
		return nil
	})
	return allocs
}

// IndexOf is the number of an allocation among those of its group.
func IndexOf(t testing.TB, alloc *api.Allocation) (index int) {
	t.Helper()
	_, number, _ := strings.Cut(alloc.Name, "[")
	index, err := strconv.Atoi(strings.TrimSuffix(number, "]"))
	if err != nil {
		t.Fatalf("%s: %v", alloc.Name, err)
	}
	return index
}
