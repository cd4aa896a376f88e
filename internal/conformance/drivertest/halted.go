package drivertest

import (
	"bytes"
	"testing"

	"ovs"
	"ovs/internal/membackend"
)

// testHalted: an object whose PUT is answered "exists with another content" takes no more changes and says why, is still
// read, passes nothing over however often it is asked to flush, and has lost nothing at the next start.
func testHalted(t *testing.T, limit int, f Factory) {
	w := newWorld(t, 8, limit, f)
	w.put(0, bytes.Repeat([]byte{1}, 5000), ovs.FileSync)
	if h := w.obj.Live().Halted; h != nil {
		t.Fatal(h)
	}
	w.backend.SetHook(func(c membackend.Call) error {
		if c.Op == "Put" && !c.After {
			return ovs.E("test", ovs.KindConflict, c.Name, nil)
		}
		return nil
	})
	for range 3 {
		if err := w.obj.Flush(ctx(t)); !ovs.Is(err, ovs.KindConflict) {
			t.Fatalf("flush: %v", err)
		}
	}
	if h := w.obj.Live().Halted; !ovs.Is(h, ovs.KindConflict) {
		t.Fatalf("it says that it is halted by %v", h)
	}
	wrote, committed := make(chan error, 1), make(chan error, 1)
	w.obj.Write(&ovs.Write{File: object, Data: []byte("x"), Done: func(o *ovs.Write) { wrote <- o.Err }})
	w.obj.Commit(&ovs.Commit{File: object, Done: func(o *ovs.Commit) { committed <- o.Err }})
	for what, err := range map[string]error{"write": <-wrote, "commit": <-committed, "resize": w.obj.Resize(ctx(t), 1)} {
		if !ovs.Is(err, ovs.KindIO) {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.check("halted")
	w.backend.SetHook(nil)
	w.crash()
	if h := w.obj.Live().Halted; h != nil {
		t.Errorf("after a start: %v", h)
	}
	w.flush()
	w.check("flushed after a start")
}
