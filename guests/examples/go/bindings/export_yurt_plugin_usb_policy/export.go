// Package export_yurt_plugin_usb_policy is what the generated bindings call: the policy that was given to yurt.Serve.
package export_yurt_plugin_usb_policy

import (
	wit "go.bytecodealliance.org/pkg/wit/types"

	common "shelf/bindings/yurt_plugin_common"
	usb "shelf/bindings/yurt_plugin_usb"
	policy "shelf/bindings/yurt_plugin_usb_policy"
	"shelf/yurt"
)

func Describe() common.Description { return yurt.Describe() }

func CheckConfig(config string) []common.Diagnostic { return yurt.CheckConfig(config) }

func Group(config string, facts usb.Snapshot, memory wit.Option[string]) wit.Result[policy.Offer, string] {
	return yurt.Group(config, facts, memory)
}

func Reserve(config string, facts usb.Snapshot, group policy.GroupName, reserved []policy.Instance) wit.Result[policy.Reservation, string] {
	return yurt.Reserve(config, facts, group, reserved)
}

func Stats(config string, counters []usb.CounterSet, offered []policy.Instance) wit.Result[[]policy.InstanceStats, string] {
	return yurt.Stats(config, counters, offered)
}
