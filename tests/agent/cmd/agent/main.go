// Command agent is a real Nomad, as small a main as it can have: the same commands, the same agent, no fitted-out help.
//
// It comes from Nomad's own module, so that the drills need no downloaded binary. Nomad's agent is under the BUSL-1.1:
// this is a test tool and no part of what Yurt ships.
package main

import (
	"fmt"
	"os"

	// Nomad starts itself again as its own helpers (the logger of a task, the executor, …). Their packages look at the
	// arguments in init and take over, so they have to be initialised before the big imports below.
	_ "github.com/hashicorp/nomad/client/allocrunner/taskrunner/getter"
	_ "github.com/hashicorp/nomad/client/allocrunner/taskrunner/template/renderer"
	_ "github.com/hashicorp/nomad/client/logmon"
	_ "github.com/hashicorp/nomad/drivers/docker/docklog"
	_ "github.com/hashicorp/nomad/drivers/shared/executor"

	"github.com/hashicorp/cli"
	"github.com/hashicorp/nomad/command"
	"github.com/hashicorp/nomad/version"
)

func main() {
	meta := new(command.Meta)
	meta.SetupUi(os.Args[1:])
	ui := &cli.BasicUi{Reader: os.Stdin, Writer: os.Stdout, ErrorWriter: os.Stderr}
	nomad := &cli.CLI{
		Name:       "nomad",
		Version:    version.GetVersion().FullVersionNumber(true),
		Args:       os.Args[1:],
		Commands:   command.Commands(meta, ui),
		HelpFunc:   cli.BasicHelpFunc("nomad"),
		HelpWriter: os.Stdout,
	}
	code, err := nomad.Run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
