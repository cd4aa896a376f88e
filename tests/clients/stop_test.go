package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ovs/tests/daemon"
	"ovs/tests/oracle/nfsclient"
)

const block = 64 << 10

// writer writes blocks to a file of its own, one after the other, and counts those that were acknowledged.
type writer struct {
	name   string
	stable uint32
	acked  int
	err    error // why it ended
}

func content(name string, n int) []byte {
	b := make([]byte, block)
	_, _ = noise(fmt.Sprint(name, n)).Read(b) // never fails
	return b
}

func dial(t *testing.T, p *daemon.Process) *nfsclient.Client {
	t.Helper()
	c, err := nfsclient.Dial(t.Context(), nfsclient.Options{Addr: p.Addr(), Export: "/vpool1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// run writes until the connection is lost. after is closed once some blocks are in.
func (w *writer) run(ctx context.Context, c *nfsclient.Client, after *sync.WaitGroup) {
	h, _, err := c.Create(ctx, c.Root, w.name, nfsclient.Guarded, 0)
	f := &nfsclient.File{Conn: c.Conn(0), Handle: h, Stable: w.stable, Context: ctx}
	for w.err = err; w.err == nil; {
		if _, w.err = f.WriteAt(content(w.name, w.acked), int64(w.acked)*block); w.err != nil {
			break
		}
		if w.acked++; w.acked == 50 {
			after.Done()
		}
	}
	if w.acked < 50 {
		after.Done()
	}
}

// load runs writers, interrupts the server in the midst of them, and gives the writers when all have ended.
func load(t *testing.T, p *daemon.Process, round int, stables []uint32, interrupt func() error) []*writer {
	t.Helper()
	var all []*writer
	var started, ended sync.WaitGroup
	for i, s := range stables {
		for _, suffix := range []string{".raw", ""} { // a volume and a file
			w := &writer{name: fmt.Sprintf("load-%d-%d%s", round, i, suffix), stable: s}
			all = append(all, w)
			c := dial(t, p)
			started.Add(1)
			ended.Go(func() { w.run(t.Context(), c, &started) })
		}
	}
	started.Wait()
	if err := interrupt(); err != nil {
		t.Error(err)
	}
	ended.Wait()
	for _, w := range all {
		var lost *nfsclient.LostError
		if !errors.As(w.err, &lost) {
			t.Errorf("%s ended after %d blocks with %v", w.name, w.acked, w.err)
		}
	}
	return all
}

// there looks that every acknowledged block is.
func there(t *testing.T, p *daemon.Process, all []*writer) {
	t.Helper()
	c := dial(t, p)
	got := make([]byte, block)
	for _, w := range all {
		h, _, err := c.Lookup(t.Context(), c.Root, w.name)
		if err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		f := &nfsclient.File{Conn: c.Conn(0), Handle: h}
		for n := range w.acked {
			if _, err := f.ReadAt(got, int64(n)*block); err != nil || !bytes.Equal(got, content(w.name, n)) {
				t.Fatalf("%s: acknowledged block %d of %d is wrong, or %v", w.name, n, w.acked, err)
			}
		}
	}
}

// TestInterrupted: SIGTERM in the midst of a load ends the server with 0 within 10 s, idle connections or not, and loses
// nothing that was acknowledged, UNSTABLE or not. kill -9 loses nothing stable. It is back soon after both.
func TestInterrupted(t *testing.T) {
	bin, err := daemon.Build(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := daemon.Server{Bin: bin, Data: filepath.Join(t.TempDir(), "data"), Plain: true}
	p := start(t, s)
	idle := dial(t, p)
	all := load(t, p, 0, []uint32{nfsclient.FileSync, nfsclient.Unstable}, func() error {
		began := time.Now()
		err := p.Stop()
		t.Logf("stopped within %v", time.Since(began))
		return err
	})
	p = start(t, s)
	there(t, p, all)
	all = append(all, load(t, p, 1, []uint32{nfsclient.FileSync, nfsclient.FileSync}, func() error {
		p.Kill()
		return nil
	})...)
	began := time.Now()
	p = start(t, s)
	there(t, p, all[len(all)-1:])
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("back after %v", d)
	}
	there(t, p, all)
	if _, _, err := idle.Lookup(t.Context(), idle.Root, all[0].name); err == nil {
		t.Error("a connection outlived the server")
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

// TestStopWhileStarting: SIGTERM at any stage of a first start ends it with 0 within 10 s, and the next start works.
func TestStopWhileStarting(t *testing.T) {
	bin, err := daemon.Build(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, made := range []string{"VERSION", "log-size", "raft", "asd/0", "asd/5", "log/superblock"} {
		s := daemon.Server{Bin: bin, Data: filepath.Join(t.TempDir(), "data"), Plain: true}
		p, err := s.Launch()
		if err != nil {
			t.Fatal(err)
		}
		poll := time.NewTicker(time.Millisecond)
		defer poll.Stop()
		for there := false; !there; {
			_, err := os.Stat(filepath.Join(s.Data, made))
			there = err == nil
			select {
			case <-p.Done():
				t.Fatalf("it ended by itself:\n%s", p.Tail())
			case <-poll.C:
			}
		}
		if err := p.Stop(); err != nil {
			t.Errorf("at %s: %v", made, err)
		}
		if err := start(t, s).Stop(); err != nil {
			t.Errorf("after a stop at %s: %v", made, err)
		}
	}
}
