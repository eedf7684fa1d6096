package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
)

// Setup says what an agent is started with.
type Setup struct {
	// Plugins: names of links in the plugin directory, each with the binary it leads to.
	Plugins map[string]string
	// Config: texts of agent configuration files, read in this order after the rig's own. Files by path: ConfigFiles.
	Config []string
	// ConfigFiles are read before Config.
	ConfigFiles []string
	// Lasting: with a data directory, so that a second agent can take over; otherwise -dev, which is quicker.
	Lasting bool
}

// WithYurt offers the plugin under test as `name`, on this bus, with the demo's agent file if the name is the demo's.
// config is the text of the stanza's config block, or "" to leave the demo's.
func WithYurt(t testing.TB, name string, bus *Bus, config string) Setup {
	t.Helper()
	return WithYurtArgs(t, name, bus, config)
}

// WithYurtArgs is the same with further arguments in the stanza.
func WithYurtArgs(t testing.TB, name string, bus *Bus, config string, args ...string) Setup {
	t.Helper()
	Needs(t, YurtBinary())
	stanza := fmt.Sprintf("plugin %q {\n  args = [%s]\n", name, quotedList(append([]string{"--usb-root", bus.Dir}, args...)))
	if config != "" {
		stanza += "  config {\n" + config + "\n  }\n"
	}
	setup := Setup{Plugins: map[string]string{name: YurtBinary()}, Config: []string{stanza + "}\n"}}
	if name == "example-device" {
		setup.ConfigFiles = []string{Repository("examples", "demo", "agent.hcl")}
	}
	return setup
}

func quotedList(texts []string) string {
	var list []string
	for _, text := range texts {
		list = append(list, strconv.Quote(text))
	}
	return strings.Join(list, ", ")
}

// Agent is a running Nomad agent, server and client in one.
type Agent struct {
	t         testing.TB
	dir       string
	setup     Setup
	ports     [3]int
	command   *exec.Cmd
	ended     chan struct{}
	Log       *Log
	API       *api.Client
	PluginDir string
	// Of every allocation there has been: for finding its traces.
	allocs map[string]bool
}

// Start starts an agent and waits until its node is ready. It is ended with the test.
func Start(t testing.TB, setup Setup) *Agent {
	t.Helper()
	agent := Prepare(t, setup)
	agent.Start()
	return agent
}

// Prepare makes all that an agent needs and does not start it.
func Prepare(t testing.TB, setup Setup) *Agent {
	t.Helper()
	Needs(t)
	dir := Scratch(t)
	agent := &Agent{t: t, dir: dir, setup: setup, ports: freePorts(t), PluginDir: filepath.Join(dir, "plugins"), allocs: map[string]bool{}}
	for _, sub := range []string{"plugins", "tmp", "home", "state"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, binary := range setup.Plugins {
		path, err := filepath.Abs(binary)
		if err == nil {
			err = os.Symlink(path, filepath.Join(agent.PluginDir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	client, err := api.NewClient(&api.Config{Address: agent.address()})
	if err != nil {
		t.Fatal(err)
	}
	agent.API = client
	t.Cleanup(agent.cleanUp)
	return agent
}

func (a *Agent) address() string { return fmt.Sprintf("http://127.0.0.1:%d", a.ports[0]) }

// Start starts the agent's process and waits for its node.
func (a *Agent) Start() {
	a.t.Helper()
	a.launch()
	// A client whose first registration finds no leader tries again 15 to 30 s later.
	UntilWithin(a.t, patience(2*time.Minute), "agent ready", func() error {
		select {
		case <-a.ended:
			a.t.Fatalf("the agent ended: %v\n%s", a.command.ProcessState, a.Log.Tail(40))
		default:
		}
		node, err := a.Node()
		if err == nil && node.Status != "ready" {
			err = fmt.Errorf("node is %s", node.Status)
		}
		return err
	})
}

// StartRefused starts the agent, which is expected not to come up, and gives the reason that it prints.
func (a *Agent) StartRefused() (code int, reason string) {
	a.t.Helper()
	a.launch()
	select {
	case <-a.ended:
	case <-time.After(Patience):
		a.t.Fatalf("the agent runs, though it should refuse to start\n%s", a.Log.Tail(20))
	}
	for _, line := range a.Log.Find("Error starting agent") {
		reason = line.Message()
	}
	return a.command.ProcessState.ExitCode(), reason
}

func (a *Agent) launch() {
	a.t.Helper()
	args := []string{"agent"}
	if a.setup.Lasting {
		args = append(args, "-data-dir="+filepath.Join(a.dir, "data"))
	} else {
		args = append(args, "-dev")
	}
	// The rig's own file is read first, so that the demo's file is laid over it and not the other way round.
	args = append(args, "-config="+a.write("rig.hcl", a.ownConfig()), "-plugin-dir="+a.PluginDir)
	for _, file := range a.setup.ConfigFiles {
		args = append(args, "-config="+file)
	}
	for i, text := range a.setup.Config {
		args = append(args, "-config="+a.write(fmt.Sprintf("drill-%d.hcl", i), text))
	}
	// The demo asks for INFO; launches of plugins are logged at DEBUG.
	args = append(args, "-log-level=DEBUG")

	a.Log = newLog()
	a.command = exec.Command(agentBinary(), args...)
	a.command.Dir = a.dir
	a.command.Stdout = a.Log
	a.command.Stderr = a.Log
	// Nothing of the caller's environment: cloud credentials in it change what an agent does.
	a.command.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + filepath.Join(a.dir, "home"),
		"TMPDIR=" + filepath.Join(a.dir, "tmp"),
		"YURT_STATE_DIR=" + filepath.Join(a.dir, "state"),
		"RUST_BACKTRACE=1",
	}
	// An orphan of a killed agent must not keep this test waiting for the end of its output.
	a.command.WaitDelay = time.Second
	if err := a.command.Start(); err != nil {
		a.t.Fatal(err)
	}
	ended := make(chan struct{})
	a.ended = ended
	go func(command *exec.Cmd) { _ = command.Wait(); close(ended) }(a.command)
}

func (a *Agent) ownConfig() string {
	config := fmt.Sprintf(`
bind_addr = "127.0.0.1"
log_json = true
disable_update_check = true
ports {
  http = %d
  rpc  = %d
  serf = %d
}
consul {
  auto_advertise   = false
  server_auto_join = false
  client_auto_join = false
}
client {
  enabled = true
  # Ended allocations stay to be looked at, however many there are and however full this machine's disk is.
  gc_disk_usage_threshold  = 100
  gc_inode_usage_threshold = 100
  gc_max_allocs            = 10000
  options = {
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
    "driver.allowlist"     = "raw_exec"
  }
}
plugin "raw_exec" {
  config {
    enabled = true
  }
}
telemetry {
  collection_interval         = "1s"
  publish_allocation_metrics  = true
}
`, a.ports[0], a.ports[1], a.ports[2])
	if a.setup.Lasting {
		config += `
advertise {
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
  serf = "127.0.0.1"
}
server {
  enabled          = true
  bootstrap_expect = 1
  raft_multiplier  = 1
}
`
	}
	return config
}

func (a *Agent) write(name, text string) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// PID is the agent's process id.
func (a *Agent) PID() int { return a.command.Process.Pid }

// Interrupt ends the agent as ctrl-C does; plugins get the kill sequence.
func (a *Agent) Interrupt() time.Duration {
	a.t.Helper()
	return a.end(syscall.SIGINT)
}

// Crash kills the agent with SIGKILL; its plugins stay behind.
func (a *Agent) Crash() {
	a.t.Helper()
	a.end(syscall.SIGKILL)
}

func (a *Agent) end(signal syscall.Signal) time.Duration {
	a.t.Helper()
	start := time.Now()
	_ = a.command.Process.Signal(signal)
	select {
	case <-a.ended:
	case <-time.After(Patience):
		_ = a.command.Process.Kill()
		a.t.Fatalf("the agent did not end after %v", signal)
	}
	return time.Since(start)
}

// cleanUp leaves no process and no mount behind, whatever the test did.
func (a *Agent) cleanUp() {
	if a.running() {
		a.know()
		a.stopJobs()
		_ = a.command.Process.Signal(syscall.SIGINT)
		select {
		case <-a.ended:
		case <-time.After(10 * time.Second):
			_ = a.command.Process.Kill()
			<-a.ended
		}
	}
	if a.t.Failed() && a.Log != nil {
		a.write("agent.log", a.Log.Tail(1<<30))
		a.t.Logf("what matters of the agent's log:\n%s", a.Log.Telling(60))
	}
	a.killTasks()
	for _, process := range Processes() {
		if process.Mentions(a.dir) {
			_ = syscall.Kill(process.PID, syscall.SIGKILL)
		}
	}
	// Secrets directories are small file systems of their own.
	for _, point := range append(a.mounts(), a.pluginMounts()...) {
		_ = syscall.Unmount(point, syscall.MNT_DETACH)
	}
}

func (a *Agent) running() bool {
	if a.command == nil {
		return false
	}
	select {
	case <-a.ended:
		return false
	default:
		return true
	}
}

func (a *Agent) stopJobs() {
	jobs, _, err := a.API.Jobs().List(nil)
	if err != nil {
		return
	}
	for _, job := range jobs {
		_, _, _ = a.API.Jobs().Deregister(job.ID, true, nil)
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		allocs, _, err := a.API.Allocations().List(nil)
		running := 0
		for _, alloc := range allocs {
			if alloc.ClientStatus == api.AllocClientStatusRunning {
				running++
			}
		}
		if err != nil || running == 0 {
			return
		}
	}
}

// Configure adds the text of a configuration file to those that the agent will be started with.
func (a *Agent) Configure(text string) { a.setup.Config = append(a.setup.Config, text) }

// StateDir is where the plugin keeps its files: YURT_STATE_DIR.
func (a *Agent) StateDir() string { return filepath.Join(a.dir, "state") }
