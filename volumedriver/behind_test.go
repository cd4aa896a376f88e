package volumedriver

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"ovs"
)

// hurried counts the SCOs that are put in a hurry, and those that are not. PUTs wait for open.
type hurried struct {
	ovs.Backend
	open   chan struct{}
	counts [2]atomic.Int32
}

func (b *hurried) Put(ctx context.Context, ns, name string, data []byte, o ovs.PutOptions) (bool, error) {
	if strings.HasPrefix(name, "sco/") {
		if o.Hurry {
			b.counts[1].Add(1)
		} else {
			b.counts[0].Add(1)
		}
		select {
		case <-b.open:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return b.Backend.Put(ctx, ns, name, data, o)
}

// A volume that keeps up with its log is in no hurry; one with intervals that wait for their builder is.
func TestBehind(t *testing.T) {
	w := newWorld(t, Config{})
	b := &hurried{Backend: w.backend, open: make(chan struct{})}
	w.cfg.Backend = b
	w.driver()
	v := w.create()
	interval := func(i int) {
		write(t, v, uint64(i)<<20, pattern(uint64(i), 16*ovs.ClusterSize), ovs.FileSync)
		v.tail.Seal()
		v.kick()
	}
	put := func() int32 { return b.counts[0].Load() + b.counts[1].Load() }
	for i := range putsPerVolume {
		interval(i)
		until(t, "its PUT is under way", func() bool { return put() == int32(i)+1 })
	}
	if n := b.counts[1].Load(); n != 0 {
		t.Fatalf("%d of %d PUTs are in a hurry though nothing waits", n, put())
	}
	for i := range 4 {
		interval(100 + i)
	}
	until(t, "intervals wait", func() bool { return v.tail.Waiting() > 1 })
	close(b.open)
	flush(t, v)
	if n := b.counts[1].Load(); n == 0 {
		t.Fatal("none is in a hurry")
	}
	v.Close()
}
