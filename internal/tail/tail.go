/*
Package tail is the part of one object that stands in the write log only: all that lies between an operation on it and
the log, the same for volumes and files.

	Write ─ zeros? ─ Admit ─ number, Append ─ index ──────────────► log: flush
	                   │ no room: parked,                              │
	                   ▼ no goroutine                                  ▼
	                 queue                   Done in the order of numbers: size and time move on,
	                                         the write is answered, reads that met it go on

	records   1 ····· 40 │ 41 ····· 90 │ 91 ··· 120 │ 121 ··· 130
	           dropped   │   sealed    │   sealed   │    open        all: one index over sealed and open
	          (in Below) │ (being put) │            │ (being written)

	Read ─ all: in the log ─► log memory or segment         zeros ─► zeros
	         │                a stable record in flight ─► wait for its flush
	         └─ not there ──► Below: the driver's own layer

The open records are cut off (by size, or Seal) as a Sealed interval: an immutable set of extents whose overwrites are
already coalesced. The driver takes the intervals in order (Next), brings each to the backend, makes Below show it, and
says Drop: the log lets go. So Below always stands at the end of an interval, and replaying the records after it brings
back the rest.

A driver's part: New, with what the newest head says and the backend holds; Restore for each record that a replay gives;
then TryRead, Read, Write, Commit, Resize and Live are the object's own. Its flusher, one goroutine: Seal (for what is
not cut yet); while Next gives an interval s: s.Wait; s.Each, s.ReadAt, s.ReadUnder to read it; put it; have Below show
it; Drop(s). At rest: Freeze. At the end: Close.

One mutex per object guards everything; it is held over Admit and Append (which never block), never over I/O, and no
callback is called under it. A driver may hold none of its own locks when it calls a Tail.
*/
package tail

import (
	"context"
	"sync"

	"ovs"
	"ovs/internal/extent"
	"ovs/internal/fifo"
)

// Below is the driver's own layer: the object as it stands without what is in the log. Past the data it has, it reads as
// zeros. It shows an interval from before Drop(interval) is called, and may do so earlier.
type Below interface {
	// TryReadBelow fills dst from off out of memory, or says false ("not now"). It does not block.
	TryReadBelow(dst []byte, off uint64) bool
	// ReadBelow fills dst from off; it may block until ctx ends.
	ReadBelow(ctx context.Context, dst []byte, off uint64) error
}

// Config is what a Tail is made of. The callbacks come without any lock held and must not block.
type Config struct {
	ovs.Ref
	Epoch ovs.Epoch
	Log   ovs.Log
	Below Below
	Pool  *Pool        // runs the reads that block
	Now   func() int64 // nanoseconds since 1970

	Last ovs.RecordNo // Below is complete up to this record
	Size uint64       // of the object after record Last
	Time int64        // of record Last

	SealAt   uint64          // bytes of data at which an interval is cut by itself; 0: never
	UrgentTo uint64          // records of an object up to this size may use the log's last room
	Began    func()          // optional: the first record of an interval was appended
	Cut      func()          // optional: an interval was cut off
	Halted   func(err error) // optional: called once, when the object takes no more writes
}

// state is how far an object's life has come.
type state uint8

const (
	serving state = iota
	halted        // a record failed: what is durable is still read, nothing is written
	closed        // closed or at rest: every operation gets KindFenced
)

// Tail is one object's part of the log. Its methods may be called from any goroutine.
type Tail struct {
	cfg    Config
	verf   ovs.Verifier
	ctx    context.Context // ends with Close: reads that block give up
	cancel context.CancelFunc
	onRec  func(*ovs.Record, error) // the method values, bound once
	onAdm  func(*ovs.Record, error)
	onSync func(*ovs.LogSync, error)

	resizeGate chan struct{} // held by the one Resize under way

	mu     sync.Mutex // guards all below
	state  state
	cause  error // why it halted
	broken bool  // a record will never be durable, and none after it

	all    extent.Map[Extent] // every byte that a record not dropped has set
	open   *Sealed            // the interval being written; First is 0 while it is empty
	sealed []*Sealed          // oldest first: cut, not dropped
	taken  int                // so many of them Next has given out

	last    ovs.RecordNo // newest record appended
	durable ovs.RecordNo // all records up to it are flushed
	dropped ovs.RecordNo // all records up to it are in Below
	synced  ovs.RecordNo // all records up to it are as durable as a Sync of the log makes them

	size  uint64 // after record last
	time  int64  // of record last
	shown struct {
		size  uint64 // what Live shows: stable records from their flush on, UNSTABLE ones from the append on
		time  int64
		after uint64 // while a resize is in flight: where UNSTABLE records after it end
	}
	resizing bool // a resize record is in flight

	asked   *ovs.Record   // was refused by Admit: Admitted will come
	queue   records       // written behind it
	waiting []parked      // reads that met a stable record in flight
	commits []commit      // COMMITs in flight
	busy    int           // writes, resizes and COMMITs not answered
	running int           // operations not completed
	idle    chan struct{} // closed when closed and nothing runs but the record that the log was asked to admit
	quiet   bool          // idle is closed
}

type parked struct {
	r    *ovs.Read
	need ovs.RecordNo
}

type commit struct {
	c    *ovs.Commit
	upTo ovs.RecordNo
}

// records are those that the log does not hold.
type records = fifo.Queue[ovs.Record, *ovs.Record]

// New gives a Tail that serves.
func New(c Config) *Tail {
	t := &Tail{cfg: c, verf: ovs.VerifierOf(c.Ref, c.Epoch), open: &Sealed{}, idle: make(chan struct{}), resizeGate: make(chan struct{}, 1)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.onRec, t.onAdm, t.onSync = t.recordDone, t.admitted, t.commitDone
	t.last, t.durable, t.dropped, t.synced = c.Last, c.Last, c.Last, c.Last
	t.size, t.time, t.shown.size, t.shown.time = c.Size, c.Time, c.Size, c.Time
	t.open.t = t
	return t
}

// Live is the object's size and newest time as they may be shown, and Used the bytes that stand in the log for it: the
// driver adds its own.
func (t *Tail) Live() ovs.Live {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := ovs.Live{Size: t.shown.size, Time: t.shown.time, Used: t.open.Data}
	for _, s := range t.sealed {
		l.Used += s.Data
	}
	return l
}

// Last is the newest record's number, and whether all up to it are in Below.
func (t *Tail) Last() (last ovs.RecordNo, atRest bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last, t.dropped == t.last
}

// Err says why the object halted; nil while it has not.
func (t *Tail) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cause
}

// after is what is to be done when the mutex is released: t.unlock does it.
type after struct {
	done       records // operations completed; Len is 0 in none of them, their error stands in the operation
	reads      []parked
	began, cut bool
	halted     error
}

// unlock releases the mutex and calls what the locked part left to call.
func (t *Tail) unlock(a *after) {
	t.mu.Unlock()
	if a.began && t.cfg.Began != nil {
		t.cfg.Began()
	}
	if a.cut && t.cfg.Cut != nil {
		t.cfg.Cut()
	}
	if a.halted != nil && t.cfg.Halted != nil {
		t.cfg.Halted(a.halted)
	}
	for r := a.done.Pop(); r != nil; r = a.done.Pop() {
		t.complete(r)
	}
	for _, p := range a.reads {
		t.submit(p.r)
	}
}

// answer has unlock complete the operation behind r. mu is held.
func (t *Tail) answer(r *ovs.Record, a *after) {
	t.busy--
	a.done.Push(r)
}

// refuse is the error of an operation that comes now. mu is held.
func (t *Tail) refuse(op string) error {
	switch t.state {
	case halted:
		return ovs.E(op, ovs.KindIO, t.cfg.Ref, t.cause)
	case closed:
		return ovs.E(op, ovs.KindFenced, t.cfg.Ref, nil)
	}
	return nil
}

// ended counts operations that were completed.
func (t *Tail) ended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
	t.calm()
}

// calm closes idle when it is time. The record that waits for room is not waited for: the log answers it when it closes
// itself, if not before. mu is held.
func (t *Tail) calm() {
	if t.state == closed && !t.quiet && (t.running == 0 || t.running == 1 && t.asked != nil) {
		t.quiet = true
		close(t.idle)
	}
}

// Halt stops all writing: what is durable is still read. The first cause counts.
func (t *Tail) Halt(err error) {
	var a after
	t.mu.Lock()
	t.halt(err, &a)
	t.unlock(&a)
}

// halt fails what waits and cannot go on. mu is held.
func (t *Tail) halt(err error, a *after) {
	a.reads = append(a.reads, t.waiting...) // they look again, and wait on where that flush is still to come
	t.waiting = nil
	if t.cause != nil {
		return
	}
	t.cause, a.halted = err, err
	if t.state == serving {
		t.state = halted
	}
	t.dismiss(ovs.E("tail.Write", ovs.KindIO, t.cfg.Ref, err), a)
}

// dismiss fails the records that wait behind the one asked for. mu is held.
func (t *Tail) dismiss(err error, a *after) {
	for r := t.queue.Pop(); r != nil; r = t.queue.Pop() {
		fail(r, err)
		t.answer(r, a)
	}
}

// Freeze ends an object at rest: no operation under way but reads, which get KindFenced where they cannot go on, nothing of
// it in the log. False: it is not at rest, and serves on.
func (t *Tail) Freeze() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != serving || t.busy > 0 || t.dropped != t.last {
		return false
	}
	t.state = closed
	t.calm()
	return true
}

// Close refuses all later operations with KindFenced, those that wait for room too, and returns when the others under way
// are completed; reads that wait for Below are cut short. What is in the log stays there. One record may still be waiting
// for room: it is answered when the log says how that ended.
func (t *Tail) Close() {
	var a after
	t.mu.Lock()
	t.state = closed
	t.dismiss(t.refuse("tail.Write"), &a)
	t.calm()
	t.unlock(&a)
	t.cancel()
	<-t.idle
}
