// Package streaming runs Nomad's own cases for `nomad alloc exec` against Yurt's task driver, served as an agent gets it: found by
// Nomad's plugin loader, configured by it, spoken to over the wire.
package streaming

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/client/allocdir"
	"github.com/hashicorp/nomad/client/lib/cgroupslib"
	"github.com/hashicorp/nomad/client/lib/numalib"
	"github.com/hashicorp/nomad/helper/pluginutils/loader"
	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/nomad/structs/config"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/fsisolation"
	"github.com/hashicorp/nomad/plugins/drivers/testutils"
	"yurt.dev/tests/agent/rig"
)

func TestNomadsStreamingExecCasesHold(t *testing.T) {
	for isolation, reported := range map[string]fsisolation.Mode{"chroot": fsisolation.Chroot, "none": fsisolation.None} {
		t.Run(isolation, func(t *testing.T) {
			driver := dispense(t, isolation)
			// Nomad's cases ask the client of the external plugin itself: it is the harness's implementation.
			harness := testutils.NewDriverHarness(t, driver)
			t.Cleanup(harness.Kill)
			capabilities, err := driver.Capabilities()
			if err != nil {
				t.Fatal(err)
			}
			if !capabilities.Exec || !capabilities.SendSignals || capabilities.FSIsolation != reported {
				t.Errorf("the driver says it is capable of %+v", capabilities)
			}
			task := sleeper(t, harness, reported)
			if _, _, err := driver.StartTask(task); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := driver.DestroyTask(task.ID, true); err != nil {
					t.Error(err)
				}
			})
			if err := harness.WaitUntilStarted(task.ID, 10*time.Second); err != nil {
				t.Fatal(err)
			}
			testutils.ExecTaskStreamingConformanceTests(t, harness, task.ID)
		})
	}
}

// dispense launches the plugin as an agent does.
func dispense(t *testing.T, isolation string) drivers.DriverPlugin {
	t.Helper()
	rig.Needs(t, rig.YurtBinary())
	binary, err := filepath.Abs(rig.YurtBinary())
	if err != nil {
		t.Fatal(err)
	}
	dir := rig.Scratch(t)
	t.Setenv("YURT_STATE_DIR", filepath.Join(dir, "state"))
	plugins := filepath.Join(dir, "plugins")
	if err := os.Mkdir(plugins, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(plugins, "python-driver")); err != nil {
		t.Fatal(err)
	}
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: os.Stdout})
	catalog, err := loader.NewPluginLoader(&loader.PluginLoaderConfig{
		Logger:            log,
		PluginDir:         plugins,
		SupportedVersions: loader.AgentSupportedApiVersions,
		Configs: []*config.PluginConfig{{
			Name:   "python-driver",
			Config: map[string]any{"yurt": []map[string]any{{"isolation": isolation}}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	agent := &base.AgentConfig{Driver: &base.ClientDriverConfig{Topology: numalib.Scan(numalib.PlatformScanners(true))}}
	instance, err := catalog.Dispense("python", base.PluginTypeDriver, agent, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(instance.Kill)
	return instance.Plugin().(drivers.DriverPlugin)
}

// sleeper is a task that does nothing, with the directories and the control groups that a client makes for it.
func sleeper(t *testing.T, harness *testutils.DriverHarness, isolation fsisolation.Mode) *drivers.TaskConfig {
	t.Helper()
	log := hclog.NewNullLogger()
	dir := rig.Scratch(t)
	id := uuid.Generate()
	alloc := allocdir.NewAllocDir(log, filepath.Join(dir, "allocs"), filepath.Join(dir, "mounts"), id)
	if err := alloc.Build(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = alloc.Destroy() })
	place := alloc.NewTaskDir(&structs.Task{Name: "sleeper"})
	if err := place.Build(isolation, rig.PythonChroot(t, rig.PythonRoot(t)), "nobody"); err != nil {
		t.Fatal(err)
	}
	if err := cgroupslib.Init(log, ""); err != nil {
		t.Fatal(err)
	}
	harness.MakeTaskCgroup(id, "sleeper")
	task := &drivers.TaskConfig{
		ID:         uuid.Generate(),
		AllocID:    id,
		Name:       "sleeper",
		AllocDir:   alloc.AllocDirPath(),
		StdoutPath: os.DevNull,
		StderrPath: os.DevNull,
		Env:        map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin", "NOMAD_ALLOC_ID": id},
		Resources: &drivers.Resources{
			NomadResources: &structs.AllocatedTaskResources{
				Cpu:    structs.AllocatedCpuResources{CpuShares: 100},
				Memory: structs.AllocatedMemoryResources{MemoryMB: 64},
			},
			LinuxResources: &drivers.LinuxResources{
				CPUShares:        100,
				MemoryLimitBytes: 64 << 20,
				CpusetCgroupPath: cgroupslib.LinuxResourcesPath(id, "sleeper", false),
			},
		},
	}
	err := task.EncodeConcreteDriverConfig(map[string]any{"code": "import time\nwhile True: time.sleep(60)"})
	if err != nil {
		t.Fatal(err)
	}
	return task
}
