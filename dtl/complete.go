package dtl

import (
	"time"

	"ovs"
)

// due is what the completer has to call back: first what was flushed, then what failed after that.
type due struct {
	done      records
	syncs     syncs
	late      records // Done with what refused says
	lateSyncs syncs
	odd       []oddRecord
	admitted  records // they got their room
	denied    records // they will not, for that reason, or because they waited too long
	busy      bool    // callbacks are under way, of the completer or the flusher
}

// oddRecord is a record that failed for a reason of its own.
type oddRecord struct {
	r   *ovs.Record
	err error
}

func (d *due) empty() bool {
	return d.done.First() == nil && d.syncs.First() == nil && d.late.First() == nil && d.lateSyncs.First() == nil &&
		len(d.odd) == 0 && d.admitted.First() == nil && d.denied.First() == nil
}

// tooLate enters those whose batch will not be flushed: before all that were appended after them.
func (d *due) tooLate(done *records, waiting *syncs) {
	done.Join(&d.late)
	waiting.Join(&d.lateSyncs)
	d.late, d.lateSyncs = *done, *waiting
	*done, *waiting = records{}, syncs{}
}

// tick is how often the completer looks again while the log is short of room.
const tick = 100 * time.Millisecond

// complete is the completer's goroutine: it makes the callbacks that the flusher does not make itself, hands out room as
// it comes free or as an object's turn comes, and asks owners for room. It ends when the log is closed and all is called.
func (l *Log) complete() {
	defer l.work.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		l.mu.Lock()
		now := time.Now()
		wait := l.grant(now)
		ask := l.whomToAsk(now)
		d, why := l.takeDue()
		stop := l.ending && l.due.empty() && !l.due.busy && !d.busy
		l.ended = stop
		l.mu.Unlock()
		if stop {
			return
		}
		for _, ref := range ask {
			l.cfg.Relieve(ref)
		}
		if d.busy {
			l.callAll(d, why)
			continue
		}
		timer.Reset(wait)
		select {
		case <-l.completer:
		case <-timer.C:
		}
	}
}

// answer has what is due called back by the completer, or once that has ended by a goroutine of its own, since no callback may come
// from inside a call. mu is held.
func (l *Log) answer() {
	if !l.ended {
		wake(l.completer)
		return
	}
	go func() {
		for {
			l.mu.Lock()
			d, why := l.takeDue()
			l.mu.Unlock()
			if !d.busy { // nothing is left, or another is at it and will find the rest: so they come in order
				return
			}
			l.callAll(d, why)
		}
	}()
}

// takeDue takes all callbacks that are due, unless the flusher is making some: it wakes the completer afterwards. What was
// refused, or will not be flushed, waits until all before it has landed. mu is held.
func (l *Log) takeDue() (due, error) {
	if l.due.busy {
		return due{}, nil
	}
	d := l.due
	l.due = due{}
	if l.writing != nil || l.failed == nil && l.head != nil {
		l.due.late, l.due.lateSyncs = d.late, d.lateSyncs
		d.late, d.lateSyncs = records{}, syncs{}
	}
	d.busy = !d.empty()
	l.due.busy = d.busy
	return d, l.refused()
}

// callAll makes the callbacks of d.
func (l *Log) callAll(d due, refusal error) {
	callBack(d.done, d.syncs, nil)
	callBack(d.late, d.lateSyncs, refusal)
	for _, o := range d.odd {
		o.r.Done(o.r, o.err)
	}
	for r := d.admitted.Pop(); r != nil; r = d.admitted.Pop() {
		r.Admitted(r, nil)
	}
	if refusal == nil {
		refusal = errFull
		if l.full() {
			refusal = errNoSpace
		}
	}
	for r := d.denied.Pop(); r != nil; r = d.denied.Pop() {
		r.Admitted(r, refusal)
	}
	l.mu.Lock()
	l.due.busy = false
	l.mu.Unlock()
}

// callBack tells those who wait how their flush ended. A record may be used again as soon as its Done is called.
func callBack(done records, waiting syncs, err error) {
	for r := done.Pop(); r != nil; r = done.Pop() {
		r.Done(r, err)
	}
	for s := waiting.Pop(); s != nil; s = waiting.Pop() {
		s.Done(s, err)
	}
}
