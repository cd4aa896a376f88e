package memlog

import (
	"math/rand/v2"
	"time"

	"ovs"
)

// Faults are mishaps, each with a probability from 0 to 1. The same seed and order of calls give the same mishaps.
type Faults struct {
	Seed       uint64
	FlushFails float64       // a flush fails, and the log with it
	AdmitWaits float64       // Admit says false though there is room; Admitted follows
	TryMisses  float64       // TryReadAt says false
	ReadFails  float64       // ReadAt: KindIO
	Latency    time.Duration // a flush takes up to this long
}

// SetFaults begins to draw faults; the zero Faults ends it.
func (l *Log) SetFaults(f Faults) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults, l.rand = f, rand.New(rand.NewPCG(f.Seed, 2))
}

// SetRoom limits the log to that many bytes; records take their data and 160 bytes. 0: no limit.
func (l *Log) SetRoom(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room = bytes
	l.grant()
}

// draw is true with probability p. mu is held.
func (l *Log) draw(p float64) bool { return p > 0 && l.rand.Float64() < p }

// fits tells whether there is room for r. mu is held.
func (l *Log) fits(r *ovs.Record) bool {
	limit := l.room
	if !r.Urgent {
		limit -= limit / 20
	}
	return l.room == 0 || l.used+int64(len(r.Data))+headers <= limit
}

// Admit implements ovs.Log. Whoever asks first is admitted first, but that urgent records pass the others.
func (l *Log) Admit(r *ovs.Record) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused() != nil {
		r.Room = 0
		return true // Append will say why not
	}
	q := &l.normal
	if r.Urgent {
		q = &l.quick
	}
	if len(*q) == 0 && l.fits(r) && !l.draw(l.faults.AdmitWaits) {
		l.reserve(r)
		return true
	}
	*q = append(*q, r)
	if l.faults.AdmitWaits > 0 {
		l.due(func() { // in a moment, from the runner
			l.mu.Lock()
			defer l.mu.Unlock()
			l.grant()
		})
	}
	return false
}

func (l *Log) reserve(r *ovs.Record) {
	r.Room = int64(len(r.Data)) + headers
	l.used += r.Room
}

// grant admits those who wait and fit. mu is held.
func (l *Log) grant() {
	for _, q := range []*[]*ovs.Record{&l.quick, &l.normal} {
		for len(*q) > 0 && l.fits((*q)[0]) {
			r := (*q)[0]
			*q = (*q)[1:]
			l.reserve(r)
			l.due(func() { r.Admitted(r, nil) })
		}
	}
}

// refuse tells all who wait for room that there will be none. mu is held.
func (l *Log) refuse(err error) {
	for _, q := range []*[]*ovs.Record{&l.quick, &l.normal} {
		for _, r := range *q {
			l.due(func() { r.Admitted(r, err) })
		}
		*q = nil
	}
}
