/*
Package logtest is the conformance suite of ovs.Log: every implementation passes it unchanged.

	Run(t, Maker{...})     each subtest asks for an empty log of its own, of at least 4 MiB for records up to 64 KiB
*/
package logtest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"ovs"
)

// Maker makes the logs to be tested.
type Maker struct {
	// Open gives an empty log and cleans up after itself (t.Cleanup).
	Open func(t *testing.T) ovs.Log
	// Reopen ends a log as a process ends that is killed, and gives the one of the next start.
	Reopen func(t *testing.T, l ovs.Log) ovs.Log
	// Bytes is how large the logs are.
	Bytes int64
}

// Run runs the suite.
func Run(t *testing.T, m Maker) {
	for _, c := range []struct {
		name string
		f    func(t *testing.T, m Maker)
	}{
		{"AppendRead", testAppendRead},
		{"Copies", testCopies},
		{"Order", testOrder},
		{"NoDone", testNoDone},
		{"Sync", testSync},
		{"CallerMayLock", testCallerMayLock},
		{"Release", testRelease},
		{"Stale", testStale},
		{"Replay", testReplay},
		{"Epochs", testEpochs},
		{"Reopen", testReopen},
		{"Kinds", testKinds},
		{"Room", testRoom},
		{"Urgent", testUrgent},
		{"Races", testRaces},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(t, m) })
	}
}

// deadline is how long a test waits for a callback.
const deadline = 20 * time.Second

// Ref is an object for tests.
func Ref(n int) ovs.Ref { return ovs.Ref{Pool: 7, Object: ovs.ObjectID(n)} }

// Data is what the record of that number of an object holds: n bytes that no other record has.
func Data(r ovs.Ref, number ovs.RecordNo, n int) []byte {
	rng := rand.New(rand.NewPCG(uint64(r.Object), uint64(number)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	copy(b, fmt.Sprintf("%v#%d;", r, number))
	return b
}

// Record makes a write record whose Done sends its error to the channel.
func Record(r ovs.Ref, number ovs.RecordNo, n int) (*ovs.Record, chan error) {
	done := make(chan error, 1)
	rec := &ovs.Record{
		Ref: r, Epoch: 1, Number: number, Kind: ovs.RecordWrite, Time: int64(number), Off: uint64(number) << 20,
		Len: uint64(n), Data: Data(r, number, n),
		Done: func(_ *ovs.Record, err error) { done <- err },
	}
	return rec, done
}

// Admit waits until there is room for r.
func Admit(t *testing.T, l ovs.Log, r *ovs.Record) {
	t.Helper()
	ch := make(chan error, 1)
	r.Admitted = func(_ *ovs.Record, err error) { ch <- err }
	if l.Admit(r) {
		return
	}
	ok(t, wait(t, ch))
}

func wait(t *testing.T, ch chan error) error {
	t.Helper()
	select {
	case err := <-ch:
		return err
	case <-time.After(deadline):
		t.Fatal("no callback came")
		return nil
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Write appends a record and waits until it is flushed.
func Write(t *testing.T, l ovs.Log, r ovs.Ref, number ovs.RecordNo, n int) ovs.LogPos {
	t.Helper()
	rec, done := Record(r, number, n)
	Admit(t, l, rec)
	l.Append(rec)
	ok(t, wait(t, done))
	return rec.Pos
}

func check(t *testing.T, l ovs.Log, r ovs.Ref, number ovs.RecordNo, n int, p ovs.LogPos) {
	t.Helper()
	got := make([]byte, n)
	ok(t, l.ReadAt(p, got))
	if !bytes.Equal(got, Data(r, number, n)) {
		t.Fatalf("%v record %d reads wrong", r, number)
	}
}

func testAppendRead(t *testing.T, m Maker) {
	l := m.Open(t)
	for i, n := range []int{0, 1, 511, 512, 4096, 4097, 65536} {
		r, number := Ref(1), ovs.RecordNo(i+1)
		p := Write(t, l, r, number, n)
		check(t, l, r, number, n, p)
		if n > 100 { // a part of it
			got := make([]byte, 50)
			ok(t, l.ReadAt(p+33, got))
			if !bytes.Equal(got, Data(r, number, n)[33:83]) {
				t.Fatal("a part reads wrong")
			}
			if l.TryReadAt(p+33, got) && !bytes.Equal(got, Data(r, number, n)[33:83]) {
				t.Fatal("a part reads wrong from memory")
			}
		}
	}
}

// Data belongs to the caller again when Append returns, and can be read before it is flushed.
func testCopies(t *testing.T, m Maker) {
	l := m.Open(t)
	rec, done := Record(Ref(1), 1, 4096)
	Admit(t, l, rec)
	l.Append(rec)
	clear(rec.Data)
	check(t, l, Ref(1), 1, 4096, rec.Pos)
	ok(t, wait(t, done))
	check(t, l, Ref(1), 1, 4096, rec.Pos)
}

// Callbacks of one object come in the order of its numbers, once each.
func testOrder(t *testing.T, m Maker) {
	l := m.Open(t)
	const objects, each = 3, 200
	var mu sync.Mutex
	last := map[ovs.Ref]ovs.RecordNo{}
	var all sync.WaitGroup
	for number := ovs.RecordNo(1); number <= each; number++ {
		for o := range objects {
			rec, _ := Record(Ref(o+1), number, 600)
			Admit(t, l, rec)
			all.Add(1)
			rec.Done = func(r *ovs.Record, err error) {
				defer all.Done()
				mu.Lock()
				defer mu.Unlock()
				if err != nil || r.Number != last[r.Ref]+1 {
					t.Errorf("%v: record %d is done (%v) after %d", r.Ref, r.Number, err, last[r.Ref])
				}
				last[r.Ref] = r.Number
			}
			l.Append(rec)
		}
	}
	all.Wait()
}

// A record without Done is the caller's again at once, and is flushed by and by.
func testNoDone(t *testing.T, m Maker) {
	l := m.Open(t)
	rec := &ovs.Record{}
	for number := ovs.RecordNo(1); number <= 20; number++ {
		*rec = ovs.Record{Ref: Ref(1), Epoch: 1, Number: number, Kind: ovs.RecordWrite, Len: 100, Data: Data(Ref(1), number, 100)}
		Admit(t, l, rec)
		l.Append(rec)
	}
	*rec = ovs.Record{}
	syncLog(t, l)
	l = m.Reopen(t, l)
	if got := replay(t, l, Ref(1), 0); len(got) != 20 {
		t.Fatalf("%d records after a restart, want 20", len(got))
	}
}

func syncLog(t *testing.T, l ovs.Log) {
	t.Helper()
	ch := make(chan error, 1)
	l.Sync(&ovs.LogSync{Done: func(_ *ovs.LogSync, err error) { ch <- err }})
	ok(t, wait(t, ch))
}

// Sync comes after all that was appended before it; on an idle log it comes too.
func testSync(t *testing.T, m Maker) {
	l := m.Open(t)
	syncLog(t, l)
	for number := ovs.RecordNo(1); number <= 5; number++ {
		rec, _ := Record(Ref(1), number, 3000)
		rec.Done = nil
		Admit(t, l, rec)
		l.Append(rec)
		syncLog(t, l)
	}
	syncLog(t, l)
}

// The caller may hold a lock over Admit, Append, Sync and Release that its callbacks take, and callbacks may append.
func testCallerMayLock(t *testing.T, m Maker) {
	l := m.Open(t)
	var mu sync.Mutex
	end := make(chan error, 1)
	var next func(number ovs.RecordNo)
	next = func(number ovs.RecordNo) { // mu is held
		rec, _ := Record(Ref(1), number, 100)
		rec.Admitted = func(r *ovs.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			l.Append(r)
		}
		rec.Done = func(r *ovs.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil || r.Number == 50 {
				end <- err
				return
			}
			l.Release(r.Ref, r.Number-1)
			next(r.Number + 1)
		}
		if l.Admit(rec) {
			l.Append(rec)
		}
	}
	mu.Lock()
	next(1)
	s := &ovs.LogSync{Done: func(*ovs.LogSync, error) {
		mu.Lock()
		defer mu.Unlock()
	}}
	l.Sync(s)
	mu.Unlock()
	ok(t, wait(t, end))
}

func testRelease(t *testing.T, m Maker) {
	l := m.Open(t)
	for number := ovs.RecordNo(1); number <= 10; number++ {
		Write(t, l, Ref(1), number, 1000)
		Write(t, l, Ref(2), number, 1000)
	}
	l.Release(Ref(1), 4)
	l.Release(Ref(9), 4) // nobody knows it
	if tails := l.Tails(); len(tails) != 2 || tails[0].First != 5 || tails[0].Last != 10 || tails[1].First != 1 {
		t.Fatalf("tails %+v", tails)
	}
	l.Release(Ref(1), ^ovs.RecordNo(0))
	if tails := l.Tails(); len(tails) != 1 || tails[0].Ref != Ref(2) {
		t.Fatalf("tails %+v after the object is gone", tails)
	}
	Write(t, l, Ref(1), 11, 1000)
	if tails := l.Tails(); len(tails) != 2 || tails[0].First != 11 || tails[0].Last != 11 || tails[0].Epoch != 1 {
		t.Fatalf("tails %+v after it came back", tails)
	}
}

// Positions of what was released become stale when the segment is used again, and never read as something else.
func testStale(t *testing.T, m Maker) {
	l := m.Open(t)
	const n = 32 << 10
	kept := Write(t, l, Ref(2), 1, n)
	var places []ovs.LogPos
	stale := 0
	for number := ovs.RecordNo(1); int64(number)*n < 4*m.Bytes; number++ {
		places = append(places, Write(t, l, Ref(1), number, n))
		l.Release(Ref(1), number)
		if number%16 != 0 {
			continue
		}
		stale = 0
		for i, p := range places {
			got := make([]byte, n)
			switch err := l.ReadAt(p, got); {
			case ovs.Is(err, ovs.KindStale):
				stale++
			case err != nil:
				t.Fatal(err)
			case !bytes.Equal(got, Data(Ref(1), ovs.RecordNo(i+1), n)):
				t.Fatalf("record %d reads as another", i+1)
			}
		}
		check(t, l, Ref(2), 1, n, kept)
	}
	if stale < len(places)/2 {
		t.Fatalf("%d of %d positions are stale after the log was written through four times", stale, len(places))
	}
}

// replay lists what Replay gives.
func replay(t *testing.T, l ovs.Log, r ovs.Ref, after ovs.RecordNo) []ovs.Record {
	t.Helper()
	var got []ovs.Record
	ok(t, l.Replay(r, after, func(rec *ovs.Record) error {
		got = append(got, *rec)
		return nil
	}))
	return got
}

func testReplay(t *testing.T, m Maker) {
	l := m.Open(t)
	const n = 20 << 10
	for number := ovs.RecordNo(1); number <= 60; number++ {
		Write(t, l, Ref(1), number, n)
		Write(t, l, Ref(2), number, 10)
	}
	got := replay(t, l, Ref(1), 25)
	if len(got) != 35 {
		t.Fatalf("%d records after 25, want 35", len(got))
	}
	for i := range got {
		number := ovs.RecordNo(26 + i)
		want, _ := Record(Ref(1), number, n)
		if g := got[i]; g.Number != number || g.Ref != Ref(1) || g.Kind != want.Kind || g.Off != want.Off || g.Len != want.Len || g.Time != want.Time || g.Data != nil {
			t.Fatalf("record %+v, want %d", g, number)
		}
		check(t, l, Ref(1), number, n, got[i].Pos)
	}
	if got := replay(t, l, Ref(3), 0); len(got) != 0 {
		t.Fatal("records of an object that has none")
	}
	stop := errors.New("enough")
	calls := 0
	err := l.Replay(Ref(1), 0, func(*ovs.Record) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Fatalf("Replay went on (%d calls) or lost the error: %v", calls, err)
	}
}

// Numbers may come back under a later epoch: both are there, the tail is the later one's.
func testEpochs(t *testing.T, m Maker) {
	l := m.Open(t)
	for number := ovs.RecordNo(1); number <= 10; number++ {
		Write(t, l, Ref(1), number, 100)
	}
	for number := ovs.RecordNo(8); number <= 9; number++ {
		rec, done := Record(Ref(1), number, 100)
		rec.Epoch = 2
		Admit(t, l, rec)
		l.Append(rec)
		ok(t, wait(t, done))
	}
	for range 2 {
		var s string
		for _, r := range replay(t, l, Ref(1), 6) {
			s += fmt.Sprintf("%d.%d ", r.Number, r.Epoch)
		}
		if s != "7.1 8.1 8.2 9.1 9.2 10.1 " {
			t.Fatalf("replayed %s", s)
		}
		if tails := l.Tails(); len(tails) != 1 || tails[0].First != 1 || tails[0].Last != 9 || tails[0].Epoch != 2 {
			t.Fatalf("tails %+v", tails)
		}
		l = m.Reopen(t, l)
	}
}

// What was Done is there after a restart, and the log goes on.
func testReopen(t *testing.T, m Maker) {
	l := m.Open(t)
	const n = 5000
	var number ovs.RecordNo
	for range 4 {
		for range 20 {
			number++
			Write(t, l, Ref(1), number, n)
		}
		l = m.Reopen(t, l)
		if tails := l.Tails(); len(tails) != 1 || tails[0].First != 1 || tails[0].Last != number || tails[0].Time != int64(number) {
			t.Fatalf("tails %+v, want 1 to %d", tails, number)
		}
		got := replay(t, l, Ref(1), 0)
		if len(got) != int(number) {
			t.Fatalf("%d records, want %d", len(got), number)
		}
		for _, r := range got {
			check(t, l, Ref(1), r.Number, n, r.Pos)
		}
	}
}

// Kinds are kept whatever they are, and so is every field.
func testKinds(t *testing.T, m Maker) {
	l := m.Open(t)
	var want []ovs.Record
	for i, k := range []ovs.RecordKind{ovs.RecordZero, ovs.RecordDiscard, ovs.RecordResize, ovs.RecordMark, 99, 255} {
		rec, done := Record(Ref(1), ovs.RecordNo(i+1), 0)
		rec.Kind, rec.Data, rec.Len, rec.Off, rec.Time = k, nil, 1<<44, 1<<45, -5
		rec.Origin = ovs.Origin{Router: 1 << 60, Sequence: 1 << 61, Lowest: 1 << 62}
		if k == 99 {
			rec.Data = []byte("something of a later version")
		}
		w := *rec
		w.Done, w.Data = nil, nil
		want = append(want, w)
		Admit(t, l, rec)
		l.Append(rec)
		ok(t, wait(t, done))
	}
	for range 2 {
		got := replay(t, l, Ref(1), 0)
		if len(got) != len(want) {
			t.Fatalf("%d records, want %d", len(got), len(want))
		}
		for i, g := range got {
			w := want[i]
			if g.Kind != w.Kind || g.Len != w.Len || g.Off != w.Off || g.Time != w.Time || g.Origin != w.Origin || g.Epoch != w.Epoch {
				t.Fatalf("record %+v, want %+v", g, w)
			}
		}
		l = m.Reopen(t, l)
	}
}
