package rig

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/hashicorp/nomad/api"
)

// Node is this agent's node as the server knows it.
func (a *Agent) Node() (*api.Node, error) {
	nodes, _, err := a.API.Nodes().List(nil)
	if err != nil {
		return nil, err
	}
	if len(nodes) != 1 {
		return nil, fmt.Errorf("%d nodes", len(nodes))
	}
	node, _, err := a.API.Nodes().Info(nodes[0].ID, nil)
	return node, err
}

// Groups are the device groups of the node, by "vendor/type/name".
func (a *Agent) Groups() (map[string]*api.NodeDeviceResource, error) {
	node, err := a.Node()
	if err != nil {
		return nil, err
	}
	return groupsOf(node), nil
}

func groupsOf(node *api.Node) map[string]*api.NodeDeviceResource {
	groups := map[string]*api.NodeDeviceResource{}
	if node.NodeResources != nil {
		for _, group := range node.NodeResources.Devices {
			groups[group.Vendor+"/"+group.Type+"/"+group.Name] = group
		}
	}
	return groups
}

// Instances are the node's device ids, with "" for a healthy one, else the reason.
func (a *Agent) Instances() (map[string]string, error) {
	node, err := a.Node()
	if err != nil {
		return nil, err
	}
	return instancesOf(node), nil
}

func instancesOf(node *api.Node) map[string]string {
	instances := map[string]string{}
	for _, group := range groupsOf(node) {
		for _, instance := range group.Instances {
			reason := ""
			if !instance.Healthy {
				reason = "unhealthy: " + instance.HealthDescription
			}
			instances[instance.ID] = reason
		}
	}
	return instances
}

// WaitHealthy waits until the node shows exactly `count` devices, all healthy, and gives their ids.
func (a *Agent) WaitHealthy(count int) (ids []string) {
	a.t.Helper()
	Until(a.t, fmt.Sprintf("%d healthy devices on the node", count), func() error {
		instances, err := a.Instances()
		if err != nil {
			return err
		}
		ids = nil
		for id, reason := range instances {
			if reason == "" {
				ids = append(ids, id)
			}
		}
		if len(ids) != count || len(instances) != count {
			return fmt.Errorf("the node shows %v", instances)
		}
		return nil
	})
	return ids
}

// Changes says how often the plugins' devices have changed in the agent's eyes, by the agent's own log: for each time, how many
// groups there were then. What lasts less than a second is here, too; the server is never told of it.
func (a *Agent) Changes() (groups []string) {
	for _, line := range a.Log.Find("new devices detected") {
		groups = append(groups, line.Field("devices"))
	}
	return groups
}

// Watch holds every state of the node that the server is told, by the server's event stream.
type Watch struct {
	mutex sync.Mutex
	seen  []*api.Node
	err   error
}

// WatchNode begins to watch, until the test ends.
func (a *Agent) WatchNode() *Watch {
	a.t.Helper()
	node, err := a.Node()
	if err != nil {
		a.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.t.Cleanup(cancel)
	events, err := a.API.EventStream().Stream(ctx, map[api.Topic][]string{api.TopicNode: {node.ID}}, node.ModifyIndex, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	watch := &Watch{}
	go func() {
		for batch := range events {
			watch.take(batch)
		}
	}()
	return watch
}

func (r *Watch) take(batch *api.Events) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if batch.Err != nil {
		if !errors.Is(batch.Err, context.Canceled) {
			r.err = batch.Err
		}
		return
	}
	for _, event := range batch.Events {
		node, err := event.Node()
		if err == nil && node != nil {
			r.seen = append(r.seen, node)
		}
	}
}

// Instances are the instances of every state seen so far.
func (r *Watch) Instances(t testing.TB) []map[string]string {
	t.Helper()
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.err != nil {
		t.Fatalf("the event stream broke: %v", r.err)
	}
	var instances []map[string]string
	for _, node := range r.seen {
		instances = append(instances, instancesOf(node))
	}
	return instances
}

// Groups are the device groups of every state seen so far.
func (r *Watch) Groups(t testing.TB) (groups []map[string]*api.NodeDeviceResource) {
	t.Helper()
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.err != nil {
		t.Fatalf("the event stream broke: %v", r.err)
	}
	for _, node := range r.seen {
		groups = append(groups, groupsOf(node))
	}
	return groups
}
