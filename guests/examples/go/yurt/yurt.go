// Package yurt is what a policy needs beside the generated bindings: configuration and memory as Go values, the log, errors that
// say where.
//
// A panic becomes the contract's error, `runtime error: index out of range [3] with length 0 (policy.go:27, in group)`. Describe and
// CheckConfig have no error to answer with: there it becomes a line in the log, and the call fails.
package yurt

import (
	"encoding/json"
	"fmt"
	"path"
	"runtime"
	"runtime/debug"
	"strings"

	wit "go.bytecodealliance.org/pkg/wit/types"

	common "shelf/bindings/yurt_plugin_common"
	log "shelf/bindings/yurt_plugin_log"
	usb "shelf/bindings/yurt_plugin_usb"
	policy "shelf/bindings/yurt_plugin_usb_policy"
)

// Offer is what is offered and what to remember.
type Offer[Memory any] struct {
	Groups []policy.DeviceGroup
	// Handed back with the next call; nil: nothing.
	Memory *Memory
	// Ask again after this time even if no fact changed; 0: only then.
	AskAgainMilliseconds uint32
}

// Policy is the world `usb-plugin`. Config is the configuration (every key of the schema is there, null where nothing was given),
// Memory what Group returned at its last call, nil at first.
type Policy[Config, Memory any] interface {
	Describe() common.Description
	CheckConfig(config Config) []common.Diagnostic
	Group(config Config, facts usb.Snapshot, memory *Memory) (Offer[Memory], error)
	Reserve(config Config, facts usb.Snapshot, group policy.GroupName, reserved []policy.Instance) (policy.Reservation, error)
	Stats(config Config, counters []usb.CounterSet, offered []policy.Instance) ([]policy.InstanceStats, error)
}

// What the bindings call; set by Serve.
var (
	Describe    func() common.Description
	CheckConfig func(config string) []common.Diagnostic
	Group       func(config string, facts usb.Snapshot, memory wit.Option[string]) wit.Result[policy.Offer, string]
	Reserve     func(config string, facts usb.Snapshot, group policy.GroupName, reserved []policy.Instance) wit.Result[policy.Reservation, string]
	Stats       func(config string, counters []usb.CounterSet, offered []policy.Instance) wit.Result[[]policy.InstanceStats, string]
)

// The collector reads clocks, which a component must not do while the host hands arguments in: it sleeps until a call begins.
func init() { debug.SetGCPercent(-1) }

// Serve makes a policy the one that this component exports; called from an init function.
func Serve[Config, Memory any](p Policy[Config, Memory]) {
	Describe = func() common.Description {
		return logged(p.Describe)
	}
	CheckConfig = func(config string) []common.Diagnostic {
		return logged(func() []common.Diagnostic { return p.CheckConfig(read[Config](config)) })
	}
	Group = func(config string, facts usb.Snapshot, memory wit.Option[string]) wit.Result[policy.Offer, string] {
		return answered(func() (policy.Offer, error) {
			offer, err := p.Group(read[Config](config), facts, recalled[Memory](memory))
			if err != nil {
				return policy.Offer{}, err
			}
			answer := policy.Offer{Groups: offer.Groups}
			if offer.AskAgainMilliseconds > 0 {
				answer.AskAgainMilliseconds = wit.Some(offer.AskAgainMilliseconds)
			}
			if offer.Memory != nil {
				text, err := json.Marshal(offer.Memory)
				if err != nil {
					return answer, err
				}
				answer.Memory = wit.Some(string(text))
			}
			return answer, nil
		})
	}
	Reserve = func(config string, facts usb.Snapshot, group policy.GroupName, reserved []policy.Instance) wit.Result[policy.Reservation, string] {
		return answered(func() (policy.Reservation, error) { return p.Reserve(read[Config](config), facts, group, reserved) })
	}
	Stats = func(config string, counters []usb.CounterSet, offered []policy.Instance) wit.Result[[]policy.InstanceStats, string] {
		return answered(func() ([]policy.InstanceStats, error) { return p.Stats(read[Config](config), counters, offered) })
	}
}

// Infof writes a line to the plugin's log.
func Infof(format string, parts ...any) {
	log.Write(log.LevelInfo, fmt.Sprintf(format, parts...))
}

// Warnf writes a warning to the plugin's log.
func Warnf(format string, parts ...any) {
	log.Write(log.LevelWarn, fmt.Sprintf(format, parts...))
}

// Text is a text for the contract's optional ones.
func Text(text string) wit.Option[string] { return wit.Some(text) }

// Nothing is no text.
func Nothing() wit.Option[string] { return wit.None[string]() }

func answered[T any](call func() (T, error)) (result wit.Result[T, string]) {
	defer func() {
		if problem := recover(); problem != nil {
			result = wit.Err[T](said(problem))
		}
	}()
	debug.SetGCPercent(100)
	answer, err := call()
	if err != nil {
		return wit.Err[T](err.Error())
	}
	return wit.Ok[T, string](answer)
}

func logged[T any](call func() T) T {
	defer func() {
		if problem := recover(); problem != nil {
			log.Write(log.LevelError, said(problem))
			panic(problem)
		}
	}()
	return call()
}

// said is called while a panic unwinds: the first frame that is neither the runtime's nor ours is where it began.
func said(problem any) string {
	calls := make([]uintptr, 32)
	frames := runtime.CallersFrames(calls[:runtime.Callers(3, calls)])
	for {
		frame, more := frames.Next()
		if name := frame.Function; !strings.HasPrefix(name, "runtime.") {
			return fmt.Sprintf("%v (%s:%d, in %s)", problem, path.Base(frame.File), frame.Line, name[strings.LastIndex(name, ".")+1:])
		}
		if !more {
			return fmt.Sprint(problem)
		}
	}
}

func read[Config any](text string) (config Config) {
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		panic(fmt.Errorf("configuration: %w", err))
	}
	return config
}

// recalled: memory may come from another version of the policy; what cannot be read counts as none.
func recalled[Memory any](text wit.Option[string]) *Memory {
	if text.IsNone() {
		return nil
	}
	memory := new(Memory)
	if err := json.Unmarshal([]byte(text.Some()), memory); err != nil {
		Warnf("memory of another version is left behind: %v", err)
		return nil
	}
	return memory
}
