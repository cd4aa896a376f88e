package dtl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ovs"
	"ovs/internal/conformance/logtest"
	"ovs/internal/vfs"
	"ovs/internal/vfs/vfstest"
)

// The proof: random histories of appends, releases, kills and power cuts on a small log that is written through many times.
// After each restart every record that was Done without error and is not released is there, byte by byte, without a gap;
// and what the restart showed once, no later cut may take away. Planted bugs have to be caught by the same check.

// process is a disk as one process sees it: after a kill its calls fail, and what it wrote stays in the disk's cache.
type process struct {
	*vfs.Crash
	dead  atomic.Bool
	fuse  atomic.Int64 // Datasyncs until it is killed in front of one; 0: never
	mu    sync.Mutex
	locks []io.Closer
}

var errKilled = errors.New("killed")

type processFile struct {
	vfs.File
	p *process
}

func (p *process) kill() {
	p.dead.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.locks {
		_ = l.Close()
	}
	p.locks = nil
}

func (p *process) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if p.dead.Load() {
		return nil, errKilled
	}
	f, err := p.Crash.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return processFile{f, p}, nil
}

func (p *process) Rename(from, to string) error {
	if p.dead.Load() {
		return errKilled
	}
	return p.Crash.Rename(from, to)
}

func (p *process) Lock(name string) (io.Closer, error) {
	l, err := p.Crash.Lock(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.locks = append(p.locks, l)
	return l, err
}

func (f processFile) WriteAt(b []byte, off int64) (int, error) {
	if f.p.dead.Load() {
		return 0, errKilled
	}
	return f.File.WriteAt(b, off)
}

func (f processFile) Datasync() error {
	if f.p.fuse.Load() > 0 && f.p.fuse.Add(-1) == 0 {
		f.p.kill()
	}
	if f.p.dead.Load() {
		return errKilled
	}
	return f.File.Datasync()
}

// model is what one object may rely on.
type model struct {
	ref      ovs.Ref
	epoch    ovs.Epoch
	next     ovs.RecordNo
	released ovs.RecordNo

	mu   sync.Mutex
	done ovs.RecordNo // all up to here is durable
	bad  error
}

// world is one history.
type world struct {
	rng     *rand.Rand
	disk    *vfs.Crash
	bugs    bugs
	plant   func(*vfs.Crash) // a bug of the disk, in force while the log runs
	opening func(*vfs.Crash) // the same, while it opens
	objects []*model
	wrapped uint32
	start   uint64
}

func newWorld(seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 99)), disk: vfs.NewCrash(seed)}
	for i := range 4 {
		w.objects = append(w.objects, &model{ref: ovs.Ref{Pool: 3, Object: ovs.ObjectID(i + 1)}, next: 1})
	}
	return w
}

func (m *model) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bad = err
}

func content(r ovs.Ref, number ovs.RecordNo, epoch ovs.Epoch, n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(uint64(r.Object)<<32|uint64(epoch), uint64(number)))
	for i := 0; i < n; i += 8 {
		for j, x := i, rng.Uint64(); j < min(i+8, n); j++ {
			b[j], x = byte(x), x>>8
		}
	}
	return b
}

// live is one start of the log: open, check, work, end.
func (w *world) live() error {
	p := &process{Crash: w.disk}
	if w.opening != nil {
		w.opening(w.disk)
	}
	l, err := Open(Config{
		FS: p, Dir: "log", Size: 6 * 128 << 10, SegmentSize: 128 << 10, Memory: 1 << 20,
		Rand: strings.NewReader("identity"), bugs: w.bugs,
	})
	w.disk.IgnoreSync(nil)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if l.start <= w.start {
		return errors.Join(fmt.Errorf("start %d after %d", l.start, w.start), l.Close())
	}
	w.start = l.start
	if l.doubted != 0 || len(l.damage) > 0 {
		err = errors.Join(errors.New("a cut was taken for damage"), l.Close())
		return err
	}
	for _, m := range w.objects {
		if err := w.check(l, m); err != nil {
			return errors.Join(fmt.Errorf("object %v: %w", m.ref, err), l.Close())
		}
	}
	if w.plant != nil {
		w.plant(w.disk)
	}
	kill := w.rng.IntN(3) == 0
	if kill {
		p.fuse.Store(1 + w.rng.Int64N(60))
	} else {
		w.disk.CutAt(1 + w.rng.IntN(150))
	}
	w.work(l, func() bool { return l.Failed() != nil })
	w.disk.CutAt(0)
	l.mu.Lock()
	w.wrapped = max(w.wrapped, l.gen)
	l.mu.Unlock()
	if kill && w.rng.IntN(4) > 0 {
		p.kill()
		_ = l.Close()
		return nil
	}
	next := w.disk.Cut()
	p.kill()
	_ = l.Close()
	w.disk = next
	return nil
}

// check compares what the log holds of an object with what it may rely on, and relies on what it sees from now on.
func (w *world) check(l *Log, m *model) error {
	var tail ovs.LogTail
	for _, t := range l.Tails() {
		if t.Ref == m.ref {
			tail = t
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bad != nil {
		return m.bad
	}
	if m.done > m.released && (tail.Last < m.done || tail.First > m.released+1) {
		return fmt.Errorf("tail %d to %d, but %d to %d were durable", tail.First, tail.Last, m.released+1, m.done)
	}
	if tail.Last >= m.next {
		return fmt.Errorf("tail ends in %d, which was never appended", tail.Last)
	}
	want := m.released + 1
	err := l.Replay(m.ref, m.released, func(r *ovs.Record) error {
		if r.Number != want {
			return fmt.Errorf("replay gives %d instead of %d", r.Number, want)
		}
		want++
		got := make([]byte, r.Len)
		if err := l.ReadAt(r.Pos, got); err != nil {
			return fmt.Errorf("record %d: %w", r.Number, err)
		}
		if !bytes.Equal(got, content(r.Ref, r.Number, r.Epoch, len(got))) {
			return fmt.Errorf("record %d reads wrong", r.Number)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if want <= m.done && m.done > m.released {
		return fmt.Errorf("replay ends before %d, but %d was durable", want, m.done)
	}
	m.done = max(m.done, want-1)
	m.next = m.done + 1
	m.epoch++
	if w.rng.IntN(2) == 0 { // the owner knows what is on the backend
		l.Release(m.ref, m.released)
	}
	return nil
}

// work appends and releases until the log fails.
func (w *world) work(l *Log, over func() bool) {
	admitted := make(chan error, 1)
	for range 400 {
		m := w.objects[w.rng.IntN(len(w.objects))]
		n := []int{0, 100, 512, 4096, 5000, w.rng.IntN(l.MaxRecord() + 1)}[w.rng.IntN(6)]
		r := &ovs.Record{Ref: m.ref, Epoch: m.epoch, Number: m.next, Kind: ovs.RecordWrite, Len: uint64(n), Data: content(m.ref, m.next, m.epoch, n)}
		r.Admitted = func(_ *ovs.Record, err error) { admitted <- err }
		done := make(chan struct{})
		r.Done = func(r *ovs.Record, err error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if err == nil {
				if r.Number != m.done+1 {
					m.bad = fmt.Errorf("record %d is done after %d", r.Number, m.done)
				}
				m.done = r.Number
			}
			close(done)
		}
		asked := time.Now()
		for waiting := !l.Admit(r); waiting; {
			if time.Since(asked) > 5*time.Second {
				m.fail(errors.New("no room, though everything is released"))
				return
			}
			w.release(l)
			select {
			case <-w.disk.Done(): // a new segment failed, and nothing else was written: the log does not know yet
				return
			case err := <-admitted:
				if err != nil {
					return
				}
				waiting = false
			case <-time.After(time.Millisecond):
			}
		}
		m.next++
		l.Append(r)
		if w.rng.IntN(4) == 0 {
			<-done
		}
		if w.rng.IntN(10) == 0 {
			w.release(l)
		}
		if over() {
			return
		}
	}
}

func (w *world) release(l *Log) {
	m := w.objects[w.rng.IntN(len(w.objects))]
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done > m.released {
		m.released += 1 + ovs.RecordNo(w.rng.Uint64N(uint64(m.done-m.released)))
	}
	l.Release(m.ref, m.released)
}

// history runs lives and returns the first violation.
func (w *world) history(lives int) error {
	for i := range lives {
		if err := w.live(); err != nil {
			return fmt.Errorf("life %d: %w", i, err)
		}
	}
	for _, m := range w.objects {
		if m.bad != nil {
			return m.bad
		}
	}
	return nil
}

func TestCrashes(t *testing.T) {
	var generations uint32
	for seed := range uint64(60) {
		w := newWorld(seed)
		if err := w.history(8); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		generations = max(generations, w.wrapped)
	}
	if generations < 20 {
		t.Fatalf("only %d generations: segments were hardly reused", generations)
	}
}

// forker takes pictures of the disk as cuts could leave it when the first batch of generation 2 is written and not flushed.
type forker struct {
	*vfs.Crash
	l     *Log
	forks []*vfs.Crash
}

func (f *forker) Mark(name string) {
	if name != "log written" || f.forks != nil || f.l == nil {
		return
	}
	f.l.mu.Lock()
	gen := f.l.writing.seg.gen
	f.l.mu.Unlock()
	if gen == 2 {
		for range 150 {
			f.forks = append(f.forks, f.Fork())
		}
	}
}

// A generation is never used twice, even if the power goes before its first batch is flushed: its header is flushed before.
// Otherwise the next start, which knows nothing of it, would give it again, and that batch would be there all at once.
func TestHeaderFlush(t *testing.T) {
	for _, planted := range []bool{false, true} {
		cfg := Config{Dir: "log", Size: 1 << 20, SegmentSize: 128 << 10, Memory: 1 << 20, Rand: strings.NewReader("identity")}
		cfg.bugs.noHeaderFlush = planted
		disk := &forker{Crash: vfs.NewCrash(1)}
		cfg.FS = disk
		disk.l = mustOpen(t, cfg)
		for number := ovs.RecordNo(1); disk.forks == nil; number++ {
			logtest.Write(t, disk.l, logtest.Ref(1), number, 100)
		}
		ghosts := 0
		for i, fork := range disk.forks {
			if ghosts > 0 || !planted && i == 30 {
				break
			}
			cfg.FS = fork
			l := mustOpen(t, cfg)
			before := l.Tails()
			settled(l)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = mustOpen(t, cfg)
			if after := l.Tails(); after[0] != before[0] {
				ghosts++
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if planted != (ghosts > 0) {
			t.Fatalf("planted: %v, and %d times a record came out of nowhere", planted, ghosts)
		}
	}
}

// What a process that died or failed wrote and did not flush is flushed before it is believed; else a later cut takes away
// what a start has shown. Each flush of a start is needed for one of these: without it the case must be noticed.
func TestBelieved(t *testing.T) {
	noRoom := vfs.Rule{Op: vfs.OpCreate, Path: "segment-*", Err: syscall.ENOSPC}
	for _, c := range []struct {
		name  string
		plant func(op vfs.Op, name string) bool
		wrote func(b *bench) // leaves object 1 two records, the second as good as unflushed
		again []vfs.Rule     // the disk at the next start
	}{
		{"killed before the flush", isSegment, func(b *bench) {
			b.write(1, 1)
			b.unflushed(1, 2)
		}, nil},
		{"the flush failed", askedBy("dtl.(*Log).renew"), func(b *bench) {
			b.close()
			fault := b.openFaulty()
			b.write(1, 1)
			synctest.Wait()
			fault.Add(vfs.Rule{Op: vfs.OpDatasync, Path: "segment-*", Err: syscall.EIO})
			b.unflushed(1, 2)
		}, nil},
		{"killed before the flush, in a damaged segment", askedBy("dtl.(*Log).openSegments"), func(b *bench) {
			spoilt := b.write(2, 1)
			b.write(1, 1)
			synctest.Wait()
			b.flip(spoilt)
			b.unflushed(1, 2)
		}, nil},
		{"the directory's flush failed", askedBy("dtl.Open"), func(b *bench) {
			b.close()
			b.cfg.Dir, b.cfg.Rand = "log2", strings.NewReader("identity")
			b.openFaulty(vfs.Rule{Op: vfs.OpSyncDir, Path: "log2", Skip: 3, Err: syscall.EIO})
			if err := b.disk.SyncDir("."); err != nil {
				b.t.Fatal(err)
			}
			synctest.Wait()
			b.close() // the second segment has a name that is not flushed, and there is no room for a third
			b.openFaulty(noRoom)
			first := b.write(1, 1)
			for n := ovs.RecordNo(1); placeOf(b.write(2, n)).gen == placeOf(first).gen; n++ {
			}
			b.write(1, 2)
		}, []vfs.Rule{noRoom}},
	} {
		for _, planted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, planted %v", c.name, planted), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t)
					if planted {
						b.disk.IgnoreSync(c.plant)
					}
					c.wrote(b)
					b.kill()
					b.openFaulty(c.again...)
					b.want(1, 2)
					synctest.Wait()
					b.disk.IgnoreSync(nil)
					b.disk.SetCutMode(vfs.CutAll)
					b.disk = b.disk.Cut()
					b.kill()
					b.open()
					if n, err := b.count(1); planted == (n == 2 && err == nil) {
						t.Fatalf("%d records are there (%v)", n, err)
					}
				})
			})
		}
	}
}

// askedBy chooses the flushes that this function asks for.
func askedBy(function string) func(op vfs.Op, name string) bool {
	return func(vfs.Op, string) bool { return vfstest.Asker() == function }
}

func isSegment(op vfs.Op, name string) bool {
	return op == vfs.OpDatasync && strings.Contains(name, "segment-")
}

func TestPlantedBugs(t *testing.T) {
	for name, plant := range map[string]func(w *world){
		"no fdatasync of batches": func(w *world) {
			w.plant = func(d *vfs.Crash) { d.IgnoreSync(isSegment) }
		},
		"generation not in the checksum": func(w *world) { w.bugs.ignoreGeneration = true },
		"no fdatasync of the superblock": func(w *world) {
			w.opening = func(d *vfs.Crash) {
				d.IgnoreSync(func(op vfs.Op, name string) bool { return strings.Contains(name, superName) })
			}
		},
		"no sync of the directory": func(w *world) {
			w.opening = func(d *vfs.Crash) { d.IgnoreSync(func(op vfs.Op, name string) bool { return op == vfs.OpSyncDir }) }
			w.plant = w.opening
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				w := newWorld(seed)
				plant(w)
				if err := w.history(8); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Fatal("not caught")
		})
	}
}
