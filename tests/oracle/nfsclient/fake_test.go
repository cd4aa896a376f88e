package nfsclient

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// fake is a server of one file that answers late, out of order, in small pieces, and cuts connections when told.
type fake struct {
	t  *testing.T
	ln net.Listener
	wg sync.WaitGroup

	mu    sync.Mutex // guards all below
	rnd   *rand.Rand
	file  []byte
	conns []net.Conn
	cut   int // one reply in so many is cut off in the middle, with its connection; 0 is none
	xids  map[uint32]int
}

func newFake(t *testing.T, cut int) *fake {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, ln: ln, rnd: rand.New(rand.NewPCG(5, 5)), file: make([]byte, 1<<20), cut: cut, xids: map[uint32]int{}}
	f.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns = append(f.conns, c)
			f.mu.Unlock()
			f.wg.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(f.close)
	return f
}

func (f *fake) close() {
	_ = f.ln.Close()
	f.mu.Lock()
	for _, c := range f.conns {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

// serve gathers up to 8 calls and answers them shuffled.
func (f *fake) serve(c net.Conn) {
	defer c.Close()
	var held [][]byte
	calls := make(chan []byte, 1000)
	go func() {
		defer close(calls)
		for {
			var mark [4]byte
			if _, err := io.ReadFull(c, mark[:]); err != nil {
				return
			}
			b := make([]byte, binary.BigEndian.Uint32(mark[:])&^(1<<31))
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			calls <- b
		}
	}()
	for b := range calls {
		held = append(held, f.answer(b))
		if len(held) < 8 && len(calls) > 0 {
			continue
		}
		f.mu.Lock()
		f.rnd.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
		cut := f.cut > 0 && f.rnd.IntN(f.cut) == 0
		f.mu.Unlock()
		for i, r := range held {
			if cut && i == len(held)-1 {
				_, _ = c.Write(r[:len(r)/2])
				return
			}
			if _, err := c.Write(r); err != nil {
				return
			}
		}
		held = nil
	}
}

func (f *fake) answer(b []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := reader{b: b}
	xid := r.u32()
	f.xids[xid]++
	r.take(8)
	prog, _, proc := r.u32(), r.u32(), r.u32()
	r.u32()
	r.opaque()
	r.u32()
	r.opaque()
	out := put32(put32(put32(nil, 0), xid), 1)
	out = put32(put64(put32(out, 0), 0), 0) // accepted, no verifier, success
	out = put32(out, 0)
	if prog == mountProgram {
		r.opaque()
		out = put32(putOpaque(out, "root"), 0)
	} else {
		out = f.nfs(out, proc, &r)
	}
	if r.bad || len(r.b) != 0 {
		f.t.Errorf("procedure %d: malformed call, %d bytes over", proc, len(r.b))
	}
	binary.BigEndian.PutUint32(out, 1<<31|uint32(len(out)-4))
	return out
}

func (f *fake) nfs(out []byte, proc uint32, r *reader) []byte {
	r.opaque()
	switch proc {
	case procRead:
		off, n := r.u64(), r.u32()
		out = put32(out, 0)
		out = put32(put32(out, n), 0)
		return putOpaque(out, f.file[off:off+uint64(n)])
	case procWrite:
		off := r.u64()
		n, stable := r.u32(), r.u32()
		copy(f.file[off:], r.opaque())
		return put64(put32(put32(put64(out, 0), n), stable), 42)
	case procCommit:
		r.take(12)
		return put64(put64(out, 0), 43)
	case procGetAttr:
		return append(out, make([]byte, 84)...)
	}
	f.t.Errorf("procedure %d", proc)
	return out
}
