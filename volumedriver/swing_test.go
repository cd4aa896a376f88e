package volumedriver

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"

	"ovs"
)

// hookRegistry lets a test stand before and after a sequence that changes the head.
type hookRegistry struct {
	ovs.Registry
	mu   sync.Mutex
	hook func(do func() error) error
}

func (r *hookRegistry) set(f func(do func() error) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hook = f
}

func (r *hookRegistry) Sequence(ctx context.Context, u ...ovs.Update) (i uint64, err error) {
	r.mu.Lock()
	f := r.hook
	r.mu.Unlock()
	do := func() error {
		i, err = r.Registry.Sequence(ctx, u...)
		return err
	}
	if f == nil {
		return i, do()
	}
	return i, f(do)
}

func newSwing(t *testing.T) (*world, *hookRegistry, *volume) {
	w := newWorld(t, Config{TLogSCOs: 1, MostTLogs: 1})
	h := &hookRegistry{Registry: w.reg}
	w.cfg.Registry = h
	w.driver()
	v := w.create()
	write(t, v, 0, pattern(1, 8192), ovs.FileSync)
	return w, h, v
}

// The swing is done, its answer lost: the next try finds it done.
func TestSwingAnswerLost(t *testing.T) {
	w, h, v := newSwing(t)
	lost := make(chan bool, 1)
	h.set(func(do func() error) error {
		h.set(nil)
		if err := do(); err != nil {
			return err
		}
		lost <- true
		return ovs.E("test", ovs.KindTimeout, nil, nil)
	})
	flush(t, v)
	<-lost
	write(t, v, 0, pattern(2, 100), ovs.FileSync)
	flush(t, v) // it goes on
	w.rest(v)
	v = w.mustRecover()
	if got := read(t, v, 0, 9000); !bytes.Equal(got[:100], pattern(2, 100)) || !bytes.Equal(got[100:], pattern(1, 8192)[100:]) {
		t.Fatal("not the same")
	}
	v.Close()
}

// Somebody else set the head: this owner is fenced, and touches nothing more.
func TestSwingOverAnotherHead(t *testing.T) {
	w, h, v := newSwing(t)
	other := (&head{Record: 5}).encode()
	h.set(func(do func() error) error {
		h.set(nil)
		w.do(ovs.Set(ovs.HeadKey(disk), other))
		return do()
	})
	flush(t, v)
	until(t, "it is halted", func() bool { return v.Live().Halted != nil })
	if !ovs.Is(v.tail.Err(), ovs.KindFenced) || !bytes.Equal(mustHead(t, w), other) {
		t.Fatal(v.tail.Err())
	}
	v.Close()
}

// A crash between the root's PUT and the swing, and one between the swing and the deletions.
func TestCrashAroundSwing(t *testing.T) {
	for _, done := range []bool{false, true} {
		w, h, v := newSwing(t)
		at, gone := make(chan bool), make(chan bool)
		h.set(func(do func() error) error {
			if done {
				if err := do(); err != nil {
					return err
				}
			}
			h.set(nil)
			close(at)
			<-gone
			return ovs.E("test", ovs.KindTimeout, nil, nil)
		})
		flush(t, v)
		<-at
		v.stop()
		close(gone)
		v = w.crash(v, 0)
		if got := read(t, v, 0, 9000); !bytes.Equal(got, pattern(1, 8192)) {
			t.Fatal("not the same")
		}
		write(t, v, 4096, pattern(2, 4096), ovs.FileSync)
		flush(t, v)
		w.rest(v)
		v = w.mustRecover()
		if got := read(t, v, 4096, 9000); !bytes.Equal(got, pattern(2, 4096)) {
			t.Fatal("not the same after going on")
		}
		left := 2
		for i := uint64(0); left > 1 && i < 1000; i++ { // leftovers go with the next checkpoint, soon after a flush
			write(t, v, 0, pattern(i, 4096), ovs.FileSync)
			flush(t, v)
			l, err := w.d.list(context.Background(), namespace(ref), "root/", "")
			if left = len(l); err != nil {
				t.Fatal(err)
			}
		}
		if left > 1 {
			t.Errorf("%d roots are left", left)
		}
		v.Close()
	}
}

// shortList hides SCOs from listings, as a store does whose listings are late.
type shortList struct{ ovs.Backend }

func (b shortList) List(ctx context.Context, ns, prefix, after string, limit int) ([]ovs.ObjectInfo, error) {
	if strings.HasPrefix(prefix, "sco/") {
		return nil, nil
	}
	return b.Backend.List(ctx, ns, prefix, after, limit)
}

// What a listing does not show yet is asked for by name.
func TestLateListing(t *testing.T) {
	w := newWorld(t, Config{})
	w.cfg.Backend = shortList{w.backend}
	w.driver()
	v := w.create()
	for i := range uint64(3) {
		write(t, v, i*4096, pattern(i, 4096), ovs.FileSync)
		flush(t, v)
	}
	v = w.crash(v, 0)
	for i := range uint64(3) {
		if got := read(t, v, i*4096, 4096); !bytes.Equal(got, pattern(i, 4096)) {
			t.Fatal("not the same")
		}
	}
	v.Close()
}
