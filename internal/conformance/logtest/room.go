package logtest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ovs"
)

// A log that nobody releases fills up and admits no more; what is released is admitted to others, in their order.
func testRoom(t *testing.T, m Maker) {
	l := m.Open(t)
	const n = 32 << 10
	var number ovs.RecordNo
	var mu sync.Mutex
	var order []ovs.RecordNo
	admitted := make(chan *ovs.Record, 10000)
	ask := func() bool {
		number++
		rec, _ := Record(Ref(1), number, n)
		rec.Done = nil
		rec.Admitted = func(r *ovs.Record, err error) {
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			order = append(order, r.Number)
			mu.Unlock()
			admitted <- r
		}
		if l.Admit(rec) {
			l.Append(rec)
			return true
		}
		return false
	}
	// Until one has to wait, and no other comes within a while: then the log is full, not only slow.
	full := false
	for !full {
		if int64(number)*n > 2*m.Bytes {
			t.Fatal("a log of that size admits more than twice as much")
		}
		for ask() {
		}
		select {
		case r := <-admitted:
			l.Append(r)
		case <-time.After(time.Second):
			full = true
		}
	}
	if int64(number)*n < m.Bytes/4 {
		t.Fatalf("full after %d bytes of %d", int64(number)*n, m.Bytes)
	}
	for range 5 {
		if ask() {
			t.Fatal("admitted past another that waits")
		}
	}
	syncLog(t, l)
	l.Release(Ref(1), number-6)
	for range 6 {
		select {
		case r := <-admitted:
			l.Append(r)
		case <-time.After(deadline):
			t.Fatal("no admission after a release")
		}
	}
	syncLog(t, l)
	mu.Lock()
	defer mu.Unlock()
	for i := 1; i < len(order); i++ {
		if order[i] <= order[i-1] {
			t.Fatalf("admitted in the order %v", order)
		}
	}
}

// When the log is full for all others, an urgent record still goes.
func testUrgent(t *testing.T, m Maker) {
	l := m.Open(t)
	const n = 16 << 10
	var number ovs.RecordNo
	admitted := make(chan *ovs.Record, 1)
	var denied atomic.Bool
	for full := false; !full; {
		number++
		rec, _ := Record(Ref(1), number, n)
		rec.Done = nil
		rec.Admitted = func(r *ovs.Record, err error) {
			if err != nil {
				denied.Store(true)
			}
			admitted <- r
		}
		if l.Admit(rec) {
			l.Append(rec)
			continue
		}
		select {
		case r := <-admitted:
			l.Append(r)
		case <-time.After(time.Second):
			full = true
		}
	}
	for i := ovs.RecordNo(1); i <= 3; i++ {
		rec, done := Record(Ref(2), i, 4096)
		rec.Urgent = true
		start := time.Now()
		Admit(t, l, rec)
		l.Append(rec)
		ok(t, wait(t, done))
		if d := time.Since(start); d > deadline/4 {
			t.Fatalf("an urgent record took %v", d)
		}
	}
	l.Release(Ref(1), number)
	l.Append(<-admitted)
	if denied.Load() {
		t.Fatal("denied, though room came")
	}
	syncLog(t, l)
}

// Appends, reads, releases and syncs of many objects at once.
func testRaces(t *testing.T, m Maker) {
	l := m.Open(t)
	var all sync.WaitGroup
	for o := range 6 {
		all.Add(1)
		go func() {
			defer all.Done()
			r := Ref(o + 1)
			for number := ovs.RecordNo(1); number <= 120 && !t.Failed(); number++ {
				n := 100 + int(number)*97%9000
				rec, done := Record(r, number, n)
				ch := make(chan error, 1)
				rec.Admitted = func(_ *ovs.Record, err error) { ch <- err }
				if !l.Admit(rec) {
					if err := <-ch; err != nil {
						t.Error(err)
						return
					}
				}
				l.Append(rec)
				got := make([]byte, n)
				if err := l.ReadAt(rec.Pos, got); err != nil || string(got) != string(Data(r, number, n)) {
					t.Errorf("record %d of %v reads wrong (%v)", number, r, err)
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
				if number%7 == 0 {
					l.Release(r, number-3)
				}
			}
		}()
	}
	all.Wait()
	syncLog(t, l)
}
