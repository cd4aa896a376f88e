package albaproxy

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/conformance/backendtest"
	"ovs/internal/memregistry"
	"ovs/internal/vfs"
)

// TestStorm puts, reads and deletes from four sides, each with a model of its own, while the maintenance and the collector
// run, fragments rot, and one disk after the other fails.
func TestStorm(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	r.nsm = []*memregistry.Registry{memregistry.New()}
	disks := r.watch()
	p := r.open()
	ctx := context.Background()
	ok(t, p.CreateNamespace(ctx, "ns"))
	stop := make(chan struct{})
	var workers, others sync.WaitGroup
	errs := make(chan error, 10)
	for w := range uint64(4) {
		workers.Go(func() {
			if err := storm(ctx, p, w); err != nil {
				errs <- err
			}
		})
	}
	others.Go(func() {
		rng := rand.New(rand.NewPCG(1, 2))
		for {
			select {
			case <-stop:
				return
			default:
			}
			down := (*disks)[rng.IntN(6)]
			down.set(func(string, asd.Key) error { return errDown })
			_ = p.Collect(ctx)
			_ = p.Maintain(ctx)
			down.set(nil)
			forgive(p)
			_ = p.Collect(ctx)
			_ = p.Maintain(ctx)
		}
	})
	workers.Wait()
	close(stop)
	others.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	ok(t, p.Close())
	p = r.open()
	ok(t, tidy(p, r))
	ok(t, tidy(p, r))
	list, err := p.List(ctx, "ns", "", "", 10_000)
	ok(t, err)
	for _, o := range list {
		ok(t, allGood(p, o.Name))
	}
}

// storm is one side: its names are its own.
func storm(ctx context.Context, p *Proxy, w uint64) error {
	rng := rand.New(rand.NewPCG(w, 3))
	model := map[string][]byte{}
	for i := range 150 {
		name := fmt.Sprint(w, "-", rng.IntN(30))
		data, there := model[name]
		switch rng.IntN(4) {
		case 0:
			if err := p.Delete(ctx, "ns", name); err != nil {
				return fmt.Errorf("delete %s: %w", name, err)
			}
			delete(model, name)
		case 1:
			if there {
				continue
			}
			data = backendtest.Bytes(uint64(i), rng.IntN(30_000), true)
			_, err := p.Put(ctx, "ns", name, data, ovs.PutOptions{Compress: i%2 == 0})
			for ovs.Is(err, ovs.KindBusy) || ovs.Is(err, ovs.KindIO) { // epochs and disks change faster here than anywhere
				_, err = p.Put(ctx, "ns", name, data, ovs.PutOptions{Compress: i%2 == 0})
			}
			if err != nil {
				return fmt.Errorf("put %s: %w", name, err)
			}
			model[name] = data
		default:
			off := rng.IntN(len(data) + 1)
			dst := make([]byte, rng.IntN(len(data)+2))
			n, err := p.Get(ctx, "ns", name, uint64(off), dst)
			if !there {
				if !ovs.Is(err, ovs.KindNotFound) {
					return fmt.Errorf("get %s: %v, want not found", name, err)
				}
				continue
			}
			if err != nil || !bytes.Equal(dst[:n], data[off:min(off+len(dst), len(data))]) {
				return fmt.Errorf("get %s: %d bytes, %v", name, n, err)
			}
		}
	}
	return nil
}
