package dtl

import (
	"time"

	"ovs"
)

// object is what the log knows of one object: where its records are, not what they say. mu guards all.
type object struct {
	ref   ovs.Ref
	pool  *pool
	holds []hold // by segment, oldest first
	tail  ovs.LogTail

	used     int64 // bytes of its records
	reserved int64 // bytes that Admit promised

	// Those who wait for room.
	urgent, normal records
	waits          bool      // it is in Log.waiting
	since          time.Time // it began to wait, or got something
	turn           time.Time // when its next record may come, while it is slowed down
	asked          time.Time // when its owner was last asked for room
	pleas          int       // how often in a row that brought nothing; deaf at most
}

func (o *object) queue(urgent bool) *records {
	if urgent {
		return &o.urgent
	}
	return &o.normal
}

// hold says that a segment holds records of an object.
type hold struct {
	seg    *segment
	lo, hi ovs.RecordNo // the lowest and highest not yet released
	bytes  int64
	at     []uint32 // where in seg.recalled its frames are; nil: not there
}

// pool is the part of a vPool.
type pool struct {
	share   float64 // of the log, 0 to 1
	objects int
	used    int64
}

// object finds or makes the entry of r. mu is held.
func (l *Log) object(r ovs.Ref) *object {
	if o := l.objects[r]; o != nil {
		return o
	}
	p := l.pools[r.Pool]
	if p == nil {
		p = &pool{share: 1}
		if s, ok := l.cfg.Shares[r.Pool]; ok && s > 0 && s < 1 {
			p.share = s
		}
		l.pools[r.Pool] = p
	}
	p.objects++
	o := &object{ref: r, pool: p}
	o.tail.Ref = r
	l.objects[r] = o
	return o
}

// forget drops the entry of an object of which the log holds nothing. mu is held.
func (l *Log) forget(o *object) {
	if len(o.holds) > 0 || o.reserved != 0 || o.waits {
		return
	}
	o.pool.objects--
	delete(l.objects, o.ref)
}

// note enters a record of n bytes that stands in g. mu is held.
func (l *Log) note(o *object, r *ovs.Record, g *segment, n int64) *hold {
	if k := len(o.holds); k == 0 || o.holds[k-1].seg != g {
		o.holds = append(o.holds, hold{seg: g, lo: r.Number, hi: r.Number})
		g.holders++
	}
	h := &o.holds[len(o.holds)-1]
	h.lo, h.hi = min(h.lo, r.Number), max(h.hi, r.Number)
	h.bytes += n
	o.used += n
	o.pool.used += n
	t := &o.tail
	if t.First == 0 || r.Number > t.Last+1 || r.Number < t.First {
		t.First = r.Number // what lay before a gap had been released
	}
	t.Last, t.Epoch, t.Time = r.Number, r.Epoch, r.Time
	return h
}

// Release implements ovs.Log. The bytes of a part of a segment's records are reckoned evenly: the rest is exact again when
// the rest is released.
func (l *Log) Release(r ovs.Ref, upTo ovs.RecordNo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.objects[r]
	if o == nil {
		return
	}
	kept := o.holds[:0]
	var over []*segment
	used := o.used
	for _, h := range o.holds {
		n := h.bytes
		if h.hi > upTo {
			n = 0
			if h.lo <= upTo {
				n = int64(float64(h.bytes) * float64(upTo-h.lo+1) / float64(h.hi-h.lo+1))
				h.lo = upTo + 1
			}
			h.bytes -= n
			kept = append(kept, h)
		} else {
			h.forget()
			if h.seg.holders--; h.seg.holders == 0 {
				over = append(over, h.seg)
			}
		}
		o.used -= n
		o.pool.used -= n
	}
	clear(o.holds[len(kept):])
	o.holds = kept
	if o.used < used {
		o.pleas = 0
	}
	if upTo >= o.tail.First && o.tail.First != 0 {
		o.tail.First = upTo + 1
		if upTo >= o.tail.Last {
			o.tail.First = 0
		}
	}
	if d, ok := l.damage[r]; ok && d <= upTo {
		delete(l.damage, r)
	}
	l.forget(o)
	for _, g := range over {
		l.settle(g)
	}
	l.makeRoom()
}
