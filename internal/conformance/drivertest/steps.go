package drivertest

import (
	"bytes"

	"ovs"
)

func (w *world) step() {
	switch p := w.rand.IntN(100); {
	case p < 45:
		w.write(ovs.FileSync)
	case p < 60:
		w.write(ovs.Unstable)
	case p < 66:
		w.commit()
	case p < 72:
		w.resize()
	case p < 84:
		w.read()
	case p < 90:
		w.flush()
	case p < 93:
		w.rest()
	case p < 96:
		w.restart()
	default:
		w.crash()
	}
}

func (w *world) write(s ovs.Stability) {
	n := 1 + w.rand.IntN(9000)
	switch w.rand.IntN(3) {
	case 0:
		n = 4096
	case 1:
		n = 1 + w.rand.IntN(600)
	}
	off := w.rand.IntN(max(1, w.limit-n))
	if w.rand.IntN(3) == 0 {
		off &^= 4095
	}
	data := make([]byte, n)
	if w.rand.IntN(5) > 0 {
		for i := range data {
			data[i] = byte(w.rand.Uint32())
		}
	}
	w.put(off, data, s)
}

func (w *world) put(off int, data []byte, s ovs.Stability) {
	done := make(chan struct{})
	op := &ovs.Write{File: object, Off: uint64(off), Data: append([]byte(nil), data...), Stable: s, Done: func(*ovs.Write) { close(done) }}
	w.obj.Write(op)
	<-done
	clear(op.Data) // lent until Done only
	if op.Err != nil {
		w.t.Fatalf("write at %d+%d: %v", off, len(data), op.Err)
	}
	w.since = append(w.since, change{off: off, data: data, size: -1})
	if op.Committed < s || op.Verf != ovs.VerifierOf(ovs.Ref{Pool: pool, Object: object}, w.epoch) {
		w.t.Fatalf("committed %d for %d, verifier %x", op.Committed, s, op.Verf)
	}
	if op.Committed == ovs.FileSync {
		w.durable()
	}
}

func (w *world) flush() {
	if err := w.obj.Flush(ctx(w.t)); err != nil {
		w.t.Fatal("flush:", err)
	}
	w.durable()
}

func (w *world) commit() {
	done := make(chan struct{})
	op := &ovs.Commit{File: object, Done: func(*ovs.Commit) { close(done) }}
	w.obj.Commit(op)
	<-done
	if op.Err != nil {
		w.t.Fatal("commit:", op.Err)
	}
	w.durable()
}

func (w *world) resize() {
	size := w.rand.IntN(w.limit)
	if w.rand.IntN(4) == 0 {
		size = 0
	}
	w.setSize(size)
}

func (w *world) setSize(size int) {
	if err := w.obj.Resize(ctx(w.t), uint64(size)); err != nil {
		w.t.Fatal("resize:", err)
	}
	w.since = append(w.since, change{size: size})
	w.durable()
}

// fetch reads a range, first from memory.
func (w *world) fetch(off, n int) []byte {
	op := &ovs.Read{File: object, Off: uint64(off), Dst: make([]byte, n)}
	if !w.obj.TryRead(op) {
		done := make(chan struct{})
		op.Done = func(*ovs.Read) { close(done) }
		for range 200 { // a fault in a twin passes
			w.obj.Read(op)
			<-done
			if op.Err == nil || ovs.Is(op.Err, ovs.KindCorrupt) && w.fate == nil {
				break
			}
			done = make(chan struct{})
			op.Done = func(*ovs.Read) { close(done) }
		}
	}
	if op.Err != nil {
		w.t.Fatalf("read %d+%d: %v", off, n, op.Err)
	}
	if size := int(w.obj.Live().Size); op.EOF != (off+op.N >= size) {
		w.t.Fatalf("read %d+%d: EOF %v at %d of %d", off, n, op.EOF, op.N, size)
	}
	return op.Dst[:op.N]
}

func (w *world) read() {
	want := w.now()
	off, n := w.rand.IntN(w.limit), 1+w.rand.IntN(20000)
	got := w.fetch(off, n)
	from := min(off, len(want))
	if !bytes.Equal(got, want[from:min(off+n, len(want))]) {
		w.t.Fatalf("read %d+%d differs at %d", off, n, off+differ(got, want[from:min(off+n, len(want))]))
	}
}

func (w *world) content() []byte {
	var b []byte
	for {
		part := w.fetch(len(b), 256<<10)
		if b = append(b, part...); len(b) >= int(w.obj.Live().Size) {
			return b
		}
	}
}

func (w *world) check(when string) {
	w.t.Helper()
	got, want := w.content(), w.now()
	if !bytes.Equal(got, want) {
		w.t.Fatalf("%s: %d bytes, want %d, differ at %d", when, len(got), len(want), differ(got, want))
	}
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
