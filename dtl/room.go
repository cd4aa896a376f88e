package dtl

import (
	"errors"
	"time"

	"ovs"
)

// How room is shared out, in bytes that a record may take at worst (charge):
//
//	0 %            50 %                              95 %   100 %
//	│  no delay     │  delay by excess over fair share │urgent│
//
// An object's fair share is an even part of the first half of the log, or of its vPool's part of that. Who holds more is
// slowed down, more so the fuller the log is and the more he holds; who holds less never is. At 95 % all but urgent
// records wait until room comes free. What Admit granted is certain to fit: charge is the worst case, free counts the least.

const (
	slack    = 200 * time.Microsecond // an object's debt up to this is not worth a timer
	patience = 30 * time.Second       // so long an object may wait without any record being admitted
	longest  = 250 * time.Millisecond // the most that one record costs
	perByte  = 10.0                   // nanoseconds: the unit of delay is 100 MB/s
)

var (
	errFull    = ovs.E("dtl.Admit", ovs.KindBusy, nil, nil)
	errNoSpace = ovs.E("dtl.Admit", ovs.KindNoSpace, nil, errors.New("the backend is full, and so is this object's part of the log"))
)

// full tells whether the backend takes nothing more.
func (l *Log) full() bool { return l.cfg.Full != nil && l.cfg.Full() }

// hopeless tells whether r is to be refused, since the backend takes nothing and the log is half full: the other half is for
// what needs little or gives room back, as far as it goes. mu is held.
func (l *Log) hopeless(o *object, r *ovs.Record) bool {
	return !r.Urgent && (len(r.Data) > 0 && l.free() < l.total/2 || !l.spares(o, charge(len(r.Data)))) && l.full()
}

// charge is what a record with n bytes of data takes at most: a batch of its own, and its line in the index.
func charge(n int) int64 { return int64(up(batchSize+frameBytes(n))) + frameSize }

// certain is the room that is there for sure, what was promised taken off. mu is held.
func (l *Log) certain() int64 {
	n := int64(len(l.slots))*l.usable - l.reserved
	if l.open != nil {
		n += l.left(l.open)
	}
	if l.next != nil {
		n += l.usable
	}
	return n
}

// free is certain plus the segments that are still to be made. mu is held.
func (l *Log) free() int64 { return l.certain() + l.total - int64(len(l.all))*l.usable }

// Admit implements ovs.Log. When the log has failed or is closed it says true: Append says why nothing comes of it.
func (l *Log) Admit(r *ovs.Record) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Room = 0
	if l.refused() != nil || len(r.Data) > l.recordMost {
		return true
	}
	o := l.object(r.Ref)
	q := o.queue(r.Urgent)
	if q.First() == nil && !l.hopeless(o, r) && l.may(o, r) && l.paced(o, r) == 0 {
		l.reserve(o, r)
		return true
	}
	q.Push(r)
	if !o.waits {
		o.waits, o.since = true, time.Now()
		l.waiting = append(l.waiting, o)
	}
	wake(l.completer)
	return false
}

func (l *Log) reserve(o *object, r *ovs.Record) {
	r.Room = charge(len(r.Data))
	l.reserved += r.Room
	o.reserved += r.Room
}

// may tells whether there is room for r now. mu is held.
func (l *Log) may(o *object, r *ovs.Record) bool {
	need := charge(len(r.Data))
	if l.dirty+l.reserved > 0 && l.dirty+l.reserved+need > l.dirtyMost || need > l.certain() {
		return false
	}
	if r.Urgent {
		return true
	}
	if l.hungry && l.waits(o) { // somebody waits for room: not past him
		return false
	}
	return l.spares(o, need)
}

// spares tells whether need bytes more leave what is kept for urgent records, in the log and in the pool's part. mu is held.
func (l *Log) spares(o *object, need int64) bool {
	p := o.pool
	return l.free()-need >= l.total/20 && float64(p.used+need) <= 0.95*p.share*float64(l.total)
}

// waits tells whether anyone but o waits for room. mu is held.
func (l *Log) waits(o *object) bool {
	return len(l.waiting) > 1 || len(l.waiting) == 1 && l.waiting[0] != o
}

// paced is how long o has to wait for its turn; 0: now, and its next turn is set. mu is held.
func (l *Log) paced(o *object, r *ovs.Record) time.Duration {
	fill := 1 - float64(l.free())/float64(l.total)
	fill = max(fill, float64(o.pool.used)/(o.pool.share*float64(l.total)))
	if fill <= 0.5 || r.Urgent {
		return 0
	}
	fair := min(float64(l.total)/2/float64(len(l.objects)), o.pool.share*float64(l.total)/2/float64(o.pool.objects))
	excess := min((float64(o.used+o.reserved)-fair)/fair, 8)
	if excess <= 0 {
		return 0
	}
	now := time.Now()
	if d := o.turn.Sub(now); d > slack {
		return d
	}
	x := min((fill-0.5)/0.45, 0.99)
	cost := time.Duration(perByte * float64(charge(len(r.Data))) * excess * x * x / (1 - x) / (1 - x))
	if o.turn.Before(now) {
		o.turn = now
	}
	o.turn = o.turn.Add(min(cost, longest))
	return 0
}

// grant admits whom it can, each object in its turn, and says when to look again. mu is held.
func (l *Log) grant(now time.Time) time.Duration {
	wait := time.Hour
	l.hungry = false
	kept := l.waiting[:0]
	for _, o := range l.waiting {
		wait = min(wait, l.grantOne(o, now))
		if o.urgent.First() != nil || o.normal.First() != nil {
			kept = append(kept, o)
		} else {
			o.waits = false
			l.forget(o)
		}
	}
	clear(l.waiting[len(kept):])
	l.waiting = kept
	if n := len(kept); n > 1 { // another one is first the next time
		first := kept[0]
		copy(kept, kept[1:])
		kept[n-1] = first
	}
	if l.free() < l.total/2 || len(kept) > 0 {
		wait = min(wait, tick)
	}
	return wait
}

// grantOne admits what it can of one object. mu is held.
func (l *Log) grantOne(o *object, now time.Time) (wait time.Duration) {
	wait = time.Hour
	for _, q := range [2]*records{&o.urgent, &o.normal} {
		for q.First() != nil {
			r := q.First()
			if l.refused() != nil || l.hopeless(o, r) {
				l.due.denied.Push(q.Pop())
				continue
			}
			if q == &o.normal && l.hungry || !l.roomFor(o, r) {
				break
			}
			if d := l.paced(o, r); d > 0 {
				wait = d
				break
			}
			q.Pop()
			l.reserve(o, r)
			l.due.admitted.Push(r)
			o.since = now
		}
		if q.First() != nil && now.Sub(o.since) > patience {
			l.due.denied.Join(q)
		}
	}
	return wait
}

// roomFor is may for one whose turn it is among those who wait. If there is no room in the log at all, nobody behind him
// gets any: a large record would starve. mu is held.
func (l *Log) roomFor(o *object, r *ovs.Record) bool {
	hungry := l.hungry
	l.hungry = false
	ok := l.may(o, r)
	p := o.pool
	poolFull := float64(p.used+charge(len(r.Data))) > 0.95*p.share*float64(l.total)
	l.hungry = hungry || !ok && !r.Urgent && !poolFull
	return ok
}

// makeRoom wakes the completer when somebody waits for what may just have come free. mu is held.
func (l *Log) makeRoom() {
	if len(l.waiting) > 0 {
		wake(l.completer)
	}
}

const (
	largest = 4 // so many of the biggest holders are asked for room at a time, besides all that hold the oldest segment
	deaf    = 3 // who was asked so often in a row and let nothing go is not waited for
)

// whomToAsk lists the objects whose owners are to move data to the backend: nobody while the log is half empty. Which segment
// is the oldest is said by those who may still let it go: one whose object is halted would hide all slow objects behind it.
// mu is held.
func (l *Log) whomToAsk(now time.Time) []ovs.Ref {
	if l.cfg.Relieve == nil || l.refused() != nil || l.free() >= l.total/2 && len(l.waiting) == 0 || now.Sub(l.asked) < tick {
		return nil
	}
	l.asked = now
	oldest := ^uint32(0)
	for _, o := range l.objects {
		if len(o.holds) > 0 && o.pleas < deaf {
			oldest = min(oldest, o.holds[0].seg.gen)
		}
	}
	var refs []ovs.Ref
	var top [largest]*object
	for _, o := range l.objects {
		if len(o.holds) == 0 || now.Sub(o.asked) < time.Second {
			continue
		}
		if o.holds[0].seg.gen <= oldest {
			refs = append(refs, o.plead(now))
			continue
		}
		for i, t := range top {
			if t == nil || o.used > t.used {
				copy(top[i+1:], top[i:])
				top[i] = o
				break
			}
		}
	}
	for _, o := range top {
		if o != nil {
			refs = append(refs, o.plead(now))
		}
	}
	return refs
}

// plead notes that the owner is asked for room.
func (o *object) plead(now time.Time) ovs.Ref {
	o.asked = now
	o.pleas = min(o.pleas+1, deaf)
	return o.ref
}
