package oracle

import (
	"fmt"
	"slices"
	"sync"
)

// Table is what a volume may hold. It is safe for concurrent use.
type Table struct {
	volume uint64

	mu      sync.Mutex // guards all below
	clock   uint64     // ticks at each begin and end
	sectors []state
	writes  []write // by sequence; 0 is the empty disk
	flying  int     // writes begun and neither acknowledged nor given up
	crashes int
}

// state is the sequence numbers that a sector may hold. The slices are never changed in place: a copy of the headers is
// a picture of the moment.
type state struct{ live, durable []uint64 }

type write struct {
	begin, end    uint64 // on the table's clock; end is 0 without an acknowledgement
	first, count  int64  // sectors
	zero          bool   // it leaves zeros instead of stamps
	asked         bool   // it asked for stability: whoever reads it may count on it, acknowledged or not
	stable        bool   // acknowledged stable, or committed
	verf          uint64 // of an unstable one
	before, ended bool   // before: it belongs to the time before the last crash; ended: not flying
}

var blank = []uint64{0}

// NewTable expects a volume of that many sectors, all of them zeros.
func NewTable(volume uint64, sectors int64) *Table {
	t := &Table{volume: volume, sectors: make([]state, sectors), writes: make([]write, 1, 1024)}
	t.writes[0] = write{zero: true, stable: true, ended: true, before: true}
	for i := range t.sectors {
		t.sectors[i] = state{blank, blank}
	}
	return t
}

// Sectors is the size of the volume.
func (t *Table) Sectors() int64 { return int64(len(t.sectors)) }

// Write is one write under way.
type Write struct{ seq uint64 }

// Begin is called before a write is sent: it fills b, whole sectors that go to sector first and on.
func (t *Table) Begin(writer uint64, first int64, b []byte) Write {
	w := t.begin(first, int64(len(b)/Sector), false)
	s := Stamp{Volume: t.volume, Sector: uint64(first), Sequence: w.seq, Writer: writer}
	for ; len(b) >= Sector; b = b[Sector:] {
		s.Put(b)
		s.Sector++
	}
	return w
}

// BeginZero is Begin for what leaves zeros: a discard, a truncation.
func (t *Table) BeginZero(first, count int64) Write { return t.begin(first, count, true) }

func (t *Table) begin(first, count int64, zero bool) Write {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	seq := uint64(len(t.writes))
	t.writes = append(t.writes, write{begin: t.clock, first: first, count: count, zero: zero})
	t.flying++
	for i := first; i < first+count; i++ {
		s := &t.sectors[i]
		s.live, s.durable = with(s.live, seq), with(s.durable, seq)
	}
	return Write{seq}
}

// AskStable is called before a write is sent that asks for stability. Others may read it only once it is durable.
func (t *Table) AskStable(w Write) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writes[w.seq].asked = true
}

// Ack is called after a write was acknowledged: stable, or unstable with a verifier.
func (t *Table) Ack(w Write, stable bool, verf uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	r := &t.writes[w.seq]
	if r.ended {
		return // acknowledged by a server that was killed meanwhile: the reply had not been counted
	}
	r.end, r.ended, r.verf, r.stable = t.clock, true, verf, stable
	t.flying--
	t.settle(r)
}

// settle drops what w makes impossible: all that was acknowledged before w began. The lock is held.
func (t *Table) settle(r *write) {
	for i := r.first; i < r.first+r.count; i++ {
		t.settleSector(i, r, r.stable)
	}
}

func (t *Table) settleSector(i int64, w *write, durable bool) {
	s := &t.sectors[i]
	s.live = t.without(s.live, w)
	if durable {
		s.durable = t.without(s.durable, w)
	}
}

// without gives the members of set that may still be there once w is.
func (t *Table) without(set []uint64, w *write) []uint64 {
	for _, seq := range set {
		if t.older(seq, w) {
			var kept []uint64
			for _, s := range set {
				if !t.older(s, w) {
					kept = append(kept, s)
				}
			}
			return kept
		}
	}
	return set
}

// older: the write seq was over before w began.
func (t *Table) older(seq uint64, w *write) bool {
	v := &t.writes[seq]
	return v.before && !w.before || v.end != 0 && v.end < w.begin
}

func with(set []uint64, seq uint64) []uint64 {
	return append(append(make([]uint64, 0, len(set)+1), set...), seq)
}

// Lost is called for a write whose outcome will never be known, though the server lives (a deadline passed and nobody
// will send it again). It stays possible until the next crash.
func (t *Table) Lost(w Write) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := &t.writes[w.seq]; !r.ended {
		r.ended = true
		t.flying--
	}
}

// Commit is one COMMIT under way.
type Commit struct {
	began   uint64
	crashes int
}

// BeginCommit is called before a COMMIT of the whole volume is sent.
func (t *Table) BeginCommit() Commit {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	return Commit{t.clock, t.crashes}
}

// AckCommit is called after a COMMIT was acknowledged with a verifier: unstable writes acknowledged before it began, under
// the same verifier, are stable now: kept is their number. lost is the number of those that are not, because their verifier
// differs: they may be lost, and stay only possible. from is the first sequence to look at; next is the from of a later call.
func (t *Table) AckCommit(c Commit, verf uint64, from uint64) (kept, lost int, next uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.crashes != t.crashes {
		return 0, 0, from
	}
	next = uint64(len(t.writes))
	for seq := max(from, 1); seq < uint64(len(t.writes)); seq++ {
		r := &t.writes[seq]
		switch {
		case r.stable || r.before:
			continue
		case r.end == 0 || r.end > c.began:
			next = min(next, seq)
		case r.verf != verf:
			lost++
		default:
			r.stable = true
			kept++
			t.settle(r)
		}
	}
	return kept, lost, next
}

// Crash is called when the server's process is gone and nothing that was sent to it can have an effect any more. Calls
// under way are over: what their callers report afterwards is ignored.
func (t *Table) Crash() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.crashes++
	for i := range t.sectors {
		t.sectors[i].live = t.sectors[i].durable
	}
	for i := len(t.writes) - 1; i > 0 && !t.writes[i].before; i-- {
		t.writes[i].before, t.writes[i].ended = true, true
	}
	t.flying = 0
}

// Clone is a copy of what is expected at this moment: for a history of which a power cut takes several pictures.
func (t *Table) Clone() *Table {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &Table{volume: t.volume, clock: t.clock, sectors: slices.Clone(t.sectors), writes: slices.Clone(t.writes), flying: t.flying, crashes: t.crashes}
}

// String is a line of figures.
func (t *Table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("volume %d: %d sectors, %d writes, %d flying, %d crashes", t.volume, len(t.sectors), len(t.writes)-1, t.flying, t.crashes)
}
