// Package rig starts real Nomad agents with the plugin under test and shows what the agent, its API and the kernel's
// process table say. Nothing in it reads the plugin's own state.
package rig

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// Patience is how long a drill waits for something that should happen within a second or two: longer where YURT_TEST_PATIENCE says
// that the machine is slow by that factor, as an emulated one is.
var Patience = patience(30 * time.Second)

func patience(usual time.Duration) time.Duration {
	if factor, err := strconv.Atoi(os.Getenv("YURT_TEST_PATIENCE")); err == nil {
		return usual * time.Duration(factor)
	}
	return usual
}

// home is the folder of this Go module.
func home() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(file))
}

// Repository is the path of a file of the repository.
func Repository(parts ...string) string {
	return filepath.Join(append([]string{home(), "..", ".."}, parts...)...)
}

// agentBinary and ExampleBinary come from build.sh.
func agentBinary() string { return filepath.Join(home(), "bin", "agent") }

// ExampleBinary is Nomad's example device plugin.
func ExampleBinary() string { return filepath.Join(home(), "bin", "fsdev") }

// YurtBinary is the plugin under test: YURT_BIN, else the debug build.
func YurtBinary() string {
	if path := os.Getenv("YURT_BIN"); path != "" {
		return path
	}
	return Repository("target", "debug", "yurt")
}

// Component is the built-in guest of this name, as the build of the plugin left it, else built now.
func Component(t testing.TB, name string) []byte {
	t.Helper()
	made := filepath.Join(filepath.Dir(filepath.Dir(YurtBinary())), "guests", "components", name+".wasm")
	if _, err := os.Stat(made); err != nil {
		dir := t.TempDir()
		if said, err := exec.Command(Repository("guests", "build.sh"), dir).CombinedOutput(); err != nil {
			t.Fatalf("guests/build.sh: %v: %s", err, said)
		}
		made = filepath.Join(dir, name+".wasm")
	}
	component, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	return component
}

// Needs ends the test early where a tool is missing: skipped with one line on a laptop, failed under CI=true.
func Needs(t testing.TB, paths ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "needs root: raw_exec tasks and the agent's cgroups")
	}
	for _, path := range append([]string{agentBinary()}, paths...) {
		if _, err := os.Stat(path); err != nil {
			Missing(t, "%v (built by tests/agent/run.sh)", err)
		}
	}
}

// Missing ends the test because a tool is not there: skipped on a laptop, failed under CI=true.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Scratch is a new directory with a short name: unix socket paths must fit into 107 bytes.
func Scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "yd")
	if err == nil {
		// Tasks without isolation run in there, as nobody.
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("KEEP") != "" {
			t.Logf("kept: %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return dir
}

// Until asks again until `done` gives no error, and fails the test with the last one when patience is over.
func Until(t testing.TB, what string, done func() error) {
	t.Helper()
	UntilWithin(t, Patience, what, done)
}

// UntilWithin is Until with another patience.
func UntilWithin(t testing.TB, patience time.Duration, what string, done func() error) {
	t.Helper()
	end := time.Now().Add(patience)
	for {
		err := done()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Throughout asks again and again for a while and fails the test at the first error.
func Throughout(t testing.TB, span time.Duration, what string, holds func() error) {
	t.Helper()
	for end := time.Now().Add(span); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err := holds(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}
