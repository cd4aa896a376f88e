package dtl

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ovs"
	"ovs/internal/conformance/logtest"
	"ovs/internal/vfs"
)

// client writes records of 4 KiB of one object, one after the other, and tells how long each had to wait for room.
type client struct {
	l        *Log
	ref      ovs.Ref
	number   ovs.RecordNo
	longest  time.Duration
	admitted chan error
	done     chan error
	flushed  atomic.Uint64 // the last record
}

func newClient(l *Log, object int) *client {
	return &client{l: l, ref: logtest.Ref(object), admitted: make(chan error, 1), done: make(chan error, 1)}
}

func (c *client) write() error {
	c.number++
	r := &ovs.Record{
		Ref: c.ref, Epoch: 1, Number: c.number, Kind: ovs.RecordWrite, Len: 4096, Data: make([]byte, 4096),
		Admitted: func(_ *ovs.Record, err error) { c.admitted <- err },
		Done: func(r *ovs.Record, err error) {
			c.flushed.Store(uint64(r.Number))
			c.done <- err
		},
	}
	start := time.Now()
	if !c.l.Admit(r) {
		if err := <-c.admitted; err != nil {
			c.number--
			return err
		}
	}
	c.longest = max(c.longest, time.Since(start))
	c.l.Append(r)
	return <-c.done
}

func roomLog(t *testing.T, relieve func(ovs.Ref)) *Log { return fullLog(t, relieve, nil) }

func fullLog(t *testing.T, relieve func(ovs.Ref), full func() bool) *Log {
	l, err := Open(Config{
		FS: vfs.NewCrash(1), Dir: "log", Size: 4 << 20, SegmentSize: 128 << 10, Memory: 1 << 20, Relieve: relieve, Full: full,
		Rand: strings.NewReader("identity"), Shares: map[ovs.PoolID]float64{8: 0.25},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Who takes more than his share is slowed down, more and more; who does not never waits. Nobody falls off a cliff.
func TestFairness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := roomLog(t, nil)
		defer l.Close()
		hog, light := newClient(l, 1), newClient(l, 2)
		stop := make(chan struct{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := hog.write(); err != nil {
					t.Error(err)
					return
				}
			}
		}()
		go func() { // the backend takes 250 records a second, the hog could write any number
			for n := ovs.RecordNo(1); ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(4 * time.Millisecond):
					l.Release(hog.ref, min(n, ovs.RecordNo(hog.flushed.Load())))
				}
			}
		}()
		for range 200 {
			time.Sleep(10 * time.Millisecond)
			if err := light.write(); err != nil {
				t.Error(err)
				break
			}
			l.Release(light.ref, light.number-1)
		}
		close(stop)
		<-ended
		if light.longest > 0 {
			t.Errorf("who takes little waited %v", light.longest)
		}
		if hog.longest > 50*time.Millisecond {
			t.Errorf("the hog waited up to %v in %d writes", hog.longest, hog.number)
		}
	})
}

// The fuller, the slower: delay grows without a jump until the log is full.
func TestSmoothDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := roomLog(t, nil)
		defer l.Close()
		c := newClient(l, 1)
		waits := map[int]time.Duration{} // by tenths of the log
		count := map[int]time.Duration{}
		for {
			s := l.Stats()
			tenth := int(10 * s.Used / s.Size)
			start := time.Now()
			if err := c.write(); err != nil {
				if !ovs.Is(err, ovs.KindBusy) || tenth < 9 {
					t.Fatalf("%v when %d tenths were full", err, tenth)
				}
				if d := time.Since(start); d < patience || d > patience+time.Second {
					t.Fatalf("patience of %v", d)
				}
				break
			}
			waits[tenth] += time.Since(start)
			count[tenth]++
		}
		for i := range 10 {
			if count[i] > 0 {
				waits[i] /= count[i]
			}
		}
		for i := range 5 {
			if waits[i] > 0 {
				t.Errorf("a delay of %v at %d tenths", waits[i], i)
			}
		}
		for i := 7; i < 9; i++ {
			if waits[i] <= waits[i-1] || waits[i] > 100*time.Millisecond {
				t.Errorf("a delay of %v at %d tenths, %v before", waits[i], i, waits[i-1])
			}
		}
	})
}

// A vPool cannot fill more than its share; others go on.
func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := roomLog(t, nil)
		defer l.Close()
		small, other := newClient(l, 1), newClient(l, 2)
		small.ref.Pool = 8
		for small.write() == nil {
		}
		l.mu.Lock()
		held := float64(l.pools[8].used) / float64(l.total)
		l.mu.Unlock()
		if held < 0.2 || held > 0.25 {
			t.Fatalf("the vPool holds %.2f of the log", held)
		}
		for range 50 {
			if err := other.write(); err != nil {
				t.Fatal(err)
			}
		}
		if other.longest > 0 {
			t.Fatalf("the other vPool waited %v", other.longest)
		}
	})
}

// Short of room, the log asks the owners of what stands in the oldest segment, and the biggest holders; each of them once a
// second at most. Once they let go it goes on, however slow the object in the oldest segment is by itself.
func TestRelieve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan ovs.Ref, 1000)
		count := map[ovs.Ref]int{}
		l := roomLog(t, func(r ovs.Ref) { asked <- r })
		defer l.Close()
		slow, busy := newClient(l, 1), newClient(l, 2)
		if err := slow.write(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		ended := make(chan struct{})
		go func() { // the owners take 10 ms to bring what is there to the backend
			defer close(ended)
			for r := range asked {
				count[r]++
				to := ovs.RecordNo(busy.flushed.Load())
				time.Sleep(10 * time.Millisecond)
				l.Release(r, to)
			}
		}()
		for range 5000 {
			if err := busy.write(); err != nil {
				t.Fatal(err)
			}
		}
		close(asked)
		<-ended
		if count[slow.ref] != 1 || count[busy.ref] == 0 {
			t.Fatalf("asked %v", count)
		}
		if n := count[busy.ref]; n > int(time.Since(start)/time.Second)+1 {
			t.Fatalf("asked %d times in %v", n, time.Since(start))
		}
		if busy.longest > 2*time.Second {
			t.Fatalf("waited %v", busy.longest)
		}
	})
}

// Who lets go of nothing, however often he is asked, does not hide the slow objects behind him: the log goes on without what
// he holds. So does a segment that is kept as evidence of damage.
func TestRelieveDeaf(t *testing.T) {
	for _, evidence := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { testRelieveDeaf(t, evidence) })
	}
}

func testRelieveDeaf(t *testing.T, evidence bool) {
	const many, first = 1500, 10
	asked := make(chan ovs.Ref, 10*many)
	l := roomLog(t, func(r ovs.Ref) { asked <- r })
	defer l.Close()
	deaf, busy := newClient(l, 1), newClient(l, 2)
	if err := deaf.write(); err != nil {
		t.Fatal(err)
	}
	if evidence {
		l.mu.Lock()
		l.open.holders++
		l.mu.Unlock()
		l.Release(deaf.ref, 1)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for r := range asked {
			if r != deaf.ref {
				l.Release(r, ^ovs.RecordNo(0))
			}
		}
	}()
	slow := 0
	for i := range 3000 { // some three times the log
		if err := busy.write(); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		for range 3 { // and 50 slow ones in each segment
			r, _ := logtest.Record(logtest.Ref(first+slow%many), ovs.RecordNo(1+slow/many), 100)
			r.Done = nil
			logtest.Admit(t, l, r)
			l.Append(r)
			slow++
		}
	}
	if busy.longest > 5*time.Second {
		t.Errorf("waited %v", busy.longest)
	}
	close(asked)
	<-ended
}

// Where the log cannot grow, shares and the last 5 % are reckoned of what is there: nobody takes what is kept for urgent records.
func TestReserveWithoutGrowth(t *testing.T) {
	for _, backendFull := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			disk := vfs.NewFault(vfs.NewCrash(1), rand.New(rand.NewPCG(1, 1)), nil)
			disk.Add(vfs.Rule{Op: vfs.OpWrite, Path: "segment-*.new", Skip: 2 * 2, Err: syscall.ENOSPC})
			l, err := Open(Config{
				FS: disk, Dir: "log", Size: 4 << 20, SegmentSize: 128 << 10, Memory: 1 << 20, Rand: strings.NewReader("identity"),
				Full: func() bool { return backendFull },
			})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			hog := newClient(l, 1)
			if err := hog.write(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // the preparer finds out that there is no space
			for hog.write() == nil {
			}
			if s := l.Stats(); backendFull && s.Used > s.Size*8/10 {
				t.Errorf("a full backend leaves %d of %d bytes", s.Size-s.Used, s.Size)
			}
			urgent, done := logtest.Record(logtest.Ref(2), 1, 1000)
			urgent.Urgent = true
			start := time.Now()
			logtest.Admit(t, l, urgent)
			if d := time.Since(start); d > 0 {
				t.Errorf("an urgent record waited %v", d)
			}
			l.Append(urgent)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			l.Release(hog.ref, hog.number)
			if !backendFull {
				logtest.Write(t, l, logtest.Ref(3), 1, l.MaxRecord())
			}
		})
	}
}

// When the backend takes nothing, writes are refused at half a log, at once; what carries no data goes on until only the room
// for urgent records is left, and is refused then, at once too.
func TestBackendFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		l := fullLog(t, nil, full.Load)
		defer l.Close()
		c := newClient(l, 1)
		full.Store(true)
		start := time.Now()
		for {
			if err := c.write(); ovs.Is(err, ovs.KindNoSpace) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if s := l.Stats(); time.Since(start) > 0 || s.Used < s.Size*4/10 || s.Used > s.Size*6/10 {
			t.Fatalf("refused after %v, with %d of %d bytes used", time.Since(start), s.Used, s.Size)
		}
		urgent, _ := logtest.Record(logtest.Ref(2), 1, 4096)
		urgent.Urgent = true
		discard, _ := logtest.Record(logtest.Ref(3), 1, 0)
		for _, r := range []*ovs.Record{urgent, discard} {
			logtest.Admit(t, l, r)
			l.Append(r)
		}
		var err error
		for n := ovs.RecordNo(2); err == nil; n++ {
			start = time.Now()
			discard, _ := logtest.Record(logtest.Ref(3), n, 0)
			denied := make(chan error, 1)
			discard.Admitted = func(_ *ovs.Record, err error) { denied <- err }
			if !l.Admit(discard) {
				if err = <-denied; err != nil {
					break
				}
			}
			l.Append(discard)
		}
		if s := l.Stats(); !ovs.Is(err, ovs.KindNoSpace) || s.Used < s.Size*9/10 || time.Since(start) > longest {
			t.Fatalf("a discard: %v after %v, with %d of %d bytes used", err, time.Since(start), s.Used, s.Size)
		}
		urgent, _ = logtest.Record(logtest.Ref(2), 2, 4096)
		urgent.Urgent = true
		logtest.Admit(t, l, urgent)
		l.Append(urgent)
		l.Release(logtest.Ref(3), 1<<40)
		full.Store(false)
		if err := c.write(); err != nil {
			t.Fatal(err)
		}
	})
}

// Without anybody who waits a record is flushed within 50 ms, with somebody at once.
func TestLazyFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := roomLog(t, nil)
		defer l.Close()
		r, _ := logtest.Record(logtest.Ref(1), 1, 100)
		r.Done = nil
		logtest.Admit(t, l, r)
		l.Append(r)
		time.Sleep(lazily - time.Millisecond)
		synctest.Wait()
		if n := l.Stats().Records; n != 0 {
			t.Fatal("flushed though nobody waits")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if n := l.Stats().Records; n != 1 {
			t.Fatal("not flushed after 50 ms")
		}
		c := newClient(l, 2)
		start := time.Now()
		if err := c.write(); err != nil || time.Since(start) > 0 {
			t.Fatalf("a record that is waited for took %v (%v)", time.Since(start), err)
		}
	})
}

// What is waited for when the log is closed or fails is answered.
func TestWaitersAtClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := roomLog(t, nil)
		c := newClient(l, 1)
		ended := make(chan error)
		go func() {
			for {
				if err := c.write(); err != nil {
					ended <- err
					return
				}
			}
		}()
		time.Sleep(20 * time.Second)
		if n := l.Stats().Waiting; n != 1 {
			t.Fatalf("%d objects wait", n)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !ovs.Is(err, ovs.KindClosed) {
			t.Fatal(err)
		}
	})
}

// TestKeepFree: the log grows only as far as the disk can spare, and further once it can; what it has serves meanwhile.
func TestKeepFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, keep = 128 << 10, 10 << 20
		disk := vfs.NewCrash(1)
		disk.SetCapacity(keep + 4*size)
		l, err := Open(Config{FS: disk, Dir: "log", Size: 4 << 20, SegmentSize: size, Memory: 1 << 20, KeepFree: keep, Rand: strings.NewReader("identity")})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c := newClient(l, 1)
		for range 20 {
			if err := c.write(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * again) // of the bubble's clock
		if _, free, err := disk.Space("log"); err != nil || free < keep {
			t.Errorf("%d KiB are left free, not %d (%v)", free>>10, keep>>10, err)
		}
		disk.SetCapacity(1 << 30)
		for range 200 { // more than was there
			if err := c.write(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
