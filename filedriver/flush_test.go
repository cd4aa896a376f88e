package filedriver

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ovs"
	"ovs/internal/membackend"
)

const id = ovs.ObjectID(0x42)

// An interval that cannot be brought to the backend halts the file: those after it do not pass it, however often a flush is
// asked for, and all of it is there after the next start.
func TestFailedIntervalIsNotPassedOver(t *testing.T) {
	w := newWorld(t, Config{})
	f := w.create(id)
	f.mustWrite(t, 0, pattern(1, 2<<20), ovs.FileSync)
	f.mustFlush(t)
	damaged := f.cur.Load().table[0].of(id, 0).Name()
	if !w.backend.Corrupt(w.d.namespace, damaged) {
		t.Fatal("no chunk to damage")
	}
	began, goOn := make(chan bool), make(chan bool)
	w.backend.SetHook(func(c membackend.Call) error {
		if c.Op == "Get" && !c.After {
			w.backend.SetHook(nil)
			close(began)
			<-goOn
		}
		return nil
	})
	f.mustWrite(t, 100, pattern(2, 100), ovs.FileSync) // must be merged with what is damaged
	f.tail.Seal()
	<-began
	f.mustWrite(t, 1<<20, pattern(3, 1<<20), ovs.FileSync)
	close(goOn)
	for range 3 {
		if err := f.Flush(soon(t)); !ovs.Is(err, ovs.KindCorrupt) {
			t.Fatalf("flush: %v", err)
		}
	}
	if err := f.Live().Halted; !ovs.Is(err, ovs.KindCorrupt) {
		t.Fatalf("halted: %v", err)
	}
	f = w.crash(f, 0)
	f.expect(t, 100, pattern(2, 100))
	f.expect(t, 1<<20, pattern(3, 1<<20))
	f.Close()
}

// lateRegistry keeps the first sequence whose outcome nobody knows, to let it happen when it likes.
type lateRegistry struct {
	ovs.Registry
	armed bool
	late  []ovs.Update
}

func (r *lateRegistry) Sequence(ctx context.Context, u ...ovs.Update) (uint64, error) {
	if r.armed {
		r.armed, r.late = false, u
		return 0, ovs.E("test", ovs.KindTimeout, nil, nil)
	}
	return r.Registry.Sequence(ctx, u...)
}

// A flush's sequence seems lost and is sent again; the next flush is done; then the first one is applied after all.
func TestLateSequenceDoesNoHarm(t *testing.T) {
	w := newWorld(t, Config{})
	r := &lateRegistry{Registry: w.reg}
	w.cfg.Registry = r
	w.driver()
	f := w.create(id)
	r.armed = true
	f.mustWrite(t, 0, pattern(1, 10_000), ovs.FileSync)
	f.mustFlush(t)
	f.mustWrite(t, 0, pattern(2, 10_000), ovs.FileSync)
	f.mustFlush(t)
	if r.late == nil {
		t.Fatal("nothing is late")
	}
	if _, err := w.reg.Sequence(context.Background(), r.late...); !ovs.Is(err, ovs.KindConflict) {
		t.Errorf("the late sequence: %v", err)
	}
	f = w.crash(f, 0)
	f.expect(t, 0, pattern(2, 10_000))
	f.Close()
}

// An answer is lost though the sequence was done: the next try finds it done.
func TestSwingAnswerLost(t *testing.T) {
	w := newWorld(t, Config{})
	r := &lateRegistry{Registry: w.reg}
	w.cfg.Registry = doneRegistry{r}
	w.driver()
	f := w.create(id)
	for i := range uint64(3) {
		r.armed = true
		f.mustWrite(t, 0, pattern(i, 10_000), ovs.FileSync)
		f.mustFlush(t)
	}
	f = w.crash(f, 0)
	f.expect(t, 0, pattern(2, 10_000))
	f.Close()
}

type doneRegistry struct{ *lateRegistry }

func (r doneRegistry) Sequence(ctx context.Context, u ...ovs.Update) (uint64, error) {
	i, err := r.lateRegistry.Sequence(ctx, u...)
	if ovs.Is(err, ovs.KindTimeout) {
		if _, err := r.Registry.Sequence(ctx, u...); err != nil {
			return 0, err
		}
	}
	return i, err
}

// An owner that was replaced and goes on deleting leftovers takes none of its successor's chunks.
func TestSweepSparesNewerEpochs(t *testing.T) {
	w := newWorld(t, Config{})
	f := w.create(id)
	f.mustWrite(t, 0, pattern(1, 10_000), ovs.FileSync)
	f = w.crash(f, 0) // its first flush sweeps
	newer, old := chunk{9, 77}.of(id, 0).Name(), chunk{1, 50}.of(id, 3).Name()
	if err := w.backend.CreateNamespace(context.Background(), w.d.namespace); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{newer, old} {
		if _, err := w.backend.Put(context.Background(), w.d.namespace, name, []byte("x"), ovs.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	f.mustFlush(t)
	for name, want := range map[string]bool{newer: true, old: false} {
		_, err := w.backend.Get(context.Background(), w.d.namespace, name, 0, make([]byte, 1))
		if (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.Close()
}

// A read that is overtaken by flush after flush, each of which deletes the chunk that it was about to read.
func TestReadOvertakenByFlushes(t *testing.T) {
	w := newWorld(t, Config{})
	f := w.create(id)
	f.mustWrite(t, 0, pattern(1, 10_000), ovs.FileSync)
	f.mustFlush(t)
	left := uint64(3)
	var hook func(c membackend.Call) error
	hook = func(c membackend.Call) error {
		if c.Op == "Get" && !c.After && left > 0 {
			left--
			w.backend.SetHook(nil)
			f.mustWrite(t, 8192, pattern(left, 100), ovs.FileSync)
			f.mustFlush(t)
			w.backend.SetHook(hook)
		}
		return nil
	}
	w.backend.SetHook(hook)
	f.expect(t, 0, pattern(1, 10_000)[:4096])
	if left > 0 {
		t.Errorf("%d flushes did not overtake it", left)
	}
	f.Close()
}

// What a start brought back from the log is flushed when it is old, as what is written later.
func TestReplayedRecordsAge(t *testing.T) {
	w := newWorld(t, Config{MaxAge: time.Hour})
	f := w.create(id)
	f.mustWrite(t, 0, pattern(1, 10_000), ovs.FileSync)
	w.cfg.MaxAge = time.Millisecond
	f = w.crash(f, 0)
	put := make(chan bool, 10)
	w.backend.SetHook(func(c membackend.Call) error {
		if c.Op == "Put" && c.After {
			put <- true
		}
		return nil
	})
	f.mustWrite(t, 5000, pattern(2, 10), ovs.FileSync)
	select {
	case <-put:
	case <-soon(t).Done():
		t.Error("it is still in the log")
	}
	f.Close()
}

// A full backend holds up the files that need it, not those that live in their heads.
func TestSmallFilesPassStuckOnes(t *testing.T) {
	w := newWorld(t, Config{})
	w.backend.SetTotal(1)
	stuck := make(chan string, 100)
	w.backend.SetHook(func(c membackend.Call) error {
		if c.Op == "Put" && !c.After {
			select {
			case stuck <- c.Name:
			default:
			}
		}
		return nil
	})
	var files []*file
	for i := range ovs.ObjectID(workers + 1) {
		f := w.create(100 + i)
		f.mustWrite(t, 0, pattern(1, 10_000), ovs.FileSync)
		f.tail.Seal()
		files = append(files, f)
	}
	for seen := map[string]bool{}; len(seen) < workers; {
		name, _, _ := strings.Cut(<-stuck, "-")
		seen[name] = true
	}
	small := w.create(id)
	small.mustWrite(t, 0, []byte("a lock"), ovs.FileSync)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := small.Flush(ctx); err != nil {
		t.Error(err)
	}
	w.backend.SetHook(nil)
	w.backend.SetTotal(0)
	for _, f := range files {
		f.mustFlush(t)
		f.Close()
	}
	small.Close()
}

// A flush that touches many chunks has one of them in memory at a time.
func TestFlushHoldsOneChunk(t *testing.T) {
	w := newWorld(t, Config{})
	f := w.create(id)
	const n = 8
	for i := range uint64(n) {
		f.mustWrite(t, i<<20, pattern(i, 1<<20), ovs.FileSync)
	}
	f.mustFlush(t)
	read := 0
	w.backend.SetHook(func(c membackend.Call) error {
		switch {
		case c.After:
		case c.Op == "Get":
			if read++; read > 1 {
				return fmt.Errorf("%d chunks read, and none put", read)
			}
		case c.Op == "Put":
			read = 0
		}
		return nil
	})
	want := make([][]byte, n)
	for i := range uint64(n) {
		want[i] = pattern(i, 1<<20)
		copy(want[i][5:], "here")
		f.mustWrite(t, i<<20+5, []byte("here"), ovs.FileSync)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := f.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	w.backend.SetHook(nil)
	f = w.crash(f, 0)
	f.expect(t, 0, bytes.Join(want[:1], nil))
	f.expect(t, (n-1)<<20, want[n-1])
	f.Close()
}

// A file is closed and brought back in one process, while its last record is still on the way to the disk: its epoch may
// not be closed at a record that a power cut can still take back.
func TestRecoverWaitsForTheFlush(t *testing.T) {
	w := newWorld(t, Config{})
	f := w.create(id)
	w.log.Hold()
	f.mustWrite(t, 0, pattern(1, 4096), ovs.Unstable)
	f.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := w.d.Recover(ctx, claimOf(id, 2)); !ovs.Is(err, ovs.KindTimeout) {
		t.Fatalf("brought back on a record that is not durable: %v", err)
	}
	w.log = w.log.Crash(0)
	w.driver()
	f = w.recover(id, 3)
	if last, _ := f.tail.Last(); last != 0 {
		t.Errorf("record %d", last)
	}
	f.Close()
}

// Whoever makes a volume of a file is not held up for ever by a full backend.
func TestLayerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		f := w.create(id)
		f.mustWrite(t, 0, []byte("in the head"), ovs.FileSync)
		if _, err := f.Rest(soon(t), func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		w.backend.SetTotal(1)
		begin := time.Now()
		if _, err := f.Layer(); !ovs.Is(err, ovs.KindNoSpace) || time.Since(begin) > 2*time.Minute {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		f.Close()
	})
}

// flakyLog fails to read a few times.
type flakyLog struct {
	ovs.Log
	left *int
}

func (l flakyLog) TryReadAt(p ovs.LogPos, dst []byte) bool { return false }

func (l flakyLog) ReadAt(p ovs.LogPos, dst []byte) error {
	if *l.left > 0 {
		*l.left--
		return ovs.E("test", ovs.KindIO, nil, nil)
	}
	return l.Log.ReadAt(p, dst)
}

// Trouble with the log's disk that passes does not halt a file.
func TestFlushReadsTheLogAgain(t *testing.T) {
	w := newWorld(t, Config{})
	left := 3
	w.d.cfg.Log = flakyLog{w.log, &left}
	f := w.create(id)
	f.mustWrite(t, 0, pattern(1, 10_000), ovs.FileSync)
	f.mustFlush(t)
	f.expect(t, 0, pattern(1, 10_000))
	f.Close()
}

// Intervals that wait behind a slow backend are flushed as one: each of their chunks is put once.
func TestWaitingIntervalsAreFlushedAsOne(t *testing.T) {
	w := newWorld(t, Config{SealAt: 64 << 10})
	f := w.create(id)
	began, goOn := make(chan bool), make(chan bool)
	puts := 0 // guarded by the backend: hooks come one at a time
	w.backend.SetHook(func(c membackend.Call) error {
		if c.Op == "Put" && !c.After {
			if puts++; puts == 1 {
				close(began)
				<-goOn
			}
		}
		return nil
	})
	want := pattern(1, 2<<20)
	f.mustWrite(t, 0, want, ovs.FileSync)
	f.tail.Seal()
	<-began
	for i := range 40 {
		b := pattern(uint64(i), 64<<10)
		off := i * 48 << 10
		f.mustWrite(t, uint64(off), b, ovs.FileSync)
		copy(want[off:], b)
	}
	close(goOn)
	f.mustFlush(t)
	w.backend.SetHook(nil)
	if puts > 2+2+1 { // two chunks at first, two for all that waited, and at most one that was cut later
		t.Errorf("%d chunks were put", puts)
	}
	f.expect(t, 0, want)
	f = w.crash(f, 0)
	f.expect(t, 0, want)
	f.Close()
}
