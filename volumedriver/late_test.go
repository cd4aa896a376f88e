package volumedriver

import (
	"bytes"
	"context"
	"testing"

	"ovs"
	"ovs/internal/membackend"
)

// An epoch writes nothing, but flushes what it found in the log. Its PUT is lost, a crash follows, and the PUT lands when the
// next epoch has flushed the same records under the same number.
func TestLatePutOfAnEpochThatWroteNothing(t *testing.T) {
	w := newWorld(t, Config{})
	v := w.create()
	write(t, v, 0, pattern(1, 8192), ovs.FileSync)
	v = w.crash(v, 0) // epoch 2 has record 1 of epoch 1
	lost := make(chan bool, 100)
	w.backend.SetHook(func(c membackend.Call) error {
		if c.Op != "Put" || c.Name != scoName(1, 2) {
			return nil
		}
		lost <- true
		return ovs.E("test", ovs.KindTimeout, nil, nil)
	})
	v.start()
	v.tail.Seal()
	<-lost
	n := w.crash(v, 0) // epoch 3: so has this one
	w.backend.SetHook(nil)
	write(t, n, 4096, pattern(2, 4096), ovs.FileSync)
	flush(t, n)
	if _, err := w.backend.Put(context.Background(), namespace(ref), scoName(1, 2), []byte("late"), ovs.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	want := append(pattern(1, 4096), pattern(2, 4096)...)
	for range 3 {
		n = w.crash(n, 0)
		if got := read(t, n, 0, 9000); !bytes.Equal(got, want) {
			t.Fatal("the late SCO shows")
		}
	}
	n.Close()
}

// A write waits for room when its volume is closed, and reaches the log when the next epoch serves: its record is nobody's.
// checkpoint: the next epoch has made a root before the next start.
func TestLateRecord(t *testing.T) {
	for _, checkpoint := range []bool{false, true} {
		w := newWorld(t, Config{})
		v := w.create()
		write(t, v, 0, pattern(1, 8192), ovs.FileSync)
		w.rest(v)
		v = w.mustRecover()
		v.Close()
		v = w.mustRecover()
		w.log.SetRoom(1)
		done := make(chan *ovs.Write, 1)
		v.Write(&ovs.Write{Data: pattern(9, 100), Stable: ovs.FileSync, Done: func(w *ovs.Write) { done <- w }})
		v.Close()
		n := w.mustRecover()
		w.log.SetRoom(0)
		if late := <-done; !ovs.Is(late.Err, ovs.KindFenced) {
			t.Fatal(late.Err)
		}
		write(t, n, 4096, pattern(2, 4096), ovs.FileSync)
		if checkpoint {
			w.log.Release(ref, 1)
			w.rest(n)
			n = w.mustRecover()
			write(t, n, 4096, pattern(2, 4096), ovs.FileSync)
		}
		n = w.crash(n, 0)
		if got := read(t, n, 0, 9000); !bytes.Equal(got, append(pattern(1, 4096), pattern(2, 4096)...)) {
			t.Fatal("not the same")
		}
		n.Close()
	}
}

// Who was overtaken on the way to an object brings nothing up: what a later epoch has put or written says so.
func TestRecoverOfAnOvertakenClaim(t *testing.T) {
	for _, put := range []bool{true, false} {
		w := newWorld(t, Config{})
		v := w.create()
		old := w.claim()
		write(t, v, 0, pattern(1, 4096), ovs.FileSync)
		v = w.crash(v, 0)
		write(t, v, 0, pattern(2, 4096), ovs.FileSync)
		if put {
			flush(t, v)
		}
		if _, err := w.d.Recover(context.Background(), old); !ovs.Is(err, ovs.KindFenced) {
			t.Errorf("put: %v: %v", put, err)
		}
		v.Close()
	}
}
