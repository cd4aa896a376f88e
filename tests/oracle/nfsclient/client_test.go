package nfsclient

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func mounted(t *testing.T, f *fake, opt Options) *Client {
	t.Helper()
	opt.Addr, opt.Export = f.ln.Addr().String(), "/x"
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := Dial(ctx, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if c.Root != "root" {
		t.Fatalf("root handle %q", c.Root)
	}
	return c
}

// Each worker owns a stretch of the file: what it wrote it must read, whatever the order of replies and however often
// the connection breaks.
func work(t *testing.T, f *fake, opt Options) {
	c := mounted(t, f, opt)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			file := File{Conn: c.Conn(w), Handle: c.Root, Stable: FileSync}
			rnd := rand.New(rand.NewPCG(uint64(w), 2))
			got, want := make([]byte, 4096), make([]byte, 4096)
			for range 150 {
				n, off := 1+rnd.IntN(4096), int64(w*8192+rnd.IntN(4096))
				for i := range want[:n] {
					want[i] = byte(rnd.Uint32())
				}
				if _, err := file.WriteAt(want[:n], off); err != nil {
					t.Error(err)
					return
				}
				if _, err := file.ReadAt(got[:n], off); err != nil || !bytes.Equal(got[:n], want[:n]) {
					t.Errorf("read other bytes than were written: %v", err)
					return
				}
			}
			if verf, err := file.Commit(); err != nil || verf != 43 {
				t.Error(verf, err)
			}
			if _, err := file.GetAttr(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestPipelined(t *testing.T) { work(t, newFake(t, 0), Options{Conns: 3, Depth: 4}) }

func TestSendsAgainAfterACut(t *testing.T) {
	f := newFake(t, 100)
	work(t, f, Options{Conns: 3, Depth: 8, Retry: true})
	again := 0
	for _, n := range f.xids {
		if n > 1 {
			again++
		}
	}
	if again == 0 {
		t.Fatal("no connection was cut, or nothing was sent again under its XID")
	}
}

func TestLostWithoutRetry(t *testing.T) {
	f := newFake(t, 0)
	c := mounted(t, f, Options{})
	f.close()
	file := File{Conn: c.Conn(0), Handle: c.Root}
	for range 3 {
		_, err := file.ReadAt(make([]byte, 10), 0)
		var lost *LostError
		if !errors.As(err, &lost) {
			t.Fatal(err)
		}
	}
}

// Done may submit the next call: a load of fixed depth without goroutines.
func TestSubmitFromDone(t *testing.T) {
	f := newFake(t, 0)
	c := mounted(t, f, Options{Depth: 4})
	var wg sync.WaitGroup
	for range 4 {
		left := 200
		call := &Call{File: c.Root, Dst: make([]byte, 512)}
		wg.Add(1)
		call.Done = func(call *Call) {
			left--
			if call.Err != nil || call.N != 512 {
				t.Error(call.Err, call.N)
				left = 0
			}
			if left <= 0 {
				wg.Done()
				return
			}
			c.Conn(0).Read(call)
		}
		c.Conn(0).Read(call)
	}
	wg.Wait()
}

func TestContextEndsTheWait(t *testing.T) {
	f := newFake(t, 0)
	c := mounted(t, f, Options{Retry: true})
	f.mu.Lock() // the server answers nothing
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	file := File{Conn: c.Conn(0), Handle: c.Root, Context: ctx}
	_, err := file.ReadAt(make([]byte, 10), 0)
	f.mu.Unlock()
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

// FuzzReply: no reply makes the decoder panic.
func FuzzReply(f *testing.F) {
	for _, p := range []uint32{procGetAttr, procRead, procWrite, procCommit, procLookup} {
		f.Add(p, make([]byte, 120))
	}
	f.Fuzz(func(t *testing.T, proc uint32, b []byte) {
		c := Call{prog: nfsProgram, proc: proc, Dst: make([]byte, 64)}
		c.decode(&reader{b: b})
		if c.N > len(c.Dst) && proc == procRead {
			t.Fatal("more than fits")
		}
	})
}
