package crash

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ovs"
	"ovs/internal/memfs"
	"ovs/nfsd"
	"ovs/tests/oracle"
	"ovs/tests/oracle/nfsclient"
)

// These tests hold the proof itself to account: over a file system in memory that loses unstable data in a crash it finds
// nothing, and over one with a planted bug it finds the bug.

// buggy is a file system with one bug. Every 97th write goes wrong.
type buggy struct {
	*memfs.FS
	bug   string
	count atomic.Int64
	verf  sync.Map // ObjectID → Verifier of the last unstable write
}

func (b *buggy) Write(w *ovs.Write) {
	if b.bug == "commit does nothing" {
		done := w.Done
		w.Done = func(w *ovs.Write) {
			b.verf.Store(w.File, w.Verf)
			w.Done = done
			done(w)
		}
	}
	if b.count.Add(1)%97 != 0 {
		b.FS.Write(w)
		return
	}
	switch b.bug {
	case "stable write kept in memory":
		w.Stable = ovs.Unstable
	case "write dropped":
		w.Committed, w.Verf = w.Stable, ovs.VerifierOf(ovs.Ref{Pool: b.Pool(), Object: w.File}, 1)
		w.Done(w)
		return
	case "write one sector off":
		w.Off += oracle.Sector
	case "sector torn":
		w.Data = append(bytes.Clone(w.Data[:len(w.Data)-100]), make([]byte, 100)...)
	}
	done, data := w.Done, w.Data
	w.Done = func(w *ovs.Write) {
		if b.bug == "stable write kept in memory" {
			w.Committed = ovs.FileSync
		}
		w.Data, w.Done = data, done
		done(w)
	}
	b.FS.Write(w)
}

func (b *buggy) Commit(c *ovs.Commit) {
	if v, ok := b.verf.Load(c.File); ok {
		c.Verf = v.(ovs.Verifier)
		c.Done(c)
		return
	}
	b.FS.Commit(c)
}

func TestNoFalseAlarm(t *testing.T) {
	if err := play(t, "", 3); err != nil {
		t.Fatal(err)
	}
}

func TestPlantedBugsAreFound(t *testing.T) {
	for _, bug := range []string{"stable write kept in memory", "write dropped", "write one sector off", "sector torn", "commit does nothing"} {
		t.Run(bug, func(t *testing.T) {
			t.Parallel()
			err := play(t, bug, 500) // a busy machine plays few operations in each
			if err == nil {
				t.Fatal("not found")
			}
			t.Log(strings.ReplaceAll(err.Error(), "\n", " "))
		})
	}
}

// play plays rounds of load and crash over memory until something is found.
func play(t *testing.T, bug string, n int) error {
	fs := &buggy{bug: bug, FS: memfs.New(memfs.Options{Now: func() int64 { return time.Now().UnixNano() }})}
	disks := []*Disk{NewDisk("a.raw", 1, 1<<20), NewDisk("b.bin", 2, 256<<10), NewDisk("c.raw", 3, 300<<10)}
	disks[2].Resizes = true
	dirs := []*Dir{{Name: "names"}}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range n {
		if err := memoryRound(t, fs, disks, dirs, rnd); err != nil {
			return err
		}
		fs.Crash()
	}
	return nil
}

func memoryRound(t *testing.T, fs ovs.FileSystem, disks []*Disk, dirs []*Dir, rnd *rand.Rand) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	server, err := nfsd.New(nfsd.Config{Exports: []nfsd.Export{{Path: "/vpool1", FS: fs}}, Key: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	c, err := nfsclient.Dial(ctx, nfsclient.Options{Addr: ln.Addr().String(), Export: "/vpool1", Conns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l := &Load{Client: c, Disks: disks, Dirs: dirs, Workers: 8, Seed: rnd.Uint64(), Counts: &Counts{}}
	if err = VerifyAll(ctx, c, disks, dirs); err == nil {
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		life := time.NewTimer(time.Duration(30+rnd.IntN(50)) * time.Millisecond)
		defer life.Stop()
		select {
		case err = <-ended:
		case <-life.C:
			l.Killed.Store(true)
			cut, stop := context.WithCancel(ctx)
			stop()
			_ = server.Close(cut) // cuts the connections: KindTimeout is what it says then
			err = <-ended
		}
	}
	if e := server.Close(ctx); e != nil && !ovs.Is(e, ovs.KindTimeout) {
		t.Fatal(e)
	}
	if e := <-served; e != nil && !errors.Is(e, net.ErrClosed) {
		t.Log(e)
	}
	for _, d := range disks {
		d.Table.Crash()
	}
	return err
}
