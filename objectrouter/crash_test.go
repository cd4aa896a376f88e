package objectrouter

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"ovs"
	"ovs/internal/memregistry"
)

// mortal is a registry whose node dies at a chosen sequence: that one is done or not, all after it fail.
type mortal struct {
	ovs.Registry
	left atomic.Int64 // sequences until death
	done bool         // the last one is done
}

func (m *mortal) dead() error { return ovs.E("mortal", ovs.KindClosed, nil, nil) }

func (m *mortal) Sequence(ctx context.Context, u ...ovs.Update) (uint64, error) {
	switch left := m.left.Add(-1); {
	case left < 0:
		return 0, m.dead()
	case left == 0:
		if m.done {
			_, _ = m.Registry.Sequence(ctx, u...)
		}
		return 0, m.dead()
	}
	return m.Registry.Sequence(ctx, u...)
}

// user runs operations and takes their errors as they come.
type user struct {
	fs *Router
	rq *ovs.Request
}

func newUser(r *Router) *user {
	return &user{r, &ovs.Request{Deadline: time.Now().Add(20 * time.Second)}}
}

func (u *user) create(dir ovs.ObjectID, name string, c ovs.Create) (ovs.ObjectID, error) {
	a, _, err := u.fs.Create(u.rq, dir, name, &c)
	return a.ID, err
}

func (u *user) file(t testing.TB, name string) ovs.ObjectID {
	t.Helper()
	id, err := u.create(ovs.RootID, name, ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (u *user) write(id ovs.ObjectID, off uint64, data string) error {
	done := make(chan error, 1)
	u.fs.Write(&ovs.Write{Request: *u.rq, File: id, Off: off, Data: []byte(data), Stable: ovs.FileSync, Done: func(w *ovs.Write) { done <- w.Err }})
	return <-done
}

func (u *user) read(id ovs.ObjectID, off uint64, n int) (string, error) {
	done := make(chan struct{})
	r := &ovs.Read{Request: *u.rq, File: id, Off: off, Dst: make([]byte, n), Done: func(*ovs.Read) { close(done) }}
	u.fs.Read(r)
	<-done
	return string(r.Dst[:r.N]), r.Err
}

// story does one of everything that takes a sequence; it returns at the first error. What was acknowledged is noted in said.
func (u *user) story(said map[string]string) error {
	file, dir := ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded}, ovs.Create{Type: ovs.TypeDir}
	f, err := u.create(ovs.RootID, "f", file)
	if err != nil {
		return err
	}
	said["f"] = ""
	if err := u.write(f, 0, "data"); err != nil {
		return err
	}
	said["f"] = "data"
	d, err := u.create(ovs.RootID, "d", dir)
	if err != nil {
		return err
	}
	e, err := u.create(d, "e", dir)
	if err != nil {
		return err
	}
	g, err := u.create(ovs.RootID, "g", file)
	if err != nil {
		return err
	}
	if err := u.write(g, 0, "old"); err != nil {
		return err
	}
	said["g"] = "old"
	mode, half := uint32(0o600), uint64(2)
	steps := []func() error{
		func() error { _, _, err := u.fs.Link(u.rq, f, e, "l"); return err },
		func() error { _, err := u.fs.SetAttr(u.rq, f, &ovs.SetAttr{Mode: &mode}); return err },
		func() error { _, _, err := u.fs.Rename(u.rq, d, "e", ovs.RootID, "e"); return err },
		func() error { delete(said, "f"); delete(said, "g"); return nil },
		func() error { _, _, err := u.fs.Rename(u.rq, ovs.RootID, "f", ovs.RootID, "g"); return err },
		func() error { _, err := u.fs.SetAttr(u.rq, f, &ovs.SetAttr{Size: &half}); return err },
		func() error { said["g"] = "da"; return nil },
		func() error { _, err := u.fs.Remove(u.rq, e, "l"); return err },
		func() error { _, err := u.fs.Rmdir(u.rq, ovs.RootID, "d"); return err },
		func() error { delete(said, "g"); return nil },
		func() error { _, err := u.fs.Remove(u.rq, ovs.RootID, "g"); return err },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// eventually waits until f holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 2000 {
		if f() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%s does not come", what)
}

// TestDeathAtEveryStep kills the node at each sequence of a story and of the start after it, done or not: the next
// start finds a whole tree, serves what was acknowledged, and leaves no orphan.
func TestDeathAtEveryStep(t *testing.T) {
	for _, done := range []bool{false, true} {
		for at := int64(1); ; at++ {
			w := newWorld(t, nil)
			m := &mortal{Registry: w.reg, done: done}
			m.left.Store(at)
			w.tune = func(c *Config) { c.Registry = m }
			said := make(map[string]string)
			err := w.try(func(r *Router) error { return newUser(r).story(said) })
			fsck(t, w.reg)
			m.left.Store(int64(rand.IntN(4)) + 1) // the next life is short as well
			_ = w.try(func(*Router) error { return nil })
			fsck(t, w.reg)
			w.tune = nil
			r := w.router()
			for name, want := range said {
				a, lookErr := r.Lookup(newUser(r).rq, ovs.RootID, name)
				if lookErr != nil {
					t.Fatalf("death at %d, %v: %s: %v", at, done, name, lookErr)
				}
				if got, readErr := newUser(r).read(a.ID, 0, 100); readErr != nil || got != want {
					t.Fatalf("death at %d, %v: %s holds %q (%v), want %q", at, done, name, got, readErr, want)
				}
			}
			eventually(t, "the burial of all orphans", func() bool { return len(readTree(t, w.reg).orphans) == 0 })
			w.end(r)
			fsck(t, w.reg)
			if err == nil {
				break // the story ended before its node did
			}
			if at > 100 {
				t.Fatal("the story has no end")
			}
		}
	}
}

// try starts a router and runs f with it, if the start goes through.
func (w *world) try(f func(*Router) error) error {
	cfg := Config{
		Pool: 1, Node: 1, Registry: w.reg, Log: w.log, Backend: w.back,
		Volumes: w.store.Driver(), Files: w.store.Driver(), Now: w.clock,
	}
	w.tune(&cfg)
	r, err := New(cfg)
	if err != nil {
		return err
	}
	defer w.end(r)
	if err := r.Start(context.Background()); err != nil {
		return err
	}
	return f(r)
}

// TestUnknownOutcomes: sequences time out and were done, or were not. Whoever asks again gets along, and the tree stays
// whole.
func TestUnknownOutcomes(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.RestAfter = 12 * time.Millisecond })
			r := w.router()
			rnd := rand.New(rand.NewPCG(seed, 2))
			w.reg.SetFaults(memregistry.Faults{Seed: seed, LostCall: 0.1, LostDone: 0.1, Busy: 0.05})
			said := make(map[string]string)
			for range 300 {
				name, u := fmt.Sprintf("f%d", rnd.IntN(8)), newUser(r)
				switch rnd.IntN(4) {
				case 0:
					_, _ = u.create(ovs.RootID, name, ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded})
				case 1:
					delete(said, name) // removed or not: from here on nobody knows
					if _, err := r.Remove(u.rq, ovs.RootID, name); err != nil && !ovs.Is(err, ovs.KindNotFound) {
						continue
					}
				default:
					a, err := r.Lookup(u.rq, ovs.RootID, name)
					if err != nil {
						continue
					}
					data := fmt.Sprint(rnd.Uint32() | 1<<31)
					if u.write(a.ID, 0, data) == nil {
						said[name] = data
					}
				}
				if rnd.IntN(60) == 0 {
					w.reg.SetFaults(memregistry.Faults{})
					w.end(r)
					r = w.router()
					w.reg.SetFaults(memregistry.Faults{Seed: rnd.Uint64(), LostCall: 0.1, LostDone: 0.1, Busy: 0.05})
				}
			}
			w.reg.SetFaults(memregistry.Faults{})
			fsck(t, w.reg)
			for name, want := range said {
				u := newUser(r)
				a, err := r.Lookup(u.rq, ovs.RootID, name)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := u.read(a.ID, 0, len(want)); err != nil || got != want {
					t.Fatalf("%s holds %q (%v), want %q", name, got, err, want)
				}
			}
		})
	}
}
