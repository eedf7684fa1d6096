// Command fsdev serves Nomad's own example device plugin, which offers the files of a folder as devices, as an external
// plugin. It is the peer that Yurt is measured against, and the stand-in that proves the drills' harness.
package main

import (
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins"
	"github.com/hashicorp/nomad/plugins/device/cmd/example"
)

func main() {
	plugins.Serve(func(log hclog.Logger) any { return example.NewExampleDevice(log) })
}
