package memregistry

import (
	"context"
	"sync"

	"ovs"
)

// Groups are the registries of a cluster, made as they are asked for.
type Groups struct {
	mu     sync.Mutex
	groups map[string]*Registry
}

// NewGroups is a cluster without any.
func NewGroups() *Groups { return &Groups{groups: map[string]*Registry{}} }

// Get gives the group of that name.
func (g *Groups) Get(name string) *Registry {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.groups[name] == nil {
		g.groups[name] = New()
	}
	return g.groups[name]
}

// Group is Get as storagerouter.Groups has it.
func (g *Groups) Group(_ context.Context, name string) (ovs.Registry, error) {
	return g.Get(name), nil
}

// Fork is a copy that goes its own way.
func (g *Groups) Fork() *Groups {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := NewGroups()
	for name, r := range g.groups {
		f.groups[name] = r.Fork()
	}
	return f
}
