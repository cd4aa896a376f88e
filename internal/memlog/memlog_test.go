package memlog

import (
	"testing"
	"time"

	"ovs"
	"ovs/internal/conformance/logtest"
)

const room = 4 << 20

func maker(f Faults) logtest.Maker {
	return logtest.Maker{
		Bytes: room,
		Open: func(t *testing.T) ovs.Log {
			l := New()
			l.SetRoom(room)
			l.SetFaults(f)
			t.Cleanup(func() { _ = l.Close() })
			return l
		},
		Reopen: func(t *testing.T, old ovs.Log) ovs.Log {
			l := old.(*Log).Crash(0)
			t.Cleanup(func() { _ = l.Close() })
			return l
		},
	}
}

func TestConformance(t *testing.T) { logtest.Run(t, maker(Faults{})) }

// Mishaps that a caller has to live with change nothing that the contract promises.
func TestConformanceWithFaults(t *testing.T) {
	t.Parallel()
	logtest.Run(t, maker(Faults{Seed: 5, AdmitWaits: 0.3, TryMisses: 0.5, Latency: 50 * time.Microsecond}))
}

func write(t *testing.T, l *Log, number ovs.RecordNo) (*ovs.Record, chan error) {
	t.Helper()
	r, done := logtest.Record(logtest.Ref(1), number, 1000)
	logtest.Admit(t, l, r)
	l.Append(r)
	return r, done
}

func none(t *testing.T, done chan error) {
	t.Helper()
	select {
	case err := <-done:
		t.Fatalf("Done (%v) before the flush", err)
	default:
	}
}

func TestHold(t *testing.T) {
	l := New()
	defer l.Close()
	l.Hold()
	_, one := write(t, l, 1)
	_, two := write(t, l, 2)
	l.Flush(1)
	if err := <-one; err != nil {
		t.Fatal(err)
	}
	none(t, two)
	if n := l.Unflushed(); n != 1 {
		t.Fatalf("%d records not flushed", n)
	}
	l.Resume()
	if err := <-two; err != nil {
		t.Fatal(err)
	}
}

func TestFail(t *testing.T) {
	l := New()
	defer l.Close()
	r, done := write(t, l, 1)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	l.Hold()
	_, two := write(t, l, 2)
	l.Fail()
	_, three := write(t, l, 3)
	for _, ch := range []chan error{two, three} {
		if err := <-ch; !ovs.Is(err, ovs.KindIO) {
			t.Fatalf("Done with %v", err)
		}
	}
	if err := l.ReadAt(r.Pos, make([]byte, 1000)); err != nil || !ovs.Is(l.Failed(), ovs.KindIO) {
		t.Fatalf("a flushed record reads with %v after %v", err, l.Failed())
	}
}

// A crash keeps what was flushed and as much of the rest as the test says; released records come back with their segment.
func TestCrash(t *testing.T) {
	for keep, want := range map[int]ovs.RecordNo{0: 3, 1: 4, -1: 6} {
		l := New()
		for number := ovs.RecordNo(1); number <= 3; number++ {
			_, done := write(t, l, number)
			<-done
		}
		l.Release(logtest.Ref(1), 2)
		l.Hold()
		var late []chan error
		for number := ovs.RecordNo(4); number <= 6; number++ {
			_, done := write(t, l, number)
			late = append(late, done)
		}
		n := l.Crash(keep)
		defer n.Close()
		if tails := n.Tails(); len(tails) != 1 || tails[0].First != 1 || tails[0].Last != want {
			t.Fatalf("tails %+v, want up to %d", tails, want)
		}
		for _, ch := range late {
			none(t, ch)
		}
	}
}
