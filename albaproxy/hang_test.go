package albaproxy

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/conformance/backendtest"
	"ovs/internal/vfs"
)

// TestHungDiskTakesNoBudget: what a hanging disk was given stays in memory until it answers, so it is given no more.
func TestHungDiskTakesNoBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewCrash(1), "")
		disks := r.watch()
		watch := r.edit
		r.edit = func(c *Config) {
			watch(c)
			c.InFlight, c.RepairEvery = 1<<20, 24*time.Hour
		}
		p := r.open()
		defer p.Close()
		ok(t, p.CreateNamespace(t.Context(), "ns"))
		release := make(chan struct{})
		answer := sync.OnceFunc(func() { close(release) })
		defer answer() // before Close
		(*disks)[2].set(func(op string, _ asd.Key) error {
			if op == "put" {
				<-release
			}
			return nil
		})
		data := backendtest.Bytes(1, 100_000, false) // about 160 KB as fragments
		begin := time.Now()
		for round := range 3 {
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					if _, err := p.Put(ctx, "ns", fmt.Sprint("o", round, "-", i), data, ovs.PutOptions{}); err != nil {
						t.Errorf("round %d, put %d, %v after the disk began to hang: %v", round, i, time.Since(begin), err)
					}
				})
			}
			wg.Wait()
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("60 Puts took %v", d)
		}
		if n := p.disks[2].late; n > 5 {
			t.Errorf("the disk was given %d fragments", n)
		}
		answer()
		time.Sleep(time.Second)
		if full, err := p.Put(t.Context(), "ns", "after", data, ovs.PutOptions{}); !full || err != nil {
			t.Errorf("once the disk answers: full %v, %v", full, err)
		}
	})
}

// TestHungReads: reads go round a disk that hangs, as long as others can stand in for it; where they cannot, a read waits
// for it, but not past its own deadline.
func TestHungReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewCrash(1), "")
		disks := r.watch()
		p := r.open()
		defer p.Close()
		ok(t, p.CreateNamespace(t.Context(), "ns"))
		data := backendtest.Bytes(1, 100_000, false)
		_, err := p.Put(t.Context(), "ns", "o", data, ovs.PutOptions{})
		ok(t, err)
		release := make(chan struct{})
		answer := sync.OnceFunc(func() { close(release) })
		defer answer()
		hang := func(op string, _ asd.Key) error {
			if op == "get" {
				<-release
			}
			return nil
		}
		timed := func(most time.Duration) {
			t.Helper()
			begin := time.Now()
			for at := 0; at < len(data); at += 4096 {
				read(t, p, "o", data, at, 4096)
			}
			read(t, p, "o", data, 0, len(data))
			if took := time.Since(begin); took > most {
				t.Fatalf("reads took %v", took)
			}
		}
		(*disks)[1].set(hang)
		timed(6 * time.Second)
		timed(0)
		(*disks)[4].set(hang)
		timed(6 * time.Second)
		(*disks)[0].set(hang) // one more than parity can stand in for
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		_, err = p.Get(ctx, "ns", "o", 0, make([]byte, len(data)))
		if want(t, err, ovs.KindTimeout); time.Since(begin) != time.Minute {
			t.Fatalf("the deadline of a minute passed after %v", time.Since(begin))
		}
		time.AfterFunc(time.Hour, answer)
		begin = time.Now()
		read(t, p, "o", data, 0, len(data))
		if took := time.Since(begin); took < time.Hour-time.Minute || took > time.Hour {
			t.Fatalf("the disks answered after an hour, the read after %v", took)
		}
		timed(0)
	})
}

// TestHungMaintenance: a disk that hangs keeps the maintenance from nothing that the others can do.
func TestHungMaintenance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewCrash(1), "")
		disks := r.watch()
		watch := r.edit
		r.edit = func(c *Config) {
			watch(c)
			c.RepairEvery = 24 * time.Hour // who waits for a mutex holds the bubble's clock up
		}
		p := r.open()
		defer p.Close()
		ctx := t.Context()
		ok(t, p.CreateNamespace(ctx, "ns"))
		data := backendtest.Bytes(1, 50_000, false)
		for i := range 20 {
			_, err := p.Put(ctx, "ns", fmt.Sprint("o", i), data, ovs.PutOptions{})
			ok(t, err)
		}
		r.rot(p, "ns", "o0", 0, 2000)
		m, _, _ := manifestOf(t, p, "ns", "o0")
		spoilt := r.asdNumber(p, m.fragments[0].disk)
		read(t, p, "o0", data, 0, len(data))
		release := make(chan struct{})
		answer := sync.OnceFunc(func() { close(release) })
		defer answer()
		(*disks)[(spoilt+1)%6].set(func(string, asd.Key) error {
			<-release
			return nil
		})
		for i := range 10 {
			ok(t, p.Delete(ctx, "ns", fmt.Sprint("o", 10+i)))
		}
		begin := time.Now()
		_ = p.Maintain(ctx)
		_ = p.Collect(ctx)
		if took := time.Since(begin); took > 10*time.Minute {
			t.Fatalf("the maintenance took %v", took)
		}
		if p.Stats().Repaired != 1 {
			t.Fatalf("not repaired: %+v", p.Stats())
		}
		for i, d := range p.disks {
			if i == (spoilt+1)%6 {
				continue
			}
			keys, err := d.List(ctx, asd.Key{}, asd.Key{Namespace: ^uint64(0)}, 1000)
			ok(t, err)
			if len(keys) != 10 {
				t.Errorf("ASD %d: %d fragments, want 10", i, len(keys))
			}
		}
		answer()
		synctest.Wait()
		ok(t, p.Maintain(ctx))
		ok(t, p.Maintain(ctx))
		if n := r.count(p); n != 60 {
			t.Fatalf("%d fragments once the disk answers, want 60", n)
		}
	})
}
