/*
Package membackend is the twin of a backend in memory: an ovs.Backend for the tests of those who use one, and the model
that the real one is compared with.

	Put ── fault? ── absent? ──► objects[ns][name]     one lock; what it holds is what a real backend
	                 same? ok                          would still hold after a crash of its user
	                 other? KindConflict

Optional faults come from a seed (SetFaults); a hook (SetHook) lets a test fail, delay or observe a chosen call.
*/
package membackend

import (
	"context"
	"hash/crc32"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"time"

	"ovs"
)

// Backend is an ovs.Backend in memory. Its methods may run concurrently.
type Backend struct {
	mu     sync.Mutex // guards all below
	spaces map[string]map[string]*object
	total  uint64 // bytes that may be stored; 0: 1 TiB
	used   uint64
	faults Faults
	rand   *rand.Rand
	hook   func(c Call) error
	counts map[string]int
}

type object struct {
	data    []byte
	sum     uint32
	corrupt bool
}

// Faults are mishaps, each with a probability from 0 to 1. The same seed and order of calls give the same mishaps.
type Faults struct {
	Seed       uint64
	PutLost    float64       // Put: KindTimeout, and nothing was stored
	PutDone    float64       // Put: KindTimeout, but the object stands
	PutPartial float64       // Put: success with full == false
	GetFails   float64       // Get: KindIO
	OtherFails float64       // List, Delete, CreateNamespace, DeleteNamespace: KindTimeout, done or not
	Latency    time.Duration // every call takes up to this long, or until its context ends
}

// Call is a call on the backend as a hook sees it.
type Call struct {
	Ctx      context.Context
	Op       string // the method's name
	NS, Name string // Name is empty where there is none; a Delete of several names is one call for each
	After    bool   // it was done and is about to return; false: it has not begun
}

var (
	_          ovs.Backend = (*Backend)(nil)
	castagnoli             = crc32.MakeTable(crc32.Castagnoli)
)

// New gives an empty backend that never fails.
func New() *Backend {
	return &Backend{spaces: map[string]map[string]*object{}, counts: map[string]int{}}
}

// CreateNamespace implements ovs.Backend.
func (b *Backend) CreateNamespace(ctx context.Context, ns string) error {
	const op = "CreateNamespace"
	if err := ovs.CheckBackendName("membackend."+op, ns); err != nil {
		return err
	}
	return b.call(ctx, op, ns, "", func() error {
		if b.spaces[ns] == nil {
			b.spaces[ns] = map[string]*object{}
		}
		return nil
	})
}

// DeleteNamespace implements ovs.Backend.
func (b *Backend) DeleteNamespace(ctx context.Context, ns string) error {
	return b.call(ctx, "DeleteNamespace", ns, "", func() error {
		for _, o := range b.spaces[ns] {
			b.used -= uint64(len(o.data))
		}
		delete(b.spaces, ns)
		return nil
	})
}

// Put implements ovs.Backend.
func (b *Backend) Put(ctx context.Context, ns, name string, data []byte, o ovs.PutOptions) (full bool, err error) {
	const op = "membackend.Put"
	if err := ovs.CheckBackendName(op, name); err != nil {
		return false, err
	}
	err = b.call(ctx, "Put", ns, name, func() error {
		full = !b.draw(b.faults.PutPartial)
		space := b.spaces[ns]
		if space == nil {
			return ovs.E(op, ovs.KindNotFound, ns, nil)
		}
		sum := crc32.Checksum(data, castagnoli)
		if old := space[name]; old != nil {
			if old.sum != sum || len(old.data) != len(data) {
				return ovs.E(op, ovs.KindConflict, ns+"/"+name, nil)
			}
			return nil
		}
		if b.used+uint64(len(data)) > b.capacity() {
			return ovs.E(op, ovs.KindNoSpace, ns+"/"+name, nil)
		}
		b.used += uint64(len(data))
		space[name] = &object{data: append([]byte{}, data...), sum: sum}
		return nil
	})
	return full && err == nil, err
}

// Get implements ovs.Backend.
func (b *Backend) Get(ctx context.Context, ns, name string, off uint64, dst []byte) (n int, err error) {
	const op = "membackend.Get"
	err = b.call(ctx, "Get", ns, name, func() error {
		o := b.spaces[ns][name]
		switch {
		case o == nil:
			return ovs.E(op, ovs.KindNotFound, ns+"/"+name, nil)
		case o.corrupt:
			return ovs.E(op, ovs.KindCorrupt, ns+"/"+name, nil)
		case off < uint64(len(o.data)):
			n = copy(dst, o.data[off:])
		}
		return nil
	})
	return n, err
}

// List implements ovs.Backend.
func (b *Backend) List(ctx context.Context, ns, prefix, after string, limit int) (list []ovs.ObjectInfo, err error) {
	err = b.call(ctx, "List", ns, "", func() error {
		space := b.spaces[ns]
		if space == nil {
			return ovs.E("membackend.List", ovs.KindNotFound, ns, nil)
		}
		for name, o := range space {
			if strings.HasPrefix(name, prefix) && name > after {
				list = append(list, ovs.ObjectInfo{Name: name, Size: uint64(len(o.data)), Checksum: o.sum})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list[:min(len(list), max(limit, 0))], nil
}

// Delete implements ovs.Backend.
func (b *Backend) Delete(ctx context.Context, ns string, names ...string) error {
	for _, name := range names {
		err := b.call(ctx, "Delete", ns, name, func() error {
			if o := b.spaces[ns][name]; o != nil {
				b.used -= uint64(len(o.data))
				delete(b.spaces[ns], name)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Usage implements ovs.Backend.
func (b *Backend) Usage(ctx context.Context) (u ovs.Usage, err error) {
	err = b.call(ctx, "Usage", "", "", func() error {
		total := b.capacity()
		u = ovs.Usage{Total: total, Free: total - min(b.used, total)}
		return nil
	})
	return u, err
}

func (b *Backend) capacity() uint64 {
	if b.total == 0 {
		return 1 << 40
	}
	return b.total
}

// Objects counts what is stored, in all namespaces.
func (b *Backend) Objects() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.spaces {
		n += len(s)
	}
	return n
}
