package tail

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"ovs"
	"ovs/internal/memlog"
)

var ref = ovs.Ref{Pool: 7, Object: 9}

// bottom is a Below in memory. It answers TryReadBelow only where warm.
type bottom struct {
	mu   sync.Mutex
	data []byte
	cold bool
}

func (b *bottom) TryReadBelow(dst []byte, off uint64) bool {
	if b.cold {
		return false
	}
	return b.ReadBelow(context.Background(), dst, off) == nil
}

func (b *bottom) ReadBelow(_ context.Context, dst []byte, off uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(dst)
	if off < uint64(len(b.data)) {
		copy(dst, b.data[off:])
	}
	return nil
}

// take brings an interval down, as a driver does.
func (b *bottom) take(t testing.TB, s *Sealed) {
	s.Each(func(off, n uint64, e Extent) bool {
		end := min(off+n, max(s.Size, uint64(len(b.data))))
		if end <= off {
			return true
		}
		p := make([]byte, end-off)
		if e.Kind() == Data {
			if err := s.ReadAt(e, p); err != nil {
				t.Error(err)
			}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if uint64(len(b.data)) < end {
			b.data = append(b.data, make([]byte, end-uint64(len(b.data)))...)
		}
		copy(b.data[off:], p)
		return true
	})
}

type rig struct {
	*Tail
	t     testing.TB
	log   *memlog.Log
	below *bottom
	pool  *Pool
	clock int64
}

func newRig(t testing.TB, log *memlog.Log, c Config) *rig {
	r := &rig{t: t, log: log, below: &bottom{}, pool: NewPool(2)}
	c.Ref, c.Log, c.Below, c.Pool = ref, log, r.below, r.pool
	c.Epoch = max(c.Epoch, 1)
	c.Now = func() int64 { r.clock++; return r.clock }
	r.Tail = New(c)
	return r
}

// start begins a write; the channel gives it back when it is done.
func (r *rig) start(off uint64, data []byte, how ovs.Stability) chan *ovs.Write {
	done := make(chan *ovs.Write, 1)
	r.Write(&ovs.Write{Off: off, Data: data, Stable: how, Done: func(w *ovs.Write) { done <- w }})
	return done
}

func (r *rig) write(off uint64, data []byte, how ovs.Stability) {
	r.t.Helper()
	if w := <-r.start(off, data, how); w.Err != nil || w.Committed < how || w.Verf != ovs.VerifierOf(ref, r.cfg.Epoch) {
		r.t.Fatalf("write: %+v", w)
	}
}

func (r *rig) startRead(off uint64, n int) chan *ovs.Read {
	done := make(chan *ovs.Read, 1)
	r.Read(&ovs.Read{Off: off, Dst: make([]byte, n), Done: func(d *ovs.Read) { done <- d }})
	return done
}

func (r *rig) read(off uint64, n int) ([]byte, bool) {
	r.t.Helper()
	d := <-r.startRead(off, n)
	if d.Err != nil {
		r.t.Fatalf("read %d+%d: %v", off, n, d.Err)
	}
	return d.Dst[:d.N], d.EOF
}

func (r *rig) commit() error {
	done := make(chan error, 1)
	r.Commit(&ovs.Commit{Done: func(c *ovs.Commit) { done <- c.Err }})
	return <-done
}

// drain brings the oldest intervals down as one, if there are any.
func (r *rig) drain(most int) bool {
	s := r.Next(most)
	if s == nil {
		return false
	}
	if err := s.Wait(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	r.below.take(r.t, s)
	r.Drop(s)
	return true
}

func pattern(seed uint64, n int) []byte {
	g := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32()) | 1
	}
	return b
}

func TestModel(t *testing.T) {
	for seed := range uint64(8) {
		modelRun(t, seed)
	}
}

func modelRun(t *testing.T, seed uint64) {
	g := rand.New(rand.NewPCG(seed, 3))
	log := memlog.New()
	log.SetFaults(memlog.Faults{Seed: seed, AdmitWaits: 0.2, TryMisses: 0.3})
	r := newRig(t, log, Config{SealAt: 40_000})
	defer func() { r.Close(); r.pool.Close(); log.Close() }()
	r.below.cold = seed%2 == 0
	const space = 100_000
	var model []byte
	for i := range 600 {
		off, n := g.Uint64N(space), 1+g.IntN(9000)
		switch k := g.IntN(20); {
		case k < 9:
			b := pattern(uint64(i), n)
			if g.IntN(5) == 0 {
				clear(b)
			}
			r.write(off, b, ovs.Stability(g.IntN(3)))
			if end := int(off) + n; end > len(model) {
				model = append(model, make([]byte, end-len(model))...)
			}
			copy(model[off:], b)
		case k < 15:
			got, eof := r.read(off, n)
			want := model[min(int(off), len(model)):min(int(off)+n, len(model))]
			if !bytes.Equal(got, want) || eof != (int(off)+n >= len(model)) {
				t.Fatalf("seed %d step %d: read %d+%d differs (%d of %d bytes, eof %v)", seed, i, off, n, len(got), len(want), eof)
			}
		case k < 16:
			if err := r.Resize(context.Background(), off); err != nil {
				t.Fatal(err)
			}
			model = append(model[:min(int(off), len(model))], make([]byte, max(0, int(off)-len(model)))...)
		case k < 17:
			r.Seal()
		case k < 19:
			r.drain(1 + g.IntN(4))
		default:
			if err := r.commit(); err != nil {
				t.Fatal(err)
			}
		}
		if live := r.Live(); live.Size != uint64(len(model)) {
			t.Fatalf("seed %d step %d: size %d, want %d", seed, i, live.Size, len(model))
		}
	}
	r.Seal()
	for r.drain(1) {
	}
	if got, _ := r.read(0, space*2); !bytes.Equal(got, model) {
		t.Fatalf("seed %d: not the same at the end", seed)
	}
	if _, n := log.Held(ref); n != 0 {
		t.Fatalf("%d records are still in the log", n)
	}
	if r.all.Len() != 0 || !r.Freeze() {
		t.Fatalf("not at rest: %d extents", r.all.Len())
	}
}

// Reads go on against writes and drains, and see one of the values that stood there meanwhile.
func TestConcurrent(t *testing.T) {
	log := memlog.New()
	log.SetFaults(memlog.Faults{Seed: 1, AdmitWaits: 0.1, TryMisses: 0.3})
	r := newRig(t, log, Config{SealAt: 1 << 16})
	r.below.data = make([]byte, 1<<17)
	var wg sync.WaitGroup
	for k := range uint64(4) { // each owns a quarter, in which a value never goes back
		wg.Go(func() {
			for v := 1; v < 150; v++ {
				b := bytes.Repeat([]byte{byte(v)}, 4096)
				off := k<<15 | uint64(v%8)<<12
				r.write(off, b, ovs.Stability(v%3))
				if got, _ := r.read(off, 4096); !bytes.Equal(got, b) {
					t.Errorf("read %d after writing %d", got[0], v)
					return
				}
			}
		})
	}
	stop := make(chan struct{})
	var bg sync.WaitGroup
	bg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if !r.drain(1) {
					r.Seal()
				}
			}
		}
	})
	wg.Wait()
	close(stop)
	bg.Wait()
	r.Close()
	r.pool.Close()
	log.Close()
}

func TestReadWaitsForStable(t *testing.T) {
	log := memlog.New()
	r := newRig(t, log, Config{})
	r.write(0, pattern(1, 4096), ovs.FileSync)
	log.Hold()
	w := r.start(0, pattern(2, 4096), ovs.FileSync)
	d := &ovs.Read{Dst: make([]byte, 100)}
	if r.TryRead(d) {
		t.Fatal("TryRead shows what is not durable")
	}
	read := r.startRead(0, 100)
	beside, _ := r.read(1000, 0)
	if len(beside) != 0 || len(read) != 0 || len(w) != 0 {
		t.Fatal("done before the flush")
	}
	log.Flush(-1)
	if got := <-read; !bytes.Equal(got.Dst, pattern(2, 4096)[:100]) {
		t.Fatal("the read does not see what it waited for")
	}
	<-w
	log.Resume()
}

func TestUnstableShowsAtOnce(t *testing.T) {
	log := memlog.New()
	r := newRig(t, log, Config{})
	log.Hold()
	r.write(100, []byte("hello"), ovs.Unstable)
	if got, eof := r.read(100, 50); string(got) != "hello" || !eof {
		t.Fatalf("%q", got)
	}
	stable := r.start(0, bytes.Repeat([]byte("x"), 1000), ovs.FileSync)
	if r.Live().Size != 105 {
		t.Fatalf("size %d shows a stable write in flight", r.Live().Size)
	}
	done := make(chan error, 1)
	r.Commit(&ovs.Commit{Done: func(c *ovs.Commit) { done <- c.Err }})
	if len(done) != 0 {
		t.Fatal("COMMIT before the flush")
	}
	log.Resume()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	<-stable
	if r.Live().Size != 1000 {
		t.Fatalf("size %d", r.Live().Size)
	}
	log.Hold()
	if err := r.commit(); err != nil { // nothing is loose: no flush is needed
		t.Fatal(err)
	}
	log.Resume()
}

func TestSizeAcrossResize(t *testing.T) {
	log := memlog.New()
	r := newRig(t, log, Config{})
	r.write(0, pattern(1, 1000), ovs.FileSync)
	log.Hold()
	r.write(1000, pattern(2, 1000), ovs.Unstable)
	done := make(chan error, 1)
	go func() { done <- r.Resize(context.Background(), 100) }()
	for log.Unflushed() < 2 {
	}
	if s := r.Live().Size; s != 2000 {
		t.Fatalf("size %d before the resize is durable", s)
	}
	r.write(300, []byte("z"), ovs.Unstable)
	log.Resume()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s := r.Live().Size; s != 301 {
		t.Fatalf("size %d, want 301", s)
	}
	want := make([]byte, 301)
	copy(want, pattern(1, 100))
	want[300] = 'z'
	if got, _ := r.read(0, 400); !bytes.Equal(got, want) {
		t.Fatal("the shrink left something behind")
	}
}

func TestFailedFlushHalts(t *testing.T) {
	log := memlog.New()
	var halts int
	r := newRig(t, log, Config{Halted: func(error) { halts++ }})
	r.write(0, pattern(1, 4096), ovs.FileSync)
	log.Hold()
	r.write(8192, pattern(2, 4096), ovs.Unstable)
	w := r.start(4096, pattern(2, 4096), ovs.FileSync)
	read := r.startRead(4096, 10)
	log.Fail()
	if got := <-w; !ovs.Is(got.Err, ovs.KindIO) {
		t.Fatal(got.Err)
	}
	if got := <-read; !ovs.Is(got.Err, ovs.KindIO) {
		t.Fatal(got.Err)
	}
	if got := <-r.startRead(8192, 10); !ovs.Is(got.Err, ovs.KindIO) {
		t.Fatalf("unstable data that is gone is read: %v", got.Err)
	}
	if got, _ := r.read(0, 4096); !bytes.Equal(got, pattern(1, 4096)) {
		t.Fatal("what is durable must be read")
	}
	if got := <-r.start(0, []byte("x"), ovs.Unstable); !ovs.Is(got.Err, ovs.KindIO) {
		t.Fatal(got.Err)
	}
	if err := r.commit(); !ovs.Is(err, ovs.KindIO) {
		t.Fatal(err)
	}
	if halts != 1 {
		t.Fatalf("told %d times", halts)
	}
	r.Close()
}

// A read that waits for a flush is answered when the log fails, also on an object that had halted before.
func TestFailedFlushAfterHalt(t *testing.T) {
	log := memlog.New()
	r := newRig(t, log, Config{})
	r.write(0, pattern(1, 4096), ovs.FileSync)
	log.Hold()
	w := r.start(0, pattern(2, 4096), ovs.FileSync)
	r.Halt(errors.New("the backend holds something else"))
	read := r.startRead(0, 10)
	log.Fail()
	if got := <-w; !ovs.Is(got.Err, ovs.KindIO) {
		t.Fatal(got.Err)
	}
	select {
	case got := <-read:
		if !ovs.Is(got.Err, ovs.KindIO) {
			t.Fatal(got.Err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the read waits for a flush that never comes")
	}
	r.Close()
}

// denying is a log without room that says so by and by, as a real one does after its patience.
type denying struct {
	ovs.Log
	asked chan *ovs.Record
}

func (l denying) Admit(r *ovs.Record) bool {
	l.asked <- r
	return false
}

// Whoever waits behind a record that got no room for so long is told so too: he does not begin to wait anew.
func TestQueueSharesPatience(t *testing.T) {
	r := newRig(t, memlog.New(), Config{})
	log := denying{r.log, make(chan *ovs.Record, 10)}
	r.cfg.Log = log
	a, b := r.start(0, pattern(1, 10), ovs.FileSync), r.start(0, pattern(2, 10), ovs.Unstable)
	first := <-log.asked
	first.Admitted(first, ovs.E("log", ovs.KindBusy, nil, nil))
	if w := <-a; !ovs.Is(w.Err, ovs.KindBusy) {
		t.Fatal(w.Err)
	}
	if len(log.asked) > 0 {
		t.Fatal("the second write waits as long again")
	}
	if w := <-b; !ovs.Is(w.Err, ovs.KindBusy) {
		t.Fatal(w.Err)
	}
	// A record that the log refuses for what it is says nothing about the next one.
	a, b = r.start(0, pattern(1, 10), ovs.FileSync), r.start(0, pattern(2, 10), ovs.Unstable)
	first = <-log.asked
	first.Admitted(first, ovs.E("log", ovs.KindNoSpace, nil, nil))
	<-a
	second := <-log.asked
	second.Admitted(second, nil)
	if w := <-b; w.Err != nil {
		t.Fatal(w.Err)
	}
	r.Close()
}

// A full log parks writes without a goroutine, keeps their order, and room brings them on.
func TestParked(t *testing.T) {
	log := memlog.New()
	log.SetRoom(10_000)
	r := newRig(t, log, Config{})
	var all []chan *ovs.Write
	for i := range 10 {
		all = append(all, r.start(0, bytes.Repeat([]byte{byte(i + 1)}, 4000), ovs.FileSync))
	}
	for i, c := range all {
		for len(c) == 0 {
			r.Seal()
			r.drain(1)
		}
		if w := <-c; w.Err != nil || w.Rec.Number != ovs.RecordNo(i+1) {
			t.Fatalf("write %d: number %d, %v", i, w.Rec.Number, w.Err)
		}
	}
	if got, _ := r.read(0, 1); got[0] != 10 {
		t.Fatalf("the last write does not stand: %d", got[0])
	}
}

func TestCloseWithFullLog(t *testing.T) {
	log := memlog.New()
	log.SetRoom(1000)
	r := newRig(t, log, Config{})
	a, b := r.start(0, make([]byte, 4000), ovs.FileSync), r.start(0, pattern(1, 4000), ovs.FileSync)
	<-a // zeros take no room
	c := r.start(0, pattern(2, 4000), ovs.FileSync)
	r.Close()
	if w := <-c; !ovs.Is(w.Err, ovs.KindFenced) {
		t.Fatal(w.Err)
	}
	log.SetRoom(0) // the one that was asked for is appended, but its writer is not told that it succeeded
	if w := <-b; !ovs.Is(w.Err, ovs.KindFenced) {
		t.Fatal(w.Err)
	}
	if w := <-r.start(0, pattern(2, 10), ovs.FileSync); !ovs.Is(w.Err, ovs.KindFenced) {
		t.Fatal(w.Err)
	}
}

func TestRestore(t *testing.T) {
	log := memlog.New()
	r := newRig(t, log, Config{SealAt: 5000})
	r.write(0, pattern(1, 4096), ovs.FileSync)
	r.write(4000, pattern(2, 4096), ovs.FileSync)
	r.write(0, make([]byte, 512), ovs.FileSync)
	if err := r.Resize(context.Background(), 6000); err != nil {
		t.Fatal(err)
	}
	want, _ := r.read(0, 10_000)
	log.Hold()
	r.write(0, pattern(3, 100), ovs.Unstable)
	after := log.Crash(0)
	n := newRig(t, after, Config{Epoch: 2, SealAt: 5000})
	if err := after.Replay(ref, 0, n.Restore); err != nil {
		t.Fatal(err)
	}
	if got, eof := n.read(0, 10_000); !bytes.Equal(got, want) || !eof {
		t.Fatal("not the same after the crash")
	}
	if last, _ := n.Last(); last != 4 {
		t.Fatalf("last record %d", last)
	}
	if err := n.Restore(&ovs.Record{Number: 6, Kind: ovs.RecordZero}); !ovs.Is(err, ovs.KindCorrupt) {
		t.Fatalf("a gap is taken: %v", err)
	}
	if err := n.Restore(&ovs.Record{Number: 5, Kind: 99}); !ovs.Is(err, ovs.KindNotSupported) {
		t.Fatalf("an unknown record is taken: %v", err)
	}
	for n.drain(1) {
	}
	n.Seal()
	for n.drain(1) {
	}
	if got, _ := n.read(0, 10_000); !bytes.Equal(got, want) {
		t.Fatal("not the same after draining")
	}
}

func TestReadUnder(t *testing.T) {
	log := memlog.New()
	r := newRig(t, log, Config{})
	r.below.data = bytes.Repeat([]byte("a"), 100)
	r.write(10, []byte("bbbb"), ovs.FileSync)
	r.Seal()
	r.write(12, []byte("cccc"), ovs.FileSync)
	r.Seal()
	r.write(0, []byte("dddddddddddddddddd"), ovs.FileSync)
	one, two := r.Next(1), r.Next(1)
	got := make([]byte, 20)
	for s, want := range map[*Sealed]string{one: "aaaaaaaaaaaaaaaaaaaa", two: "aaaaaaaaaabbbbaaaaaa"} {
		if err := s.ReadUnder(context.Background(), got, 0); err != nil || string(got) != want {
			t.Errorf("%s, want %s (%v)", got, want, err)
		}
	}
}

func TestWaiting(t *testing.T) {
	r := newRig(t, memlog.New(), Config{})
	for i := range 3 {
		r.write(uint64(i), []byte("x"), ovs.FileSync)
		if got := r.Waiting(); got != i {
			t.Fatalf("%d intervals wait, want %d: one is not cut", got, i)
		}
		r.Seal()
	}
	s := r.Next(2)
	if got := r.Waiting(); got != 1 {
		t.Fatalf("%d intervals wait after two were given out", got)
	}
	r.below.take(t, s)
	r.Drop(s)
	if got := r.Waiting(); got != 1 {
		t.Fatalf("%d intervals wait after two were dropped", got)
	}
}

// slipLog does something just before a read of the log.
type slipLog struct {
	ovs.Log
	before func()
}

func (l *slipLog) TryReadAt(ovs.LogPos, []byte) bool { return false }

func (l *slipLog) ReadAt(p ovs.LogPos, dst []byte) error {
	if f := l.before; f != nil {
		l.before = nil
		f()
	}
	return l.Log.ReadAt(p, dst)
}

// What a read has found is dropped, and its segment gone, before it gets there: it looks again.
func TestReadLooksAgain(t *testing.T) {
	log := memlog.New()
	r := newRig(t, log, Config{})
	slip := &slipLog{Log: log}
	r.cfg.Log = slip
	want := pattern(1, 300_000)
	r.write(0, want, ovs.FileSync)
	slip.before = func() {
		r.Seal()
		r.drain(1)
		r.write(400_000, pattern(2, 300_000), ovs.FileSync) // the log goes on to another segment
	}
	if got, _ := r.read(0, len(want)); !bytes.Equal(got, want) {
		t.Fatal("not the same")
	}
	if slip.before != nil {
		t.Fatal("nothing slipped in")
	}
	r.Close()
}

func TestFreezeNeedsRest(t *testing.T) {
	log := memlog.New()
	r := newRig(t, log, Config{})
	r.write(0, pattern(1, 10), ovs.FileSync)
	if r.Freeze() {
		t.Fatal("frozen with a record in the log")
	}
	r.Seal()
	r.drain(1)
	log.SetRoom(1)
	w := r.start(0, pattern(2, 10), ovs.FileSync)
	if r.Freeze() {
		t.Fatal("frozen with a write that waits for room")
	}
	log.SetRoom(0)
	<-w
	r.Seal()
	r.drain(1)
	if !r.Freeze() {
		t.Fatal("not at rest")
	}
	if w := <-r.start(0, pattern(2, 10), ovs.FileSync); !ovs.Is(w.Err, ovs.KindFenced) {
		t.Fatal(w.Err)
	}
	r.Close()
}
