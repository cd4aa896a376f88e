/*
Package memlog is the twin of a write log in memory: an ovs.Log for the tests of those who use one.

	Admit ─ room? ─► Append ──► segment (generation, bytes) ──► unflushed ─ runner ─► flushed ─► Done
	   └─ no: queue ◄─ Release                                  Hold stops here     Fail, faults: KindIO

It keeps the contract as strictly as a real log may be met: a Done never comes from inside Append, a segment is gone as
soon as its last record is released (KindStale), a record whose Done is nil is not touched after Append. Crash gives the
log that a restart would find. Faults come from a seed (SetFaults).
*/
package memlog

import (
	"math/rand/v2"
	"sync"

	"ovs"
)

// segmentSize is the bytes of data after which a new segment begins: small, so that tests meet stale positions.
const segmentSize = 256 << 10

// headers is what a record takes beside its data, in the accounts of room.
const headers = 160

// Log is an ovs.Log in memory. Its methods may run concurrently.
type Log struct {
	mu       sync.Mutex
	idle     *sync.Cond // of mu: the runner has gone, or went a step further
	segments map[uint32]*segment
	open     *segment
	objects  map[ovs.Ref][]*entry // not released, in the order of appending
	pending  []*entry             // appended, neither flushed nor failed, in the order of appending
	syncs    []pendingSync        // waiting, in the order of asking
	appended uint64               // records ever appended
	flushed  uint64               // of them flushed or failed
	calls    []func()             // callbacks that are due, in order
	running  bool                 // a runner is under way
	held     bool
	allowed  int // records that may be flushed while held
	failed   error
	closed   bool
	dead     bool // crashed: nobody is called any more

	room, used    int64 // bytes; room 0: no limit
	normal, quick []*ovs.Record
	faults        Faults
	rand          *rand.Rand
}

type segment struct {
	generation uint32
	data       []byte
	entries    []*entry
	live       int // entries not released
}

type entry struct {
	ovs.Record // without Data and the caller's fields
	segment    *segment
	room       int64
	flushed    bool
	waiter     *ovs.Record // whose Done is due
}

type pendingSync struct {
	s     *ovs.LogSync
	until uint64 // done when so many records are flushed
}

var _ ovs.Log = (*Log)(nil)

// New gives an empty log without a limit that never fails and flushes by itself.
func New() *Log {
	l := &Log{segments: map[uint32]*segment{}, objects: map[ovs.Ref][]*entry{}}
	l.idle = sync.NewCond(&l.mu)
	l.roll(1)
	return l
}

// roll opens a segment. mu is held.
func (l *Log) roll(generation uint32) {
	old := l.open
	l.open = &segment{generation: generation}
	l.segments[generation] = l.open
	if old != nil {
		l.reap(old)
	}
}

// reap forgets a segment that nobody needs. mu is held.
func (l *Log) reap(s *segment) {
	if s.live == 0 && s != l.open {
		delete(l.segments, s.generation)
	}
}

// Append implements ovs.Log.
func (l *Log) Append(r *ovs.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	room := r.Room
	r.Room, r.Pos = 0, 0
	if err := l.refused(); err != nil {
		l.used -= room
		l.due(doneOf(r, err))
		return
	}
	if room == 0 {
		room = int64(len(r.Data)) + headers
		l.used += room
	}
	if len(l.open.data) > 0 && len(l.open.data)+len(r.Data) > segmentSize {
		l.roll(l.open.generation + 1)
	}
	s := l.open
	r.Pos = ovs.LogPos(uint64(s.generation)<<32 | uint64(len(s.data)))
	s.data = append(s.data, r.Data...)
	e := &entry{Record: *r, segment: s, room: room}
	e.Data, e.Admitted, e.Done, e.Arg, e.Next = nil, nil, nil, nil, nil
	if r.Done != nil {
		e.waiter = r
	}
	s.entries = append(s.entries, e)
	s.live++
	l.objects[r.Ref] = append(l.objects[r.Ref], e)
	l.pending = append(l.pending, e)
	l.appended++
	l.wake()
}

// refused is why nothing is appended any more. mu is held.
func (l *Log) refused() error {
	if l.failed == nil && l.closed {
		return ovs.E("memlog.Append", ovs.KindClosed, nil, nil)
	}
	return l.failed
}

// Sync implements ovs.Log.
func (l *Log) Sync(s *ovs.LogSync) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refused(); err != nil {
		l.due(func() { s.Done(s, err) })
		return
	}
	l.syncs = append(l.syncs, pendingSync{s, l.appended})
	l.wake()
}

// at finds the bytes from p on. mu is held.
func (l *Log) at(p ovs.LogPos, n int) ([]byte, *segment) {
	s := l.segments[uint32(p>>32)]
	off := int(uint32(p))
	if s == nil || off+n > len(s.data) {
		return nil, nil
	}
	return s.data[off : off+n], s
}

// TryReadAt implements ovs.Log.
func (l *Log) TryReadAt(p ovs.LogPos, dst []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	data, _ := l.at(p, len(dst))
	if data == nil && len(dst) > 0 || l.draw(l.faults.TryMisses) {
		return false
	}
	copy(dst, data)
	return true
}

// ReadAt implements ovs.Log.
func (l *Log) ReadAt(p ovs.LogPos, dst []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.draw(l.faults.ReadFails) {
		return ovs.E("memlog.ReadAt", ovs.KindIO, nil, nil)
	}
	data, s := l.at(p, len(dst))
	if s == nil {
		return ovs.E("memlog.ReadAt", ovs.KindStale, nil, nil)
	}
	copy(dst, data)
	return nil
}

// Release implements ovs.Log.
func (l *Log) Release(r ovs.Ref, upTo ovs.RecordNo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.objects[r][:0]
	for _, e := range l.objects[r] {
		if e.Number > upTo {
			kept = append(kept, e)
			continue
		}
		l.used -= e.room
		e.segment.live--
		l.reap(e.segment)
	}
	if len(kept) == 0 {
		delete(l.objects, r)
	} else {
		l.objects[r] = kept
	}
	l.grant()
}

// Held is how many bytes of room are taken, and how many records of r are not released.
func (l *Log) Held(r ovs.Ref) (used int64, records int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used, len(l.objects[r])
}
