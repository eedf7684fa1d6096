// Command drivers serves Nomad's own raw_exec or exec as an external plugin, chosen by the name it is started under (a link called
// `exec` in a plugin directory) or by its first argument. They are the peers that Yurt's task driver is held against: by the
// conformance suite and by `just bench`.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	// Both drivers start this very program again as the executor of a task. Its package looks at the arguments in init and
	// takes over.
	_ "github.com/hashicorp/nomad/drivers/shared/executor"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/drivers/exec"
	"github.com/hashicorp/nomad/drivers/rawexec"
	"github.com/hashicorp/nomad/plugins"
)

func main() {
	name := filepath.Base(os.Args[0])
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	switch name {
	case "raw_exec":
		plugins.ServeCtx(func(ctx context.Context, log hclog.Logger) any { return rawexec.NewRawExecDriver(ctx, log) })
	case "exec":
		plugins.ServeCtx(func(ctx context.Context, log hclog.Logger) any { return exec.NewExecDriver(ctx, log) })
	default:
		fmt.Fprintf(os.Stderr, "%s is none of the drivers here: start it as raw_exec or exec\n", name)
		os.Exit(2)
	}
}
