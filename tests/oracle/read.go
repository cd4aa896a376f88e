package oracle

import (
	"fmt"
	"slices"
)

// Violation is a sector that holds what it must not.
type Violation struct {
	Volume, Sector uint64
	Why            string
}

func (v *Violation) Error() string {
	return fmt.Sprintf("volume %d sector %d (byte %#x): %s", v.Volume, v.Sector, v.Sector*Sector, v.Why)
}

// Read is one read under way.
type Read struct {
	first   int64
	began   uint64
	crashes int
	seen    []state
}

// BeginRead is called before a read of count sectors is sent.
func (t *Table) BeginRead(first, count int64) Read {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	return Read{first: first, began: t.clock, crashes: t.crashes, seen: slices.Clone(t.sectors[first : first+count])}
}

// EndRead is called with what came back: each sector must be one that was live when the read began, or was begun since.
// What it shows is there: a later read shows nothing older, and after a crash nothing older than a write that asked for
// stability is there. The error is a *Violation. A read that a crash cut off says nothing.
func (t *Table) EndRead(r Read, b []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.crashes != t.crashes {
		return nil
	}
	for i := range r.seen {
		sector := r.first + int64(i)
		seq, err := t.check(sector, b[i*Sector:(i+1)*Sector], r.seen[i].live, r.began)
		if err != nil {
			return err
		}
		if w := &t.writes[seq]; seq != 0 && !w.before {
			t.settleSector(sector, w, w.stable || w.asked)
		}
	}
	return nil
}

// Recovered is called after a crash, before anything new is written to the sectors, with what they hold: it must be
// something durable, and from now on nothing else. Call it for every sector of the volume.
func (t *Table) Recovered(first int64, b []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := int64(0); i < int64(len(b)/Sector); i++ {
		s := &t.sectors[first+i]
		data := b[i*Sector : (i+1)*Sector]
		if _, err := t.check(first+i, data, s.durable, t.clock); err != nil {
			return err
		}
		if st, zero, _ := Parse(data); zero {
			s.live = t.zeros(s.durable)
		} else {
			s.live = []uint64{st.Sequence}
		}
		s.durable = s.live
	}
	return nil
}

// zeros picks the members of set that leave zeros. The lock is held.
func (t *Table) zeros(set []uint64) (z []uint64) {
	for _, seq := range set {
		if t.writes[seq].zero {
			z = append(z, seq)
		}
	}
	return z
}

// check holds one sector against the set of what it may be, and what was begun after since. It gives the write that it
// shows; 0 where zeros may be of several. The lock is held.
func (t *Table) check(sector int64, b []byte, allowed []uint64, since uint64) (shown uint64, err error) {
	bad := func(format string, a ...any) (uint64, error) {
		return 0, &Violation{t.volume, uint64(sector), fmt.Sprintf(format, a...) + ", may be " + t.describe(allowed)}
	}
	s, zero, err := Parse(b)
	if err != nil {
		return bad("%v", err)
	}
	if zero {
		may := t.zeros(allowed)
		for seq := uint64(len(t.writes)) - 1; t.writes[seq].begin > since; seq-- {
			if w := &t.writes[seq]; w.zero && sector >= w.first && sector < w.first+w.count {
				may = append(may, seq)
			}
		}
		switch len(may) {
		case 0:
			return bad("holds zeros")
		case 1:
			return may[0], nil
		}
		return 0, nil
	}
	if s.Volume != t.volume || s.Sector != uint64(sector) {
		return bad("holds what belongs to volume %d sector %d (sequence %d)", s.Volume, s.Sector, s.Sequence)
	}
	if s.Sequence >= uint64(len(t.writes)) || s.Sequence == 0 {
		return bad("holds sequence %d, which was never written", s.Sequence)
	}
	w := &t.writes[s.Sequence]
	if sector < w.first || sector >= w.first+w.count || w.zero {
		return bad("holds sequence %d, which never wrote this sector", s.Sequence)
	}
	if !slices.Contains(allowed, s.Sequence) && w.begin <= since {
		return bad("holds sequence %d of writer %d", s.Sequence, s.Writer)
	}
	return s.Sequence, nil
}

// describe lists a set in words. The lock is held.
func (t *Table) describe(set []uint64) string {
	out := ""
	for i, seq := range set {
		if i > 0 {
			out += ", "
		}
		if i == 8 {
			return out + fmt.Sprintf("... (%d in all)", len(set))
		}
		w := &t.writes[seq]
		what := "not acknowledged"
		switch {
		case seq == 0:
			what = "the empty disk"
		case w.stable:
			what = "stable"
		case w.end != 0:
			what = "unstable"
		}
		out += fmt.Sprintf("%d (%s)", seq, what)
	}
	return out
}
