package rig

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fixedPath is where the driver looks for interpreters on the node.
var fixedPath = []string{"/usr/local/bin", "/usr/bin", "/bin"}

// Programs of a task's root besides python3: for commands that drills run in tasks.
var programs = []string{"sh", "cat", "echo", "env", "head", "id", "mktemp", "sleep", "stty", "touch", "true"}

// Of Python's library what no task here imports, half of its size.
var neverImported = []string{"test", "tests", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo", "pydoc_data", "site-packages", "dist-packages"}

// WithPython offers the task driver under test as `python-driver`, the demo's name for it. config is the text of the stanza's config
// block. Nomad's own exec driver stands beside it, for controls.
func WithPython(t testing.TB, config string) Setup {
	t.Helper()
	Needs(t, YurtBinary())
	return Setup{
		Plugins: map[string]string{"python-driver": YurtBinary()},
		Config:  []string{PythonClient(t), fmt.Sprintf("plugin \"python-driver\" {\n  config {\n%s\n  }\n}\n", config)},
	}
}

// PythonClient is the text of a client's configuration with the drivers that python tasks need, and with a root for tasks that holds
// the system's python3. Nomad's default is to give every task all of the host's /usr, /lib and /etc, which takes seconds each time.
func PythonClient(t testing.TB) string {
	t.Helper()
	root := PythonRoot(t)
	text := "client {\n  options = {\n    \"driver.allowlist\" = \"raw_exec,exec,python\"\n  }\n  chroot_env {\n"
	for from, to := range PythonChroot(t, root) {
		text += fmt.Sprintf("    %q = %q\n", from, to)
	}
	return text + "  }\n}\n"
}

// PythonChroot says what of a PythonRoot is to stand where in a task's root, in the terms of `chroot_env`.
func PythonChroot(t testing.TB, root string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	chroot := map[string]string{}
	for _, entry := range entries {
		chroot[filepath.Join(root, entry.Name())] = "/" + entry.Name()
	}
	return chroot
}

// PythonRoot is a directory with the system's python3, its library and a few programs, each where the host has it. Links, not copies, if
// the file system is the same; so they are again in the tasks' roots, which Nomad fills from it.
func PythonRoot(t testing.TB) string {
	t.Helper()
	files, err := pythonFiles()
	if err != nil {
		Missing(t, "no python3 for tasks: %v", err)
	}
	root := filepath.Join(Scratch(t), "root")
	for _, file := range files {
		if err := place(file, filepath.Join(root, file)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// Python3 is the interpreter that the driver chooses on this machine.
func Python3(t testing.TB) string {
	t.Helper()
	path, err := program("python3")
	if err != nil {
		Missing(t, "%v", err)
	}
	return path
}

// PythonVersion is what the interpreter calls itself, such as 3.11.2.
func PythonVersion(t testing.TB) string {
	t.Helper()
	said, err := exec.Command(Python3(t), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(string(said), "Python "))
}

func program(name string) (string, error) {
	for _, dir := range fixedPath {
		if about, err := os.Stat(filepath.Join(dir, name)); err == nil && about.Mode().IsRegular() {
			return filepath.Join(dir, name), nil
		}
	}
	return "", fmt.Errorf("no %s in %s", name, strings.Join(fixedPath, ":"))
}

// pythonFiles are the host's files that a PythonRoot consists of.
var pythonFiles = sync.OnceValues(func() ([]string, error) {
	python, err := program("python3")
	if err != nil {
		return nil, err
	}
	var about struct{ Real, Library, Platform string }
	said, err := exec.Command(python, "-I", "-c", "import json, os, sys, sysconfig as s; print(json.dumps(dict("+
		"Real=os.path.realpath(sys.executable), Library=s.get_path('stdlib'), Platform=s.get_path('platstdlib'))))").Output()
	if err == nil {
		err = json.Unmarshal(said, &about)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", python, err)
	}
	files := []string{python, about.Real}
	for _, name := range programs {
		path, err := program(name)
		if err != nil {
			return nil, err
		}
		files = append(files, path)
	}
	files = append(files, "/bin/sh")
	for _, dir := range []string{about.Library, about.Platform} {
		err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (slices.Contains(neverImported, entry.Name()) || strings.HasPrefix(entry.Name(), "config-")):
				return filepath.SkipDir
			case !entry.IsDir():
				files = append(files, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	libraries, err := librariesOf(files)
	if err != nil {
		return nil, err
	}
	files = append(files, libraries...)
	for _, path := range []string{"/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts", "/etc/ld.so.cache"} {
		if _, err := os.Stat(path); err == nil {
			files = append(files, path)
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
})

// `	libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f…)`, `	/lib64/ld-linux-x86-64.so.2 (0x00007f…)`
var library = regexp.MustCompile(`(?m)(/\S+) \(0x[0-9a-f]+\)$`)

// librariesOf are the shared libraries that programs and modules among these files need, the loader included.
func librariesOf(files []string) ([]string, error) {
	binaries := slices.DeleteFunc(slices.Clone(files), func(path string) bool {
		about, err := os.Stat(path)
		return err != nil || strings.HasSuffix(path, ".py") || strings.HasSuffix(path, ".pyc") ||
			about.Mode()&0o111 == 0 && !strings.HasSuffix(path, ".so")
	})
	// It fails for scripts, and says what it can of the others.
	said, err := exec.Command("ldd", binaries...).Output()
	var libraries []string
	for _, found := range library.FindAllSubmatch(said, -1) {
		libraries = append(libraries, string(found[1]))
	}
	if len(libraries) == 0 {
		return nil, fmt.Errorf("ldd names no library: %v", err)
	}
	return libraries, nil
}

// place puts a file of the host somewhere, symbolic links followed.
func place(from, to string) error {
	real, err := filepath.EvalSymlinks(from)
	if os.IsNotExist(err) {
		// A link of the host's that leads nowhere.
		return nil
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err != nil {
		return err
	}
	if os.Link(real, to) == nil {
		return nil
	}
	source, err := os.Open(real)
	if err != nil {
		return err
	}
	defer source.Close()
	about, err := source.Stat()
	if err != nil {
		return err
	}
	copied, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, about.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(copied, source)
	if closed := copied.Close(); err == nil {
		err = closed
	}
	return err
}

// PythonTask is a job with one python task.
type PythonTask struct {
	ID string
	// Script is the program, which stands in the task's local/task.py; or Code, which is given on the command line.
	Script, Code string
	// Config are further lines of the task's config block, Task of the task itself, Group of its group.
	Config, Task, Group string
	// Batch: a task that may end.
	Batch bool
	// Memory in MB, 64 if not given.
	Memory int
	// Silent: its output goes nowhere, which saves the agent a process of 70 MB.
	Silent bool
	// WithExec runs the same on Nomad's own exec driver.
	WithExec string
}

// HCL is the job file.
func (p PythonTask) HCL() string {
	kind, memory := "service", p.Memory
	if p.Batch {
		kind = "batch"
	}
	if memory == 0 {
		memory = 64
	}
	driver, config := "python", fmt.Sprintf("code = %s\n%s", quoted(p.Code), p.Config)
	if p.Script != "" {
		config = "script = \"local/task.py\"\n" + p.Config
	}
	if p.WithExec != "" {
		driver = "exec"
		config = fmt.Sprintf("command = %q\nargs = [\"-u\", \"local/task.py\"]\n", p.WithExec)
		if p.Script == "" {
			config = fmt.Sprintf("command = %q\nargs = [\"-u\", \"-c\", %s]\n", p.WithExec, quoted(p.Code))
		}
	}
	task := p.Task
	if p.Script != "" {
		task += "\ntemplate {\n destination = \"local/task.py\"\n data = <<END\n" + p.Script + "\nEND\n}\n"
	}
	if p.Silent {
		task += "\nlogs {\n disabled = true\n}\n"
	}
	return fmt.Sprintf(`
job %q {
  datacenters = ["dc1"]
  type        = %q
  group "g" {
    restart {
      attempts = 0
      mode     = "fail"
    }
    reschedule {
      attempts  = 0
      unlimited = false
    }
    %s
    task "t" {
      driver = %q
      config {
        %s
      }
      %s
      resources {
        cpu    = 20
        memory = %d
      }
    }
  }
}
`, p.ID, kind, p.Group, driver, config, task, memory)
}

// quoted is a text as HCL writes it.
func quoted(text string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(fmt.Sprintf("%q", text))
}
