package memlog

import (
	"cmp"
	"maps"
	"slices"

	"ovs"
)

// Crash ends the log as a power cut does and gives the one that a restart finds: all that was flushed, and the first
// keep of the records that were not (a flush under way may have got so far; < 0: all of them). Released records are back
// as long as their segment was not given up. The old log calls nobody from now on.
func (l *Log) Crash(keep int) *Log {
	l.mu.Lock()
	l.dead = true
	for l.running { // a callback that is under way ends first
		l.idle.Wait()
	}
	defer l.mu.Unlock()
	if keep < 0 || keep > len(l.pending) {
		keep = len(l.pending)
	}
	if l.failed == nil {
		for _, e := range l.pending[:keep] {
			e.flushed = true
		}
	}
	n := New()
	n.room, n.segments = l.room, map[uint32]*segment{}
	for _, g := range slices.Sorted(maps.Keys(l.segments)) {
		n.inherit(l.segments[g])
	}
	n.open = nil
	n.roll(l.open.generation + 1)
	return n
}

// inherit takes over what is flushed of an old segment.
func (l *Log) inherit(old *segment) {
	s := &segment{generation: old.generation, data: old.data}
	for _, e := range old.entries {
		if !e.flushed {
			continue
		}
		c := &entry{Record: e.Record, segment: s, room: e.room, flushed: true}
		s.entries = append(s.entries, c)
		s.live++
		l.objects[c.Ref] = append(l.objects[c.Ref], c)
		l.used += c.room
	}
	if s.live > 0 {
		l.segments[s.generation] = s
	}
}

// Tails implements ovs.Log. What this start appended counts as well.
func (l *Log) Tails() []ovs.LogTail {
	l.mu.Lock()
	defer l.mu.Unlock()
	var tails []ovs.LogTail
	for ref, entries := range l.objects {
		t := ovs.LogTail{Ref: ref}
		for _, e := range entries {
			if e.Number != t.Last+1 && (e.Number > t.Last || e.Number < t.First) || t.First == 0 {
				t.First = e.Number // what was before a gap had been released
			}
			t.Last, t.Epoch, t.Time = e.Number, e.Epoch, e.Time
		}
		tails = append(tails, t)
	}
	slices.SortFunc(tails, func(a, b ovs.LogTail) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Object, b.Object))
	})
	return tails
}

// Replay implements ovs.Log.
func (l *Log) Replay(r ovs.Ref, after ovs.RecordNo, f func(*ovs.Record) error) error {
	l.mu.Lock()
	var found []ovs.Record
	for _, e := range l.objects[r] {
		if e.Number > after {
			found = append(found, e.Record)
		}
	}
	l.mu.Unlock()
	order := func(a, b ovs.Record) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Epoch, b.Epoch))
	}
	slices.SortStableFunc(found, order)
	for i := range found {
		if i+1 < len(found) && order(found[i], found[i+1]) == 0 {
			continue // appended again later: that one counts
		}
		if err := f(&found[i]); err != nil {
			return err
		}
	}
	return nil
}
