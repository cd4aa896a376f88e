package dtl

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"ovs"
	"ovs/internal/conformance/logtest"
	"ovs/internal/vfs"
)

// After a failed or short write, or a failed flush, of a batch, header or index: everything that is not flushed, and
// everything later, is Done with KindIO in order; nothing is written any more; what was flushed is read on.
func TestFailure(t *testing.T) {
	for name, rule := range map[string]vfs.Rule{
		"write":       {Op: vfs.OpWrite, Err: syscall.EIO},
		"short write": {Op: vfs.OpWrite, Err: syscall.ENOSPC, Short: true},
		"flush":       {Op: vfs.OpDatasync, Err: syscall.EIO},
		"late flush":  {Op: vfs.OpDatasync, Err: syscall.EIO, Late: true},
	} {
		t.Run(name, func(t *testing.T) { testFailure(t, rule) })
	}
}

func testFailure(t *testing.T, rule vfs.Rule) {
	rule.Path = "segment-??????"
	rule.Times = 1 // a retry would succeed: there must be none
	disk := vfs.NewFault(vfs.NewCrash(1), rand.New(rand.NewPCG(1, 1)), nil)
	l := mustOpen(t, Config{FS: disk, Dir: "log", Size: 1 << 20, SegmentSize: 128 << 10, Memory: 1 << 20, Rand: strings.NewReader("identity")})
	var places []ovs.LogPos
	for number := ovs.RecordNo(1); number <= 20; number++ {
		places = append(places, logtest.Write(t, l, logtest.Ref(1), number, 3000))
	}
	settled(l)
	disk.Add(rule)
	var mu sync.Mutex
	var order []ovs.RecordNo
	var errs []error
	var done sync.WaitGroup
	for number := ovs.RecordNo(21); number <= 40; number++ {
		r, _ := logtest.Record(logtest.Ref(1), number, 3000)
		logtest.Admit(t, l, r)
		done.Add(1)
		r.Done = func(r *ovs.Record, err error) {
			defer done.Done()
			mu.Lock()
			defer mu.Unlock()
			order, errs = append(order, r.Number), append(errs, err)
		}
		l.Append(r)
	}
	done.Wait()
	// It may have been a header's write that failed: what was under way then is flushed.
	for i := range order {
		if order[i] != ovs.RecordNo(21+i) || i > 0 && errs[i] == nil && errs[i-1] != nil || errs[i] != nil && !ovs.Is(errs[i], ovs.KindIO) {
			t.Fatalf("record %d is Done with %v after %v", order[i], errs[i], order[:i])
		}
	}
	number := ovs.RecordNo(41)
	late := func() error {
		r, done := logtest.Record(logtest.Ref(1), number, 3000)
		logtest.Admit(t, l, r)
		l.Append(r)
		number++
		return <-done
	}
	for late() == nil {
	}
	if !ovs.Is(l.Failed(), ovs.KindIO) {
		t.Fatalf("Failed says %v", l.Failed())
	}
	writes := disk.Counts()[vfs.OpWrite]
	for range 20 {
		if err := late(); !ovs.Is(err, ovs.KindIO) {
			t.Fatalf("a record after the failure is Done with %v", err)
		}
	}
	synced := make(chan error)
	l.Sync(&ovs.LogSync{Done: func(_ *ovs.LogSync, err error) { synced <- err }})
	if err := <-synced; !ovs.Is(err, ovs.KindIO) {
		t.Fatalf("Sync says %v", err)
	}
	for i, p := range places {
		got := make([]byte, 3000)
		if err := l.ReadAt(p, got); err != nil || !bytes.Equal(got, logtest.Data(logtest.Ref(1), ovs.RecordNo(i+1), 3000)) {
			t.Fatalf("flushed record %d reads with %v", i+1, err)
		}
	}
	if err := l.Close(); !ovs.Is(err, ovs.KindIO) {
		t.Fatalf("Close says %v", err)
	}
	// The preparer may have been at a new segment, which takes two writes, when the failure came.
	if n := disk.Counts()[vfs.OpWrite]; n > writes+2 {
		t.Fatalf("%d writes after the failure", n-writes)
	}
	l.cfg.FS = disk
	again := mustOpen(t, l.cfg)
	if tails := again.Tails(); len(tails) != 1 || tails[0].First != 1 || tails[0].Last < 20 {
		t.Fatalf("tails %+v after a restart", tails)
	}
}

// settled waits until the preparer has nothing to do.
func settled(l *Log) {
	for {
		l.mu.Lock()
		idle := len(l.unready) == 0 && len(l.toSeal) == 0 && l.next != nil && l.next.ready && len(l.slots) > 0
		l.mu.Unlock()
		if idle {
			return
		}
		wake(l.preparer)
	}
}

// A full disk is no failure: the log goes on in the segments that it has, and grows when there is space again.
func TestFullDisk(t *testing.T) {
	for _, segments := range []int{1, 2} {
		testFullDisk(t, segments)
	}
}

func testFullDisk(t *testing.T, segments int) {
	disk := vfs.NewFault(vfs.NewCrash(1), rand.New(rand.NewPCG(1, 1)), nil)
	cfg := Config{FS: disk, Dir: "log", Size: 1 << 20, SegmentSize: 128 << 10, Memory: 1 << 20, Rand: strings.NewReader("identity")}
	remove := disk.Add(vfs.Rule{Op: vfs.OpWrite, Path: "segment-*.new", Skip: 2 * segments, Err: syscall.ENOSPC})
	l := mustOpen(t, cfg)
	for number := ovs.RecordNo(1); number <= 200; number++ {
		logtest.Write(t, l, logtest.Ref(1), number, 5000)
		l.Release(logtest.Ref(1), number)
	}
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.all)
	}
	few := count()
	logtest.Write(t, l, logtest.Ref(1), 201, l.MaxRecord())
	l.Release(logtest.Ref(1), 201)
	remove()
	wake(l.preparer)
	for number := ovs.RecordNo(202); number <= 211; number++ {
		logtest.Write(t, l, logtest.Ref(1), number, 5000)
	}
	settled(l)
	if few != segments || count() <= few {
		t.Fatalf("%d segments while the disk was full, %d afterwards", few, count())
	}
	if err := l.Failed(); err != nil {
		t.Fatal(err)
	}
}

// A disk on which not even the first segment fits is told at once, and leaves nothing open.
func TestNoSpaceAtAll(t *testing.T) {
	disk := vfs.NewCrash(1)
	disk.SetCapacity(64 << 10)
	cfg := Config{FS: disk, Dir: "log", SegmentSize: 128 << 10, Rand: strings.NewReader("identity")}
	if _, err := Open(cfg); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("opened with %v", err)
	}
	disk.SetCapacity(64 << 20)
	if err := mustOpen(t, cfg).Close(); err != nil {
		t.Fatal(err)
	}
}

// What a kill left of a segment that was being made gives its space back, also where no other can be made.
func TestHalfMadeSegment(t *testing.T) {
	const size = 128 << 10
	disk := vfs.NewCrash(1)
	cfg := Config{FS: disk, Dir: "log", Size: 4 * size, SegmentSize: size, Rand: strings.NewReader("identity")}
	if err := mustOpen(t, cfg).Close(); err != nil {
		t.Fatal(err)
	}
	copyFile(t, disk, "log/"+slotName(0), "log/"+slotName(9)+".new")
	_, before, err := disk.Space("log")
	if err != nil {
		t.Fatal(err)
	}
	cfg.KeepFree = 1 << 62 // it may not grow
	mustOpen(t, cfg)
	if _, now, err := disk.Space("log"); err != nil || now < before+size {
		t.Fatalf("%d bytes free, %d before the start (%v)", now, before, err)
	}
}

// A log whose segments are all taken opens on a full disk too: only then can owners bring to the backend what it holds.
func TestStartWithoutRoom(t *testing.T) {
	disk := vfs.NewFault(vfs.NewCrash(1), rand.New(rand.NewPCG(1, 1)), nil)
	cfg := Config{FS: disk, Dir: "log", Size: 1 << 20, SegmentSize: 128 << 10, Memory: 1 << 20, Rand: strings.NewReader("identity")}
	disk.Add(vfs.Rule{Op: vfs.OpWrite, Path: "segment-*.new", Skip: 2 * 2, Err: syscall.ENOSPC})
	l := mustOpen(t, cfg)
	ref, last := logtest.Ref(1), ovs.RecordNo(0)
	for made := 0; made < 2; runtime.Gosched() {
		l.mu.Lock()
		made = len(l.all)
		l.mu.Unlock()
	}
	for {
		r, done := logtest.Record(ref, last+1, 4096)
		r.Urgent, r.Admitted = true, func(*ovs.Record, error) {}
		if !l.Admit(r) {
			break
		}
		l.Append(r)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		last++
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, cfg)
	if l.open != nil || len(l.slots) > 0 {
		t.Fatal("there is room")
	}
	if tails := l.Tails(); len(tails) != 1 || tails[0].First != 1 || tails[0].Last != last {
		t.Fatalf("tails %+v, want 1 to %d", tails, last)
	}
	l.Release(ref, last)
	logtest.Write(t, l, ref, last+1, 4096)
}

// While a flush takes long, what was admitted finds memory, however small segments are.
func TestMemoryOfSmallSegments(t *testing.T) {
	disk := &slowDisk{FS: vfs.NewCrash(1), gate: make(chan struct{})}
	l := mustOpen(t, Config{FS: disk, Dir: "log", Size: 16 << 20, SegmentSize: MinSegment, Rand: strings.NewReader("identity")})
	for number := ovs.RecordNo(1); number < 200; number++ { // all segments there are
		logtest.Write(t, l, logtest.Ref(1), number, l.MaxRecord())
	}
	l.Release(logtest.Ref(1), 200)
	settled(l)
	disk.slow.Store(true)
	var done []chan error
	for number := ovs.RecordNo(200); number < 1000; number++ {
		r, ch := logtest.Record(logtest.Ref(1), number, l.MaxRecord())
		r.Admitted = func(*ovs.Record, error) {}
		if !l.Admit(r) {
			break
		}
		l.Append(r)
		done = append(done, ch)
	}
	close(disk.gate)
	for i, ch := range done {
		if err := <-ch; err != nil {
			t.Fatalf("record %d of %d: %v", i, len(done), err)
		}
	}
}

// slowDisk holds the flushes of segments up.
type slowDisk struct {
	vfs.FS
	slow atomic.Bool
	gate chan struct{}
}

type slowFile struct {
	vfs.File
	d *slowDisk
}

func (d *slowDisk) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	return slowFile{f, d}, err
}

func (f slowFile) Datasync() error {
	if f.d.slow.Load() {
		<-f.d.gate
	}
	return f.File.Datasync()
}

func TestNoDirect(t *testing.T) {
	disk := vfs.NewCrash(1)
	disk.RefuseDirect(true)
	l := mustOpen(t, Config{FS: disk, Dir: "log", Size: 1 << 20, SegmentSize: 128 << 10, Rand: strings.NewReader("identity")})
	logtest.Write(t, l, logtest.Ref(1), 1, 5000)
}

func TestBadConfig(t *testing.T) {
	for _, c := range []Config{
		{SegmentSize: 4096}, {SegmentSize: 1<<20 + 1}, {SegmentSize: 2 << 30},
		{Shares: map[ovs.PoolID]float64{1: 0}}, {Shares: map[ovs.PoolID]float64{1: 1.5}},
	} {
		c.FS, c.Dir, c.Rand = vfs.NewCrash(1), "log", strings.NewReader("identity")
		if _, err := Open(c); !ovs.Is(err, ovs.KindInvalid) {
			t.Errorf("opened with %v", err)
		}
	}
}

// Without memory or randomness there is no log, and nothing is left open.
func TestWithoutMeans(t *testing.T) {
	for _, c := range []Config{
		{Memory: 1 << 60, Rand: strings.NewReader("identity")}, {Rand: strings.NewReader("short")},
	} {
		c.FS, c.Dir, c.SegmentSize = vfs.NewCrash(1), "log", 128<<10
		if _, err := Open(c); !ovs.Is(err, ovs.KindIO) {
			t.Errorf("opened with %v", err)
		}
		c.Memory, c.Rand = 1<<20, strings.NewReader("identity")
		if err := mustOpen(t, c).Close(); err != nil {
			t.Error(err)
		}
	}
}

// After Close a late Append is still answered.
func TestClosed(t *testing.T) {
	l := mustOpen(t, Config{FS: vfs.NewCrash(1), Dir: "log", Size: 1 << 20, SegmentSize: 128 << 10, Rand: strings.NewReader("identity")})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r, done := logtest.Record(logtest.Ref(1), 1, 100)
	if !l.Admit(r) {
		t.Fatal("a closed log lets wait")
	}
	l.Append(r)
	if err := <-done; !ovs.Is(err, ovs.KindClosed) {
		t.Fatal(err)
	}
	synced := make(chan error)
	l.Sync(&ovs.LogSync{Done: func(_ *ovs.LogSync, err error) { synced <- err }})
	if err := <-synced; !ovs.Is(err, ovs.KindClosed) {
		t.Fatal(err)
	}
	if l.TryReadAt(1<<32|block, make([]byte, 1)) || l.ReadAt(1<<32|block, make([]byte, 1)) == nil {
		t.Fatal("a closed log reads")
	}
}

// A record that can never fit is refused, not waited for.
func TestTooBig(t *testing.T) {
	l := mustOpen(t, Config{FS: vfs.NewCrash(1), Dir: "log", Size: 1 << 20, SegmentSize: 128 << 10, Rand: strings.NewReader("identity")})
	r, done := logtest.Record(logtest.Ref(1), 1, l.MaxRecord()+1)
	logtest.Admit(t, l, r)
	l.Append(r)
	if err := <-done; !ovs.Is(err, ovs.KindTooBig) {
		t.Fatal(err)
	}
	logtest.Write(t, l, logtest.Ref(1), 1, l.MaxRecord())
}
