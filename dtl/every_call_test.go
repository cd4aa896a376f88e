package dtl

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ovs"
	"ovs/internal/exhaust"
	"ovs/internal/vfs"
)

// TestEveryDiskCall plays one history again and again, each time with the next call on the disk going wrong, in each way in
// which one can, until a play has no such call any more. The history: a log is made, written through several times,
// read, released, closed, opened again, replayed, and goes on. Then the power goes, and the disk is sound again.
//
//   - What was acknowledged is there, byte by byte and without a gap; and what a start has shown stays.
//   - Each callback comes once, in the order of numbers, before Close returns; none is without error after one with.
//   - An error says what failed, of which kind, and carries its cause. A call that is only slow fails nothing.
//   - No goroutine is left (synctest sees to that) and no file.
func TestEveryDiskCall(t *testing.T) {
	written := []vfs.Op{vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpDatasync, vfs.OpRename, vfs.OpMkdir}
	for _, m := range []struct {
		name string
		span exhaust.Span
		ops  []vfs.Op
		rule vfs.Rule
	}{
		{"EIO", exhaust.Once, []vfs.Op{""}, vfs.Rule{Err: syscall.EIO}},
		{"EIO for ever", exhaust.Ever, []vfs.Op{""}, vfs.Rule{Err: syscall.EIO}},
		{"ENOSPC", exhaust.Once, written, vfs.Rule{Err: syscall.ENOSPC}},
		{"ENOSPC for ever", exhaust.Ever, []vfs.Op{vfs.OpCreate, vfs.OpWrite}, vfs.Rule{Err: syscall.ENOSPC}},
		{"reads fail for ever", exhaust.Ever, []vfs.Op{vfs.OpRead}, vfs.Rule{Err: syscall.EIO}},
		{"short", exhaust.Once, []vfs.Op{vfs.OpRead, vfs.OpWrite}, vfs.Rule{Err: syscall.EIO, Short: true}},
		{"late", exhaust.Once, append(written, vfs.OpRemove, vfs.OpSyncDir, vfs.OpLock), vfs.Rule{Err: syscall.EIO, Late: true}},
		{"slow", exhaust.Once, []vfs.Op{""}, vfs.Rule{Delay: 10 * time.Second}},
	} {
		t.Run(m.name, func(t *testing.T) {
			plays := uint64(0)
			for _, op := range m.ops {
				m.rule.Op = op
				exhaust.Run(t, m.span, func(t *testing.T, c *exhaust.Call) {
					play(t, c, m.span, m.rule, plays)
					plays++
				})
			}
			t.Log(plays, "plays")
		})
	}
}

// history is one play.
type history struct {
	t       *testing.T
	rule    vfs.Rule // what goes wrong
	lasting bool     // and for ever
	disk    *exhaust.FS
	objects []*written

	mu      sync.Mutex // guards the objects while a log runs
	pending int        // callbacks to come
}

// written is an object of a history.
type written struct {
	ref      ovs.Ref
	sizes    []int // of its records, in turn
	urgent   bool
	lazy     bool // nobody waits for its records
	epoch    ovs.Epoch
	next     ovs.RecordNo
	done     ovs.RecordNo // all up to here is durable
	released ovs.RecordNo

	awaited []ovs.RecordNo // Done is to come for these
	failed  bool           // a record of this life failed
	halted  bool           // this start did not give all of it: its owner does not go on
}

// play plays the history once.
func play(t *testing.T, c *exhaust.Call, span exhaust.Span, rule vfs.Rule, seed uint64) {
	crash := vfs.NewCrash(seed)
	h := &history{t: t, rule: rule, lasting: span == exhaust.Ever, disk: exhaust.Disk(crash, c, rule), objects: []*written{
		{ref: ovs.Ref{Pool: 3, Object: 1}, sizes: []int{16 << 10, 5000, 0, 9000}},
		{ref: ovs.Ref{Pool: 3, Object: 2}, sizes: []int{100, 0, 512}, lazy: true},
		{ref: ovs.Ref{Pool: 4, Object: 1}, sizes: []int{4096, 512}, urgent: true},
	}}
	for _, o := range h.objects {
		o.next = 1
	}
	h.life(12)
	h.life(6)
	c.Heal()
	h.rule, h.lasting, h.disk = vfs.Rule{}, false, exhaust.Disk(crash.Cut(), c, vfs.Rule{})
	h.life(6)
	h.life(0)
}

// life is one start of the log: open, check, so many rounds of work, close.
func (h *history) life(rounds int) {
	l, err := Open(Config{
		FS: h.disk, Dir: "log", Size: 6 * MinSegment, SegmentSize: MinSegment, Memory: 1 << 20, KeepFree: 1,
		Rand: strings.NewReader("identity"),
	})
	if err != nil {
		h.injected("Open", err)
		h.gone()
		return
	}
	for _, o := range h.objects {
		h.replay(l, o)
	}
	for i := range rounds {
		if !h.round(l, i) {
			break
		}
	}
	if err := l.Close(); err != nil {
		h.injected("Close", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pending != 0 {
		h.t.Errorf("%d callbacks did not come before Close returned", h.pending)
	}
	h.gone()
}

func (h *history) gone() {
	if n := h.disk.Open(); n != 0 {
		h.t.Errorf("%d files are left open", n)
	}
}

// injected checks that err is the fault's, and says what it has to.
func (h *history) injected(what string, err error) {
	var e *ovs.Error
	switch {
	case h.rule.Err == nil || !errors.Is(err, h.rule.Err):
		h.t.Errorf("%s: %v, which has another cause", what, err)
	case !errors.As(err, &e) || e.Op == "" || e.Kind != ovs.KindIO:
		h.t.Errorf("%s: %v does not say what failed, or of which kind", what, err)
	}
}

// replay checks what a start shows of an object, and relies on it from now on. What fails for once goes well the second time.
func (h *history) replay(l *Log, o *written) {
	o.epoch++
	o.failed, o.halted = false, false
	last, err := h.readAll(l, o)
	if err != nil && !h.lasting {
		h.injected("Replay", err)
		last, err = h.readAll(l, o)
	}
	switch {
	case err == nil && last < o.done:
		h.t.Errorf("%v ends at %d, but %d was durable", o.ref, last, o.done)
	case err == nil:
		o.done, o.next = last, last+1
		l.Release(o.ref, o.released)
	case h.rule.Err == nil || !h.lasting:
		h.t.Errorf("%v: %v", o.ref, err)
	default: // a disk that is read no more: named as damaged, or the cause told
		o.halted = true
		if !ovs.Is(err, ovs.KindCorrupt) {
			h.injected("Replay", err)
		}
	}
}

func (h *history) readAll(l *Log, o *written) (last ovs.RecordNo, err error) {
	last = o.released
	err = l.Replay(o.ref, o.released, func(r *ovs.Record) error {
		if last++; r.Number != last {
			h.t.Errorf("%v: replay gives %d instead of %d", o.ref, r.Number, last)
		}
		got := make([]byte, r.Len)
		if err := l.ReadAt(r.Pos, got); err != nil {
			return err
		}
		if int(r.Len) != o.size(r.Number) || !bytes.Equal(got, content(r.Ref, r.Number, r.Epoch, len(got))) {
			h.t.Errorf("record %d of %v reads wrong", r.Number, o.ref)
		}
		return nil
	})
	return last, err
}

func (o *written) size(n ovs.RecordNo) int { return o.sizes[int(n)%len(o.sizes)] }

// round appends a record of each object, waits, and lets go of some. False: the log takes nothing any more.
func (h *history) round(l *Log, i int) bool {
	for _, o := range h.objects {
		if !o.halted && !h.append(l, o) {
			return false
		}
	}
	if !h.sync(l) {
		return false
	}
	for k, o := range h.objects {
		if o.halted || i%(2+k) != 0 {
			continue
		}
		h.mu.Lock()
		o.released = max(o.released, o.done-min(o.done, 1))
		h.mu.Unlock()
		l.Release(o.ref, o.released)
	}
	return true
}

func (h *history) append(l *Log, o *written) bool {
	n := o.size(o.next)
	r := &ovs.Record{Ref: o.ref, Epoch: o.epoch, Number: o.next, Kind: ovs.RecordWrite, Len: uint64(n), Urgent: o.urgent,
		Data: content(o.ref, o.next, o.epoch, n)}
	admitted := make(chan error, 2)
	r.Admitted = func(_ *ovs.Record, err error) { admitted <- err }
	if !l.Admit(r) {
		if err := <-admitted; err != nil {
			if h.lasting && ovs.Is(err, ovs.KindBusy) {
				return false // the log cannot grow, and there is no room in what it has
			}
			h.refused(l, fmt.Sprintf("Admit of record %d of %v", o.next, o.ref), err)
			return false
		}
	}
	h.mu.Lock()
	o.next++
	if !o.lazy {
		h.pending++
		o.awaited = append(o.awaited, r.Number)
		r.Done = func(r *ovs.Record, err error) { h.answered(l, o, r.Number, err) }
	}
	h.mu.Unlock()
	l.Append(r)
	if len(admitted) > 0 {
		h.t.Errorf("record %d of %v was admitted twice", r.Number, o.ref)
	}
	return true
}

func (h *history) answered(l *Log, o *written, number ovs.RecordNo, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending--
	if len(o.awaited) == 0 || o.awaited[0] != number {
		h.t.Errorf("record %d of %v is done, to come are %v", number, o.ref, o.awaited)
		return
	}
	o.awaited = o.awaited[1:]
	switch {
	case err != nil:
		o.failed = true
		h.refused(l, "Done", err)
	case o.failed:
		h.t.Errorf("record %d of %v is done after one that failed", number, o.ref)
	default:
		o.done = number
	}
}

// refused checks the error of a log that takes nothing any more.
func (h *history) refused(l *Log, what string, err error) {
	h.injected(what, err)
	if l.Failed() == nil {
		h.t.Errorf("%s: %v, but the log says that it is sound", what, err)
	}
}

// sync waits for all that was appended, and tells whether it is durable.
func (h *history) sync(l *Log) bool {
	result := make(chan error, 2)
	h.mu.Lock()
	upTo := make([]ovs.RecordNo, len(h.objects))
	for i, o := range h.objects {
		upTo[i] = o.next - 1
	}
	h.mu.Unlock()
	l.Sync(&ovs.LogSync{Done: func(_ *ovs.LogSync, err error) { result <- err }})
	err := <-result
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.refused(l, "Sync", err)
		return false
	}
	for i, o := range h.objects {
		if len(o.awaited) > 0 && slices.Min(o.awaited) <= upTo[i] {
			h.t.Errorf("a sync is done before record %d of %v", o.awaited[0], o.ref)
		}
		if !o.halted {
			o.done = upTo[i]
		}
	}
	return true
}
