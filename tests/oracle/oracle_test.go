package oracle

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// disk is a server in memory with a durable and a visible part, and bugs to be switched on.
type disk struct {
	live, durable []byte
}

func newDisk(sectors int) *disk {
	return &disk{make([]byte, sectors*Sector), make([]byte, sectors*Sector)}
}

func (d *disk) write(first int64, b []byte, stable bool) {
	copy(d.live[first*Sector:], b)
	if stable {
		copy(d.durable[first*Sector:], b)
	}
}

func (d *disk) crash() { d.live = append([]byte(nil), d.durable...) }

func TestSectorSaysWhatIsWrong(t *testing.T) {
	b := make([]byte, Sector)
	if _, zero, err := Parse(b); !zero || err != nil {
		t.Fatal(zero, err)
	}
	want := Stamp{Volume: 3, Sector: 9, Sequence: 77, Writer: 5}
	want.Put(b)
	if got, zero, err := Parse(b); got != want || zero || err != nil {
		t.Fatal(got, zero, err)
	}
	other := make([]byte, Sector)
	Stamp{Volume: 3, Sector: 9, Sequence: 78, Writer: 5}.Put(other)
	copy(b[256:], other[256:])
	if _, _, err := Parse(b); err == nil || !strings.Contains(err.Error(), "torn") {
		t.Fatal(err)
	}
}

// FuzzParse: no input makes Parse panic, and what it accepts is what Put makes.
func FuzzParse(f *testing.F) {
	b := make([]byte, Sector)
	f.Add(b)
	Stamp{1, 2, 3, 4}.Put(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < Sector {
			return
		}
		_, _, _ = Parse(b)
	})
}

// script is a table, a disk and the moves of the rule tests.
type script struct {
	t *testing.T
	*Table
	d *disk
}

func newScript(t *testing.T) *script { return &script{t, NewTable(1, 16), newDisk(16)} }

func (s *script) put(first, n int64) (Write, []byte) {
	b := make([]byte, n*Sector)
	return s.Begin(7, first, b), b
}

func (s *script) read() error {
	r := s.BeginRead(0, 16)
	return s.EndRead(r, s.d.live)
}

func (s *script) recover() error {
	s.d.crash()
	s.Crash()
	return s.Recovered(0, s.d.live)
}

func (s *script) good(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *script) bad(err error) {
	s.t.Helper()
	var v *Violation
	if !errors.As(err, &v) {
		s.t.Fatalf("no violation found: %v", err)
	}
	s.t.Log(v)
}

func TestStableWriteSurvives(t *testing.T) {
	s := newScript(t)
	w, b := s.put(2, 4)
	s.good(s.read()) // not yet there
	s.d.write(2, b, true)
	s.good(s.read()) // there, not acknowledged
	s.Ack(w, true, 0)
	s.good(s.read())
	s.good(s.recover())
	s.good(s.read())
}

func TestLostStableWrite(t *testing.T) {
	s := newScript(t)
	w, b := s.put(2, 4)
	s.d.write(2, b, false)
	s.Ack(w, true, 0)
	s.good(s.read())
	s.bad(s.recover())
}

func TestStaleRead(t *testing.T) {
	s := newScript(t)
	w, _ := s.put(2, 4)
	s.Ack(w, false, 1)
	s.bad(s.read())
}

func TestUnstableMayGoUntilCommitted(t *testing.T) {
	s := newScript(t)
	w, b := s.put(0, 1)
	s.d.write(0, b, false)
	s.Ack(w, false, 1)
	s.good(s.recover()) // gone: allowed
	s.good(s.read())

	w, b = s.put(0, 1)
	s.d.write(0, b, false)
	s.Ack(w, false, 2)
	c := s.BeginCommit()
	if _, lost, _ := s.AckCommit(c, 2, 1); lost != 0 {
		t.Fatal(lost)
	}
	s.bad(s.recover()) // gone though committed
}

func TestCommitOfAnotherVerifierPromisesNothing(t *testing.T) {
	s := newScript(t)
	w, b := s.put(0, 1)
	s.d.write(0, b, false)
	s.Ack(w, false, 1)
	c := s.BeginCommit()
	if _, lost, _ := s.AckCommit(c, 9, 1); lost != 1 {
		t.Fatal(lost)
	}
	s.good(s.recover())
}

// A COMMIT says nothing on a write that was acknowledged after it was sent.
func TestCommitCoversOnlyWhatWasBefore(t *testing.T) {
	s := newScript(t)
	c := s.BeginCommit()
	w, b := s.put(0, 1)
	s.d.write(0, b, false)
	s.Ack(w, false, 1)
	_, _, next := s.AckCommit(c, 1, 1)
	if next != w.seq {
		t.Fatal(next)
	}
	s.good(s.recover())
}

func TestRecoveredStays(t *testing.T) {
	s := newScript(t)
	_, b := s.put(0, 1) // never acknowledged
	s.d.write(0, b, true)
	s.good(s.recover())
	s.d.durable = make([]byte, 16*Sector) // a second crash takes back what was shown
	s.bad(s.recover())
}

func TestMisplacedTornAndForeign(t *testing.T) {
	s := newScript(t)
	w, b := s.put(0, 2)
	s.d.write(1, b, true) // one sector off
	s.Ack(w, true, 0)
	s.bad(s.read())

	s = newScript(t)
	w, b = s.put(0, 1)
	s.Ack(w, true, 0)
	s.d.write(0, b, true)
	_, b2 := s.put(0, 1)
	copy(s.d.live[256:512], b2[256:512])
	s.bad(s.read())

	s = newScript(t)
	Stamp{Volume: 2, Sector: 0, Sequence: 1}.Put(s.d.live)
	s.bad(s.read())
}

func TestOverlappingWritesInEitherOrder(t *testing.T) {
	for _, first := range []bool{true, false} {
		s := newScript(t)
		w1, b1 := s.put(0, 2)
		w2, b2 := s.put(1, 2)
		if first {
			s.d.write(0, b1, true)
			s.d.write(1, b2, true)
		} else {
			s.d.write(1, b2, true)
			s.d.write(0, b1, true)
		}
		s.Ack(w1, true, 0)
		s.Ack(w2, true, 0)
		s.good(s.read())
		s.good(s.recover())
	}
}

func TestZeros(t *testing.T) {
	s := newScript(t)
	w, b := s.put(0, 2)
	s.d.write(0, b, true)
	s.Ack(w, true, 0)
	z := s.BeginZero(0, 1)
	s.good(s.read())
	clear(s.d.live[:Sector])
	s.good(s.read())
	s.Ack(z, true, 0)
	s.bad(s.recover()) // it was not made durable
}

// What one read has shown, the next one does not take back.
func TestReadGoesBack(t *testing.T) {
	for _, stable := range []bool{false, true} {
		s := newScript(t)
		w, b := s.put(0, 1)
		s.d.write(0, b, true)
		s.Ack(w, true, 0)
		_, b2 := s.put(0, 1) // under way
		s.good(s.read())
		s.d.write(0, b2, stable)
		s.good(s.read())
		s.good(s.read())
		s.d.write(0, b, true)
		s.bad(s.read())
	}
}

// A stable write that was read stays, though it was not acknowledged; an UNSTABLE one may go.
func TestReadBeforeDurable(t *testing.T) {
	for _, asked := range []bool{false, true} {
		s := newScript(t)
		w, b := s.put(0, 1)
		if asked {
			s.AskStable(w)
		}
		s.d.write(0, b, false)
		s.good(s.read())
		if asked {
			s.bad(s.recover())
		} else {
			s.good(s.recover())
		}

		s = newScript(t) // the same with zeros
		w, b = s.put(0, 1)
		s.d.write(0, b, true)
		s.Ack(w, true, 0)
		z := s.BeginZero(0, 1)
		if asked {
			s.AskStable(z)
		}
		s.d.write(0, make([]byte, Sector), false)
		s.good(s.read())
		if asked {
			s.bad(s.recover())
		} else {
			s.good(s.recover())
		}
	}
}

// A correct disk passes long random histories; the same with one lost or late sector does not.
func TestRandomHistories(t *testing.T) {
	caught := 0
	for seed := range uint64(200) {
		broken := seed%2 == 1
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := newScript(t)
		hit := false
		from := uint64(1)
	history:
		for range 60 {
			first, n := rnd.Int64N(12), 1+rnd.Int64N(4)
			w, b := s.put(first, n)
			stable := rnd.IntN(2) == 0
			drop := broken && stable && !hit && rnd.IntN(10) == 0
			s.d.write(first, b, stable && !drop)
			hit = hit || drop
			if drop || rnd.IntN(5) > 0 {
				s.Ack(w, stable, uint64(s.crashes))
			}
			if err := s.read(); err != nil {
				t.Fatal(err)
			}
			switch {
			case drop || rnd.IntN(10) == 0:
				if err := s.recover(); err != nil {
					if !hit {
						t.Fatal(err)
					}
					caught++
					break history
				}
			case rnd.IntN(6) == 0:
				c := s.BeginCommit()
				copy(s.d.durable, s.d.live)
				_, _, from = s.AckCommit(c, uint64(s.crashes), from)
			}
		}
	}
	if caught < 90 {
		t.Fatalf("%d of 100 planted bugs were caught", caught)
	}
}

func BenchmarkPut(b *testing.B) {
	buf := make([]byte, 4096)
	b.SetBytes(4096)
	for i := range b.N {
		for s := range 8 {
			Stamp{1, uint64(s), uint64(i), 1}.Put(buf[s*Sector:])
		}
	}
}
