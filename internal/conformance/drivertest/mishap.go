package drivertest

import (
	"bytes"
	"context"
	"slices"

	"ovs"
	"ovs/internal/exhaust"
	"ovs/internal/memlog"
)

// mishap is one way in which a call goes wrong.
type mishap struct {
	name  string
	kind  ovs.Kind
	after bool     // it was done all the same: the outcome is unknown
	slow  bool     // it takes until its context ends
	bad   bool     // what it reads is damaged
	halts bool     // the object may take no more writes until it is brought up again
	calls []string // that it happens to
}

var mishaps = []mishap{
	{name: "fails", kind: ovs.KindIO, calls: []string{"Get", "MultiGet", "Sequence", "CreateNamespace", "DeleteNamespace", "Put", "GetObject", "List", "Delete", "ReadAt", "Replay"}},
	{name: "unknown", kind: ovs.KindTimeout, after: true, calls: []string{"Sequence", "CreateNamespace", "DeleteNamespace", "Put", "Delete"}},
	{name: "slow", kind: ovs.KindTimeout, slow: true, calls: []string{"Get", "MultiGet", "Sequence", "CreateNamespace", "DeleteNamespace", "Put", "GetObject", "List", "Delete"}},
	{name: "absent", kind: ovs.KindNotFound, halts: true, calls: []string{"Put", "GetObject"}},
	{name: "conflict", kind: ovs.KindConflict, halts: true, calls: []string{"Sequence", "Put"}},
	{name: "corrupt", kind: ovs.KindCorrupt, halts: true, calls: []string{"GetObject", "ReadAt", "Replay"}},
	{name: "damaged", bad: true, halts: true, calls: []string{"Get", "MultiGet", "GetObject"}},
	{name: "flush fails", halts: true, calls: []string{"Append", "Sync"}},
}

// Fate has one call go wrong, once: that of an exhaust.Call, counted among those that its mishap happens to.
type Fate struct {
	*exhaust.Call
	mishap
	play int
	log  func() *memlog.Log
}

// meets counts a call and tells whether it is the one.
func (f *Fate) meets(call string) bool { return slices.Contains(f.calls, call) && f.Meets(call) }

// around does a call, or has it go wrong; spoil damages what it has read.
func (f *Fate) around(ctx context.Context, call string, do func() error, spoil func()) error {
	if !f.meets(call) {
		return do()
	}
	if f.slow {
		<-ctx.Done()
	}
	if f.after || f.bad {
		if err := do(); err != nil {
			return err
		}
	}
	if f.bad {
		spoil()
		return nil
	}
	return ovs.E("test."+call, f.kind, nil, nil)
}

// Backend, Registry and Log are what stands beneath, with the fate's call going wrong.
func (f *Fate) Backend(b ovs.Backend) ovs.Backend    { return fatedBackend{b, f} }
func (f *Fate) Registry(r ovs.Registry) ovs.Registry { return fatedRegistry{r, f} }
func (f *Fate) Log(l ovs.Log) ovs.Log                { return fatedLog{l, f} }

type fatedBackend struct {
	ovs.Backend
	f *Fate
}

func (b fatedBackend) CreateNamespace(ctx context.Context, ns string) error {
	return b.f.around(ctx, "CreateNamespace", func() error { return b.Backend.CreateNamespace(ctx, ns) }, nil)
}

func (b fatedBackend) DeleteNamespace(ctx context.Context, ns string) error {
	return b.f.around(ctx, "DeleteNamespace", func() error { return b.Backend.DeleteNamespace(ctx, ns) }, nil)
}

func (b fatedBackend) Put(ctx context.Context, ns, name string, data []byte, o ovs.PutOptions) (full bool, err error) {
	err = b.f.around(ctx, "Put", func() (err error) {
		full, err = b.Backend.Put(ctx, ns, name, data, o)
		return err
	}, nil)
	return full, err
}

func (b fatedBackend) Get(ctx context.Context, ns, name string, off uint64, dst []byte) (n int, err error) {
	err = b.f.around(ctx, "GetObject", func() (err error) {
		n, err = b.Backend.Get(ctx, ns, name, off, dst)
		return err
	}, func() {
		for _, i := range []int{0, n / 2} {
			if i < n {
				dst[i] ^= 0x10
			}
		}
	})
	return n, err
}

func (b fatedBackend) List(ctx context.Context, ns, prefix, after string, limit int) (l []ovs.ObjectInfo, err error) {
	err = b.f.around(ctx, "List", func() (err error) {
		l, err = b.Backend.List(ctx, ns, prefix, after, limit)
		return err
	}, nil)
	return l, err
}

func (b fatedBackend) Delete(ctx context.Context, ns string, names ...string) error {
	return b.f.around(ctx, "Delete", func() error { return b.Backend.Delete(ctx, ns, names...) }, nil)
}

type fatedRegistry struct {
	ovs.Registry
	f *Fate
}

func (r fatedRegistry) Get(ctx context.Context, key []byte) (v []byte, err error) {
	err = r.f.around(ctx, "Get", func() (err error) {
		v, err = r.Registry.Get(ctx, key)
		return err
	}, func() { v = bytes.Repeat([]byte{0xff}, len(v)) })
	return v, err
}

func (r fatedRegistry) MultiGet(ctx context.Context, keys [][]byte) (v [][]byte, err error) {
	err = r.f.around(ctx, "MultiGet", func() (err error) {
		v, err = r.Registry.MultiGet(ctx, keys)
		return err
	}, func() { // one of those that are there, each in its turn
		var there []int
		for i := range v {
			if v[i] != nil {
				there = append(there, i)
			}
		}
		if len(there) > 0 {
			i := there[r.f.play%len(there)]
			v[i] = bytes.Repeat([]byte{0xff}, len(v[i]))
		}
	})
	return v, err
}

func (r fatedRegistry) Sequence(ctx context.Context, u ...ovs.Update) (i uint64, err error) {
	err = r.f.around(ctx, "Sequence", func() (err error) {
		i, err = r.Registry.Sequence(ctx, u...)
		return err
	}, nil)
	return i, err
}

type fatedLog struct {
	ovs.Log
	f *Fate
}

func (l fatedLog) Append(r *ovs.Record) {
	if l.f.meets("Append") {
		l.f.log().Fail()
	}
	l.Log.Append(r)
}

func (l fatedLog) Sync(s *ovs.LogSync) {
	if l.f.meets("Sync") {
		l.f.log().Fail()
	}
	l.Log.Sync(s)
}

// TryReadAt never succeeds, so that every read meets the fate.
func (l fatedLog) TryReadAt(ovs.LogPos, []byte) bool { return false }

func (l fatedLog) ReadAt(p ovs.LogPos, dst []byte) error {
	return l.f.around(context.Background(), "ReadAt", func() error { return l.Log.ReadAt(p, dst) }, nil)
}

func (l fatedLog) Replay(r ovs.Ref, after ovs.RecordNo, f func(*ovs.Record) error) error {
	return l.f.around(context.Background(), "Replay", func() error { return l.Log.Replay(r, after, f) }, nil)
}
