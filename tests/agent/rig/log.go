package rig

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Log is what an agent wrote, as lines of JSON where they are.
type Log struct {
	mutex sync.Mutex
	rest  []byte
	lines []Line
}

// Line of the agent's log. Lines that a plugin wrote come through the agent, with Module ending in the plugin's name.
type Line struct {
	Raw    string
	Fields map[string]any
}

// Message is the text, without the fields.
func (l Line) Message() string { return l.Field("@message") }

// Field is a field as text, "" if it is absent.
func (l Line) Field(name string) string {
	value, found := l.Fields[name]
	if !found {
		return ""
	}
	return fmt.Sprint(value)
}

func newLog() *Log { return &Log{} }

// Write takes the agent's output.
func (l *Log) Write(bytesWritten []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.rest = append(l.rest, bytesWritten...)
	for {
		end := bytes.IndexByte(l.rest, '\n')
		if end < 0 {
			return len(bytesWritten), nil
		}
		line := Line{Raw: string(l.rest[:end])}
		_ = json.Unmarshal(l.rest[:end], &line.Fields)
		l.lines = append(l.lines, line)
		l.rest = l.rest[end+1:]
	}
}

// Find gives the lines whose message contains the text and whose fields have these values ("" for any value).
func (l *Log) Find(message string, fields ...string) []Line {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	var found []Line
	for _, line := range l.lines {
		if strings.Contains(line.Message(), message) && line.has(fields) {
			found = append(found, line)
		}
	}
	return found
}

// Order gives these messages as often and in the order in which they were logged.
func (l *Log) Order(messages ...string) (order []string) {
	for _, line := range l.Find("") {
		if slices.Contains(messages, line.Message()) {
			order = append(order, line.Message())
		}
	}
	return order
}

func (l Line) has(fields []string) bool {
	for i := 0; i+1 < len(fields); i += 2 {
		if value, found := l.Fields[fields[i]]; !found || fields[i+1] != "" && fmt.Sprint(value) != fields[i+1] {
			return false
		}
	}
	return true
}

// Tail is the last lines as they were written, and what was begun.
func (l *Log) Tail(count int) string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	first := max(0, len(l.lines)-count)
	var text strings.Builder
	for _, line := range l.lines[first:] {
		text.WriteString(line.Raw + "\n")
	}
	return text.String() + string(l.rest)
}

// Telling is the last lines that are about plugins or are complaints.
func (l *Log) Telling(count int) string {
	var telling []string
	for _, line := range l.Find("") {
		level, module := line.Field("@level"), line.Field("@module")
		if level == "warn" || level == "error" || len(line.Fields) == 0 ||
			strings.Contains(module, "device_mgr") || strings.Contains(module, "plugin_loader") {
			telling = append(telling, line.Raw)
		}
	}
	return strings.Join(telling[max(0, len(telling)-count):], "\n")
}
