package volumedriver

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"ovs"
	"ovs/internal/membackend"
	"ovs/internal/memlog"
)

// holdPuts has every PUT of an SCO whose name match accepts wait until the channel is closed.
func holdPuts(b *membackend.Backend, match func(name string) bool) (held chan string, release chan struct{}) {
	held, release = make(chan string, 100), make(chan struct{})
	b.SetHook(func(c membackend.Call) error {
		if c.Op == "Put" && !c.After && match(c.Name) {
			held <- c.Name
			<-release
		}
		return nil
	})
	return held, release
}

// A PUT of an epoch that was closed lands after the take-over, under a number that the new epoch uses too.
func TestLatePutIsIgnored(t *testing.T) {
	w := newWorld(t, Config{})
	v := w.create()
	write(t, v, 0, pattern(1, 8192), ovs.FileSync)
	flush(t, v)
	held, release := holdPuts(w.backend, func(n string) bool { return n == scoName(2, 1) })
	write(t, v, 4096, pattern(2, 4096), ovs.FileSync)
	v.tail.Seal()
	<-held
	w.log = w.log.Crash(-1)
	w.driver()
	n := w.mustRecover()
	write(t, n, 4096, pattern(3, 4096), ovs.FileSync)
	flush(t, n)
	close(release) // now it lands
	w.backend.SetHook(nil)
	v.Close()
	if !exists(w, scoName(2, 1)) { // the old owner's PUT was given up instead: let it land by hand
		if _, err := w.backend.Put(context.Background(), namespace(ref), scoName(2, 1), []byte("late"), ovs.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	want := append(pattern(1, 4096), pattern(3, 4096)...)
	for range 3 {
		if got := read(t, n, 0, 9000); !bytes.Equal(got, want) {
			t.Fatal("the late SCO shows")
		}
		n = w.crash(n, 0)
	}
	write(t, n, 0, pattern(4, 10), ovs.FileSync)
	flush(t, n)
	until(t, "the late SCO is deleted", func() bool { return !exists(w, scoName(2, 1)) })
	n.Close()
}

func exists(w *world, name string) bool {
	_, err := w.backend.Get(context.Background(), namespace(ref), name, 0, make([]byte, 1))
	return err == nil
}

// An interval of several SCOs, of which some stand when the power goes, and the log with it: what counts is a prefix of
// the records.
func TestIntervalCountsAsAWhole(t *testing.T) {
	w := newWorld(t, Config{SCOSize: 4 * ovs.ClusterSize})
	v := w.create()
	write(t, v, 0, pattern(1, 40_960), ovs.FileSync)
	flush(t, v)
	held, release := holdPuts(w.backend, func(n string) bool { return strings.HasPrefix(n, "sco/") && n >= scoName(5, 0) })
	for i := range uint64(16) { // sectors of 10 clusters: three SCOs
		write(t, v, i*2560, pattern(10+i, 512), ovs.FileSync)
	}
	v.tail.Seal()
	<-held
	until(t, "the interval's first SCO stands", func() bool { return exists(w, scoName(4, 1)) })
	log := memlog.New() // the log is gone, but no epoch's end was in it
	v.tail.Halt(ovs.E("test", ovs.KindIO, nil, nil))
	close(release)
	v.stop()
	v.flush.end()
	w.log = log
	w.backend.SetHook(nil)
	for _, n := range []ovs.SCONo{5, 6, 7} {
		if err := w.backend.Delete(context.Background(), namespace(ref), scoName(n, 1)); err != nil {
			t.Fatal(err)
		}
	}
	w.driver()
	n := w.mustRecover()
	if got := read(t, n, 0, 50_000); !bytes.Equal(got, pattern(1, 40_960)) {
		t.Fatal("a part of an interval shows")
	}
	if n.flush.stands.SCO != 3 {
		t.Errorf("the prefix ends at SCO %d", n.flush.stands.SCO)
	}
	write(t, n, 0, pattern(5, 4096), ovs.FileSync) // the numbers are used again, by the new epoch
	flush(t, n)
	n = w.crash(n, 0)
	if got := read(t, n, 0, 50_000); !bytes.Equal(got, append(pattern(5, 4096), pattern(1, 40_960)[4096:]...)) {
		t.Fatal("not the same after using the numbers again")
	}
	n.Close()
}

func TestLostLogHalts(t *testing.T) {
	w := newWorld(t, Config{})
	v := w.create()
	write(t, v, 0, pattern(1, 8192), ovs.FileSync)
	v = w.crash(v, -1) // closes epoch 1 at record 1, which only the log has
	v.Close()
	w.log = memlog.New()
	w.driver()
	if _, err := w.recover(); !ovs.Is(err, ovs.KindCorrupt) {
		t.Fatalf("acknowledged records are gone, and it says %v", err)
	}
}

func TestGapInLogHalts(t *testing.T) {
	w := newWorld(t, Config{})
	v := w.create()
	for i := range uint64(3) {
		write(t, v, 0, pattern(i, 4096), ovs.FileSync)
	}
	v.Close()
	w.log.Release(ref, 2)
	if _, err := w.recover(); !ovs.Is(err, ovs.KindCorrupt) {
		t.Fatalf("records 1 and 2 are gone, and it says %v", err)
	}
}

func TestMissingObjectsHalt(t *testing.T) {
	for _, prefix := range []string{"sco/", "root/", "seg/"} {
		w := newWorld(t, Config{})
		v := w.create()
		for i := range uint64(9) {
			write(t, v, i*4096, pattern(i, 4096), ovs.FileSync)
			flush(t, v)
		}
		if prefix == "sco/" {
			v.Close()
			v = w.mustRecover() // closes the epoch: every SCO of it counts
			v.Close()
		} else {
			w.rest(v) // makes a root
		}
		l, err := w.d.list(context.Background(), namespace(ref), prefix, "")
		if err != nil || len(l) == 0 {
			t.Fatal(prefix, len(l), err)
		}
		last := l[len(l)-1].Name
		if err := w.backend.Delete(context.Background(), namespace(ref), last); err != nil {
			t.Fatal(err)
		}
		n, err := w.recover()
		if prefix == "seg/" { // found out when it is touched
			if err != nil {
				t.Fatal(err)
			}
			_, err = tryRead(n, 0, 4096)
			n.Close()
		}
		if !ovs.Is(err, ovs.KindCorrupt) && !ovs.Is(err, ovs.KindNotFound) {
			t.Errorf("without %s: %v", last, err)
		}
	}
}

// Starts that add nothing do not make the head grow.
func TestEmptyEpochs(t *testing.T) {
	w := newWorld(t, Config{})
	v := w.create()
	write(t, v, 0, pattern(1, 100), ovs.FileSync)
	v = w.crash(v, 0)
	before := mustHead(t, w)
	for range 5 {
		v = w.crash(v, 0)
	}
	w.rest(v)
	v = w.mustRecover()
	for range 5 { // but that the newest of them is closed, too
		v = w.crash(v, 0)
	}
	if h, err := decodeHead(mustHead(t, w)); err != nil || len(h.Closed) != 2 || h.Closed[0].Epoch != 7 || h.Closed[1] != (closedEpoch{12, 1, 1}) {
		t.Errorf("%+v, %v", h, err)
	}
	if h, err := decodeHead(before); err != nil || len(h.Closed) != 1 || h.Closed[0] != (closedEpoch{1, 0, 1}) {
		t.Errorf("%+v, %v", h, err)
	}
	if got := read(t, v, 0, 200); !bytes.Equal(got, pattern(1, 100)) {
		t.Fatal("not the same")
	}
	v.Close()
}

// tamper changes what Get brings.
type tamper struct {
	ovs.Backend
	mu sync.Mutex
	f  func(name string, off uint64, b []byte)
}

func (b *tamper) Get(ctx context.Context, ns, name string, off uint64, dst []byte) (int, error) {
	n, err := b.Backend.Get(ctx, ns, name, off, dst)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.f != nil {
		b.f(name, off, dst[:n])
	}
	return n, err
}

func TestWrongBytesAreNeverData(t *testing.T) {
	w := newWorld(t, Config{})
	b := &tamper{Backend: w.backend}
	w.cfg.Backend, w.cfg.Cache = b, nil
	w.driver()
	v := w.create()
	write(t, v, 0, pattern(1, 4*4096), ovs.FileSync)
	write(t, v, 8*4096, pattern(1, 4*4096), ovs.FileSync) // the same data at another address
	flush(t, v)
	var other []byte
	for name, f := range map[string]func(name string, off uint64, b []byte){
		"a flipped bit":      func(_ string, _ uint64, b []byte) { b[77] ^= 4 },
		"a flipped proof":    func(_ string, _ uint64, b []byte) { b[len(b)-16] ^= 4 },
		"its neighbour":      func(_ string, off uint64, b []byte) { copy(b, other) },
		"zeros":              func(_ string, _ uint64, b []byte) { clear(b) },
		"what the file said": func(_ string, _ uint64, b []byte) { copy(b, b[16:]) },
	} {
		other = nil
		b.mu.Lock()
		b.f = func(_ string, _ uint64, b []byte) { other = bytes.Clone(b) }
		b.mu.Unlock()
		read(t, v, 8*4096, 4096) // the cluster that holds the same bytes elsewhere
		b.mu.Lock()
		b.f = f
		b.mu.Unlock()
		if got, err := tryRead(v, 0, 4096); !ovs.Is(err, ovs.KindCorrupt) || len(got) != 0 {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	b.mu.Lock()
	b.f = nil
	b.mu.Unlock()
	if got := read(t, v, 0, 4096); !bytes.Equal(got, pattern(1, 4*4096)[:4096]) {
		t.Error("not the same afterwards")
	}
	v.Close()
}

func TestConflictHalts(t *testing.T) {
	w := newWorld(t, Config{})
	v := w.create()
	write(t, v, 0, pattern(1, 4096), ovs.FileSync)
	flush(t, v)
	if _, err := w.backend.Put(context.Background(), namespace(ref), scoName(2, 1), []byte("another's"), ovs.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	write(t, v, 4096, pattern(2, 4096), ovs.FileSync)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := v.Flush(ctx); !ovs.Is(err, ovs.KindConflict) {
		t.Fatalf("flush: %v", err)
	}
	done := make(chan *ovs.Write, 1)
	v.Write(&ovs.Write{Data: []byte("x"), Done: func(w *ovs.Write) { done <- w }})
	if w := <-done; !ovs.Is(w.Err, ovs.KindIO) {
		t.Fatalf("write: %v", w.Err)
	}
	if got := read(t, v, 0, 8192); !bytes.Equal(got, append(pattern(1, 4096), pattern(2, 4096)...)) {
		t.Fatal("what is durable must be read")
	}
	if err := v.Live().Halted; !ovs.Is(err, ovs.KindConflict) {
		t.Fatalf("it says that it is halted by %v", err)
	}
	v.Close()
}

func TestFencedCheckpointHalts(t *testing.T) {
	w := newWorld(t, Config{TLogSCOs: 1, MostTLogs: 1})
	v := w.create()
	w.do(ovs.Set(entryKey(), []byte("another owner")))
	before := mustHead(t, w)
	write(t, v, 0, pattern(1, 4096), ovs.FileSync)
	flush(t, v)
	until(t, "it is halted", func() bool { return v.Live().Halted != nil })
	if !ovs.Is(v.tail.Err(), ovs.KindFenced) || !bytes.Equal(mustHead(t, w), before) {
		t.Fatalf("%v", v.tail.Err())
	}
	v.Close()
}

func TestRecoverOfNothing(t *testing.T) {
	w := newWorld(t, Config{})
	if _, err := w.recover(); !ovs.Is(err, ovs.KindNotFound) {
		t.Fatal(err)
	}
}

// An owner that was replaced and does not know it goes on writing into the log: its records past its epoch's end are
// garbage, whoever of the two wrote a number first.
func TestRecordsPastTheirEpochAreIgnored(t *testing.T) {
	for _, zombieFirst := range []bool{true, false} {
		w := newWorld(t, Config{})
		old := w.create()
		write(t, old, 0, pattern(1, 4096), ovs.FileSync)
		v := w.mustRecover()
		for range 3 {
			if zombieFirst {
				write(t, old, 0, pattern(66, 5000), ovs.FileSync)
			}
			write(t, v, 2048, pattern(2, 4096), ovs.FileSync)
			if !zombieFirst {
				write(t, old, 0, pattern(66, 5000), ovs.FileSync)
			}
		}
		write(t, old, 0, pattern(66, 5000), ovs.FileSync) // a number that the new epoch has not used
		want := append(pattern(1, 2048), pattern(2, 4096)...)
		for range 2 {
			v.Close()
			v = w.mustRecover()
			if got := read(t, v, 0, 10_000); !bytes.Equal(got, want) {
				t.Fatal("a record past its epoch's end shows")
			}
			if last, _ := v.tail.Last(); last != 4 {
				t.Fatalf("the last record is %d", last)
			}
		}
		old.Close()
		v.Close()
	}
}

// An object is closed and brought back in one process, while its last record is still on the way to the disk: its epoch may
// not be closed at a record that a power cut can still take back.
func TestRecoverWaitsForTheFlush(t *testing.T) {
	w := newWorld(t, Config{})
	v := w.create()
	w.log.Hold()
	write(t, v, 0, pattern(1, 4096), ovs.Unstable)
	v.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	c := w.claim()
	if _, err := w.d.Recover(ctx, c); !ovs.Is(err, ovs.KindTimeout) {
		t.Fatalf("brought back on a record that is not durable: %v", err)
	}
	w.log = w.log.Crash(0)
	w.driver()
	v = w.mustRecover()
	if last, _ := v.tail.Last(); last != 0 {
		t.Errorf("record %d", last)
	}
	v.Close()
}
