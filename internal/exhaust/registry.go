package exhaust

import (
	"context"
	"io"
	"slices"

	"ovs"
)

// Mishap is a way in which a call of a registry goes wrong.
type Mishap struct {
	Name string
	Kind ovs.Kind // of the error; with a malformed value, of what the reader should say
	does does
	only func(u []ovs.Update) bool // which sequences it may happen to, and no other call; nil: all calls
}

type does int

const (
	nothing does = iota // what was asked
	all
	most // what a read gives lacks its last byte
)

// Mishaps are all of them.
var Mishaps = []Mishap{
	{Name: "fails", Kind: ovs.KindIO},
	{Name: "unknown, not done", Kind: ovs.KindTimeout},
	{Name: "unknown, done", Kind: ovs.KindTimeout, does: all, only: func([]ovs.Update) bool { return true }},
	{Name: "assertion lost", Kind: ovs.KindConflict, only: func(u []ovs.Update) bool { return asserts(u) >= 0 }},
	{Name: "malformed value", Kind: ovs.KindCorrupt, does: most},
}

// asserts is the first step of a sequence that wants a value unchanged; -1: there is none. What is asserted to be absent
// does not count: that it was there for a moment and is gone again would be another story.
func asserts(u []ovs.Update) int {
	return slices.IndexFunc(u, func(u ovs.Update) bool {
		return u.Op == ovs.OpAssert || u.Op == ovs.OpTestAndSet && u.Expect != nil
	})
}

// Registry makes calls on inner go wrong. Several may share one Call: a group for each.
func Registry(inner ovs.Registry, c *Call, m Mishap) ovs.Registry { return &registry{inner, c, m} }

type registry struct {
	ovs.Registry // Follow passes
	c            *Call
	m            Mishap
}

// read does a read, or has it go wrong; values are what it has read.
func (r *registry) read(name string, do func() error, values func(each func(v []byte) []byte)) error {
	if r.m.only != nil {
		return do()
	}
	if r.m.does == most {
		err, cut := do(), false
		values(func(v []byte) []byte {
			if len(v) == 0 || cut || !r.c.Meets(name) {
				return v
			}
			cut = true
			return v[:len(v)-1]
		})
		return err
	}
	if r.c.Meets(name) {
		return ovs.E("exhaust."+name, r.m.Kind, nil, nil)
	}
	return do()
}

// Get implements ovs.Registry.
func (r *registry) Get(ctx context.Context, key []byte) (v []byte, err error) {
	err = r.read("Get", func() (err error) {
		v, err = r.Registry.Get(ctx, key)
		return err
	}, func(each func([]byte) []byte) { v = each(v) })
	return v, err
}

// MultiGet implements ovs.Registry.
func (r *registry) MultiGet(ctx context.Context, keys [][]byte) (v [][]byte, err error) {
	err = r.read("MultiGet", func() (err error) {
		v, err = r.Registry.MultiGet(ctx, keys)
		return err
	}, func(each func([]byte) []byte) {
		for i := range v {
			v[i] = each(v[i])
		}
	})
	return v, err
}

// Range implements ovs.Registry.
func (r *registry) Range(ctx context.Context, o ovs.RangeOptions) (list []ovs.Pair, err error) {
	err = r.read("Range", func() (err error) {
		list, err = r.Registry.Range(ctx, o)
		return err
	}, func(each func([]byte) []byte) {
		for i := range list {
			list[i].Value = each(list[i].Value)
		}
	})
	return list, err
}

// Sequence implements ovs.Registry.
func (r *registry) Sequence(ctx context.Context, u ...ovs.Update) (uint64, error) {
	const name = "Sequence"
	if r.m.does == most || r.m.only != nil && !r.m.only(u) || !r.c.Meets(name) {
		return r.Registry.Sequence(ctx, u...)
	}
	if r.m.does == all {
		if _, err := r.Registry.Sequence(ctx, u...); err != nil {
			return 0, err
		}
	}
	var cause error
	if r.m.Kind == ovs.KindConflict { // another changed it, and changed it back
		step := asserts(u)
		now, _ := r.Registry.Get(ctx, u[step].Key)
		cause = &ovs.AssertError{Step: step, Key: u[step].Key, Current: now}
	}
	return 0, ovs.E("exhaust."+name, r.m.Kind, nil, cause)
}

// Reader makes reads of inner, a source of random bytes say, go wrong with err.
func Reader(inner io.Reader, c *Call, err error) io.Reader { return reader{inner, c, err} }

type reader struct {
	io.Reader
	c   *Call
	err error
}

func (r reader) Read(p []byte) (int, error) {
	if r.c.Meets("Read") {
		return 0, r.err
	}
	return r.Reader.Read(p)
}
