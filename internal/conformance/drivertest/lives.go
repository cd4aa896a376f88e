package drivertest

import (
	"bytes"
	"runtime"

	"ovs"
)

// open is a gate that nobody stands at.
func open() error { return nil }

// rest makes the object clean and takes it again.
func (w *world) rest() {
	shut := func() error { // from here on it needs no backend
		w.backend.SetTotal(1)
		return nil
	}
	up, err := w.obj.Rest(ctx(w.t), shut)
	for ovs.Is(err, ovs.KindBusy) { // the Done of an operation may still be running
		runtime.Gosched()
		w.backend.SetTotal(0)
		up, err = w.obj.Rest(ctx(w.t), shut)
	}
	w.backend.SetTotal(0)
	if err != nil {
		w.t.Fatal("rest:", err)
	}
	w.durable()
	w.sequence(append(up, ovs.Set([]byte("o"), []byte("clean")))...)
	w.recover(w.obj)
	if l := w.obj.Live(); int(l.Size) != len(w.stable) {
		w.t.Fatalf("size %d after a rest, want %d", l.Size, len(w.stable))
	}
}

// restart ends the driver as a clean stop does: the log stays.
func (w *world) restart() {
	done := make(chan error, 1)
	w.log.Sync(&ovs.LogSync{Done: func(_ *ovs.LogSync, err error) { done <- err }})
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
	w.durable()
	w.obj.Close()
	w.end()
	w.use(w.log.Crash(-1))
	w.driver, w.end = w.factory(w.t, w.env)
	w.recover(nil)
}

// crash cuts the power: of the records not flushed a prefix survives.
func (w *world) crash() {
	w.use(w.log.Crash(w.rand.IntN(3) - 1))
	w.obj.Close()
	w.end()
	w.driver, w.end = w.factory(w.t, w.env)
	w.recover(nil)
	got := w.content()
	b := w.stable
	for i := 0; ; i++ {
		if bytes.Equal(got, b) {
			w.stable, w.since = b, nil
			return
		}
		if i == len(w.since) {
			w.t.Fatalf("after a power cut %d bytes: not the model after any prefix of the last %d operations", len(got), len(w.since))
		}
		b = w.since[i].apply(b)
	}
}

func (w *world) recover(old ovs.Object) {
	if old != nil {
		old.Close()
	}
	w.epoch++
	c := w.claim()
	var rec ovs.Recovery
	var err error
	for range 200 {
		if rec, err = w.driver.Recover(ctx(w.t), c); err == nil {
			break
		}
		if w.log.Failed() != nil { // for ever: the process ends
			w.use(w.log.Crash(-1))
			w.end()
			w.driver, w.end = w.factory(w.t, w.env)
		}
	}
	if err != nil {
		w.t.Fatal("recover:", err)
	}
	w.sequence(append(rec.Close, ovs.Set(c.Entry.Key, c.Entry.Value))...)
	w.obj = rec.Object
}
