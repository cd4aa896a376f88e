package arakoon

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"ovs"
	"ovs/internal/vfs"
)

// TestRetries: Raft loses answers, refuses, and takes commands twice; each sequence is done once and says so.
func TestRetries(t *testing.T) {
	t.Parallel()
	g := openGroup(t, openNode(t, config1(t.TempDir())), "config")
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(4, 4))
	g.try = func(ctx context.Context, command []byte) outcome {
		mu.Lock()
		x := rnd.IntN(8)
		mu.Unlock()
		switch x {
		case 0:
			return outcome{} // not taken
		case 1, 2, 3:
			g.proposeOnce(ctx, command) // the answer is lost
			return outcome{taken: true}
		case 4:
			g.proposeOnce(ctx, command)
		}
		return g.proposeOnce(ctx, command)
	}
	key := []byte("n")
	const writers, each = 6, 50
	if _, err := g.Sequence(background(t), ovs.Set(key, make([]byte, 8))); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				own := []byte(fmt.Sprintf("%d.%d", w, i))
				if _, err := g.Sequence(background(t), ovs.AssertAbsent(own), ovs.Set(own, nil), ovs.Add(key, 0, 1)); err != nil {
					t.Errorf("%s: %v", own, err)
				}
			}
		})
	}
	wg.Wait()
	v, err := g.Get(background(t), key)
	if n := binary.BigEndian.Uint64(v); err != nil || n != writers*each {
		t.Fatalf("%d were done of %d, %v", n, writers*each, err)
	}
}

// TestGivingUp: a sequence whose fate is unknown ends at the caller's deadline, with KindTimeout.
func TestGivingUp(t *testing.T) {
	t.Parallel()
	g := openGroup(t, openNode(t, config1(t.TempDir())), "config")
	tries := 0
	g.try = func(ctx context.Context, _ []byte) outcome {
		if tries++; ctx.Err() != nil {
			return outcome{err: ctx.Err()}
		}
		return outcome{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
	defer cancel()
	if _, err := g.Sequence(ctx, ovs.Set([]byte("k"), nil)); !ovs.Is(err, ovs.KindTimeout) || tries < 3 || tries > 12 {
		t.Fatalf("%d tries, %v", tries, err)
	}
	if g.window.lowest != g.window.next || len(g.window.room) != 0 {
		t.Fatal("it is still awaited")
	}
}

// TestWindow: nobody gets further ahead of the oldest than the machine keeps results, and no more than maxOutstanding are
// on their way.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWindow()
		ctx := context.Background()
		oldest, _, _ := w.begin(ctx)
		for range windowSize - 1 {
			seq, lowest, err := w.begin(ctx)
			if err != nil || lowest != oldest {
				t.Fatal(seq, lowest, err)
			}
			w.end(seq)
		}
		var got atomic.Uint64
		go func() {
			seq, lowest, _ := w.begin(ctx)
			if seq != lowest {
				t.Errorf("%d while %d is awaited", seq, lowest)
			}
			got.Store(seq)
		}()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, _, err := w.begin(short); err == nil || got.Load() != 0 {
			t.Fatal("past the window")
		}
		w.end(oldest)
		synctest.Wait()
		if got.Load() != windowSize+1 {
			t.Fatal("still waiting", got.Load())
		}
		for range maxOutstanding - 1 {
			if _, _, err := w.begin(ctx); err != nil {
				t.Fatal(err)
			}
		}
		short, cancel = context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, _, err := w.begin(short); err == nil {
			t.Fatal("too many on their way")
		}
	})
}

// smallDisk is a file system whose free space the test sets.
type smallDisk struct {
	vfs.FS
	free atomic.Uint64
}

func (d *smallDisk) Space(string) (total, free uint64, err error) { return 1 << 40, d.free.Load(), nil }

// TestSpace: with little room left only what replaces or deletes is taken, until there is room again.
func TestSpace(t *testing.T) {
	disk := &smallDisk{FS: vfs.OS()}
	disk.free.Store(low + 1000)
	cfg := config1(t.TempDir())
	cfg.FS, cfg.MinFree = disk, low+1000
	n := openNode(t, cfg)
	g := openGroup(t, n, "config")
	put(t, g, "a", "12345678")
	put(t, g, "b", "")
	disk.free.Store(low + 999)
	n.look()
	a, b, c := []byte("a"), []byte("b"), []byte("c")
	for _, u := range [][]ovs.Update{
		{ovs.Set(c, nil)}, {ovs.Assert(b, nil), ovs.TestAndSet(c, nil, a)}, {ovs.SetStamped(c, nil, -1, -1)},
		{ovs.Set(b, make([]byte, 2*smallValue))},
	} {
		if _, err := g.Sequence(background(t), u...); !ovs.Is(err, ovs.KindNoSpace) {
			t.Errorf("%+v: %v", u, err)
		}
	}
	for _, u := range [][]ovs.Update{
		{ovs.Set(b, a)}, {ovs.TestAndSet(b, a, b)},
		{ovs.Set(a, []byte("12345678")), ovs.Delete(b)}, {ovs.Add(a, 0, 1)}, {ovs.DeletePrefix(b)}, {ovs.AssertExists(a)},
		{ovs.TestAndSet(b, nil, nil)},
	} {
		if _, err := g.Sequence(background(t), u...); err != nil {
			t.Errorf("%+v: %v", u, err)
		}
	}
	disk.free.Store(low/2 - 1)
	if _, err := g.Sequence(background(t), ovs.Delete(a)); !ovs.Is(err, ovs.KindNoSpace) {
		t.Errorf("with nothing left a deletion is answered with %v", err)
	}
	disk.free.Store(low + 1000)
	n.look()
	put(t, g, "c", "1")
}

// TestBallast: on a disk that others filled, the ballast is given up for a deletion, and comes back with the room.
func TestBallast(t *testing.T) {
	disk := &smallDisk{FS: vfs.OS()}
	cfg := config1(t.TempDir())
	cfg.FS, cfg.MinFree = disk, 256<<20
	there := func() bool {
		_, err := os.Stat(filepath.Join(cfg.Dir, "ballast"))
		return err == nil
	}
	disk.free.Store(cfg.MinFree + ballastSize - 1)
	n := openNode(t, cfg)
	if there() {
		t.Error("a disk that can spare nothing has ballast")
	}
	disk.free.Store(1 << 30)
	n.keepBallast()
	if !there() {
		t.Fatal("no ballast")
	}
	g := openGroup(t, n, "config")
	put(t, g, "a", "1")
	disk.free.Store(low - 1)
	n.look()
	if _, err := g.Sequence(background(t), ovs.Set([]byte("b"), nil)); !ovs.Is(err, ovs.KindNoSpace) || !there() {
		t.Errorf("a new key is answered with %v, ballast %v", err, there())
	}
	if _, err := g.Sequence(background(t), ovs.Delete([]byte("a"))); err != nil || there() {
		t.Errorf("a deletion is answered with %v, ballast %v", err, there())
	}
	disk.free.Store(1 << 30)
	n.look()
	n.keepBallast()
	if !there() {
		t.Error("the ballast did not come back")
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	disk.free.Store(low/2 - 1)
	if _, err := Open(cfg); !ovs.Is(err, ovs.KindNoSpace) || there() {
		t.Errorf("a start without room: %v, ballast %v", err, there())
	}
}

// TestBallastHollow: a crash can leave the ballast's name without its room; the next start gives it room.
func TestBallastHollow(t *testing.T) {
	cfg := config1(t.TempDir())
	cfg.MinFree = 1
	name := filepath.Join(cfg.Dir, "ballast")
	room := func() int64 {
		openNode(t, cfg).Close()
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Blocks
	}
	whole := room()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := room(); got != whole {
		t.Fatalf("%d blocks, at first %d", got, whole)
	}
}

// TestCloseOnFullDisk: the store cannot be flushed, and the node closes all the same; what was acknowledged is in Raft's log.
func TestCloseOnFullDisk(t *testing.T) {
	t.Parallel()
	disk := vfs.NewFault(vfs.NewCrash(1), rand.New(rand.NewPCG(1, 1)), nil)
	cfg := Config{Dir: "/data", FS: disk, Node: 1}
	n := openNode(t, cfg)
	put(t, openGroup(t, n, "config"), "k", "v")
	disk.Add(vfs.Rule{Op: vfs.OpCreate, Path: "store/*.sst", Err: syscall.ENOSPC})
	if err := n.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if tries := disk.Hits()[vfs.OpCreate]; tries > 10 {
		t.Errorf("%d tries", tries)
	}
	disk.Clear()
	wants(t, openGroup(t, openNode(t, cfg), "config"), "k", "v")
}

// TestSilent: a healthy node's life puts nothing into the log at warning or above.
func TestSilent(t *testing.T) {
	core, lines := observer.New(zapcore.WarnLevel)
	cfg := config1(t.TempDir())
	cfg.Log = zap.New(core)
	for range 2 {
		n := openNode(t, cfg)
		g := openGroup(t, n, "config")
		put(t, g, "k", "v")
		g.compact()
		n.Close()
	}
	for _, l := range lines.All() {
		t.Errorf("%s %s: %s", l.Level, l.LoggerName, l.Message)
	}
}

// TestByteTrigger: large commands have Raft's log cut before there are many of them.
func TestByteTrigger(t *testing.T) {
	t.Parallel()
	g := openGroup(t, openNode(t, config1(t.TempDir())), "config")
	value := make([]byte, 500<<10)
	for i := 0; i < snapshotBytes/len(value)+2; i++ {
		if _, err := g.Sequence(background(t), ovs.Set([]byte("k"), value)); err != nil {
			t.Fatal(err)
		}
	}
	log, err := g.node.host.GetLogReader(g.place.Shard)
	if err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); time.Since(begin) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
		if first, _ := log.GetRange(); first > 50 {
			return
		}
	}
	t.Fatal("the log was not cut")
}

func BenchmarkSequence(b *testing.B) {
	for _, clients := range []int{1, 16} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			n, err := Open(Config{Dir: b.TempDir(), Node: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer n.Close()
			g, err := n.Group(context.Background(), "config")
			if err != nil {
				b.Fatal(err)
			}
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range clients {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						k := fmt.Appendf(nil, "key-%020d", i%100000)
						if _, err := g.Sequence(context.Background(), ovs.Set(k, make([]byte, 100))); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func BenchmarkGet(b *testing.B) {
	n, err := Open(Config{Dir: b.TempDir(), Node: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	g, err := n.Group(context.Background(), "config")
	if err != nil {
		b.Fatal(err)
	}
	k := []byte("key")
	if err := Set(context.Background(), g, k, make([]byte, 100)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := g.Get(context.Background(), k); err != nil {
			b.Fatal(err)
		}
	}
}

// TestShortDeadline: a read index takes a fraction of a tick, so a caller that gives it less than one is answered.
func TestShortDeadline(t *testing.T) {
	t.Parallel()
	g := openGroup(t, openNode(t, config1(t.TempDir())), "config")
	put(t, g, "k", "v")
	g.alone.Store(false)
	for range 100 { // a busy machine may need longer now and then
		ctx, cancel := context.WithTimeout(context.Background(), rtt*time.Millisecond*9/10)
		v, err := g.Get(ctx, []byte("k"))
		cancel()
		if string(v) == "v" {
			return
		}
		if !ovs.Is(err, ovs.KindTimeout) {
			t.Fatal(err)
		}
	}
	t.Fatal("none of 100 reads was answered")
}

// TestReadOfStopped: what no further try can mend ends a read at once.
func TestReadOfStopped(t *testing.T) {
	t.Parallel()
	g := openGroup(t, openNode(t, config1(t.TempDir())), "config")
	g.alone.Store(false)
	if err := g.node.host.StopShard(g.place.Shard); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Get(background(t), []byte("k")); !ovs.Is(err, ovs.KindClosed) {
		t.Fatal(err)
	}
}

// TestCloseWhileReading: a read that waits for a leader ends with the node, not with its caller's deadline.
func TestCloseWhileReading(t *testing.T) {
	t.Parallel()
	n := openNode(t, config1(t.TempDir()))
	g := openGroup(t, n, "config")
	g.alone.Store(false)
	waiting := make(chan bool, 1)
	g.index = func(ctx context.Context) outcome {
		select {
		case waiting <- true:
		default:
		}
		if n.ctx.Err() == nil {
			return outcome{} // no leader
		}
		return g.indexOnce(ctx)
	}
	got := make(chan error)
	go func() {
		_, err := g.Get(background(t), []byte("k"))
		got <- err
	}()
	<-waiting
	closed := make(chan error, 1)
	go func() { closed <- n.Close() }()
	if err := <-got; !ovs.Is(err, ovs.KindClosed) {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
