package rig

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Consul is as much of a Consul agent as Nomad needs to keep the checks of its services there: script checks are run for Consul only.
type Consul struct {
	server   *httptest.Server
	mutex    sync.Mutex
	services map[string]map[string]any
	checks   map[string]*Check
}

// Check is a check as Consul knows it.
type Check struct{ CheckID, Name, ServiceID, Status, Output string }

// NewConsul listens until the test ends.
func NewConsul(t testing.TB) *Consul {
	t.Helper()
	consul := &Consul{services: map[string]map[string]any{}, checks: map[string]*Check{}}
	consul.server = httptest.NewServer(consul)
	t.Cleanup(consul.server.Close)
	return consul
}

// Config makes an agent use it.
func (c *Consul) Config() string {
	return fmt.Sprintf("consul {\n  address = %q\n}\n", strings.TrimPrefix(c.server.URL, "http://"))
}

// Check is the check of this name, nil before it is registered.
func (c *Consul) Check(name string) *Check {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, check := range c.checks {
		if check.Name == name {
			found := *check
			return &found
		}
	}
	return nil
}

func (c *Consul) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	var body map[string]any
	_ = json.NewDecoder(request.Body).Decode(&body)
	text := func(key string) string { value, _ := body[key].(string); return value }
	path := strings.TrimPrefix(request.URL.Path, "/v1/agent/")
	verb, id := path, ""
	if slash := strings.LastIndexByte(path, '/'); slash >= 0 && path[slash+1:] != "register" {
		verb, id = path[:slash], path[slash+1:]
	}
	give := func(value any) {
		answer.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(answer).Encode(value)
	}
	switch verb {
	case "self":
		give(map[string]any{"Config": map[string]any{"Datacenter": "dc1", "NodeName": "rig", "NodeID": "rig", "Version": "1.21.0", "Server": true}})
	case "services":
		give(c.services)
	case "checks":
		give(c.checks)
	case "service/register":
		id := text("ID")
		// As Consul gives it back; Nomad registers anew what differs from what it wants.
		c.services[id] = map[string]any{
			"ID": id, "Service": body["Name"], "Tags": body["Tags"], "Port": body["Port"], "Address": body["Address"],
			"Meta": body["Meta"], "EnableTagOverride": body["EnableTagOverride"], "TaggedAddresses": body["TaggedAddresses"],
		}
		checks, _ := body["Checks"].([]any)
		for _, one := range checks {
			check, _ := one.(map[string]any)
			c.add(check, id)
		}
	case "check/register":
		c.add(body, text("ServiceID"))
	case "check/update":
		if check := c.checks[id]; check != nil {
			check.Status, check.Output = text("Status"), text("Output")
		} else {
			http.Error(answer, "unknown check "+id, http.StatusNotFound)
		}
	case "service/deregister":
		delete(c.services, id)
	case "check/deregister":
		delete(c.checks, id)
	default:
		http.NotFound(answer, request)
	}
}

func (c *Consul) add(check map[string]any, service string) {
	text := func(key string) string { value, _ := check[key].(string); return value }
	status := text("Status")
	if status == "" {
		status = "critical"
	}
	c.checks[text("CheckID")] = &Check{CheckID: text("CheckID"), Name: text("Name"), ServiceID: service, Status: status}
}
