package bufpool

import (
	"testing"
	"unsafe"
)

func TestPool(t *testing.T) {
	p, err := New(5000, 3*8192+100)
	if err != nil {
		t.Fatal(err)
	}
	if p.Size() != 8192 || p.Count() != 3 {
		t.Fatalf("%d buffers of %d bytes, want 3 of 8192", p.Count(), p.Size())
	}
	var out [][]byte
	for range 3 {
		b := p.Get()
		if len(b) != 8192 || cap(b) != 8192 || uintptr(unsafe.Pointer(&b[0]))%Align != 0 {
			t.Fatalf("a buffer of length %d, capacity %d at %p", len(b), cap(b), &b[0])
		}
		b[0], b[8191] = 1, 2
		out = append(out, b)
	}
	if p.Get() != nil {
		t.Fatal("more buffers than the budget holds")
	}
	if p.Close() == nil {
		t.Fatal("closed with buffers in use")
	}
	got := make(chan []byte)
	go func() { got <- p.Wait() }()
	p.Put(out[1])
	if b := <-got; &b[0] != &out[1][0] {
		t.Fatal("Wait gave another buffer than the one put back")
	}
	for _, b := range out {
		p.Put(b)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if p.Get() != nil || p.Wait() != nil {
		t.Fatal("a closed pool gave a buffer")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestBadSize(t *testing.T) {
	if _, err := New(0, 1<<20); err == nil {
		t.Fatal("a pool of empty buffers")
	}
}
