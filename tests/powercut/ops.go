package powercut

import (
	"fmt"
	"time"

	"ovs"
	"ovs/tests/oracle"
)

// Acks is what the operations of some histories were told.
type Acks struct {
	Stable        int `json:"stable"`        // writes
	Unstable      int `json:"unstable"`      // writes
	Committed     int `json:"committed"`     // unstable writes that a COMMIT made stable
	OtherVerifier int `json:"otherVerifier"` // unstable writes whose COMMIT told another verifier: they are not held to be there
	Names         int `json:"names"`         // operations on names
	Refused       int `json:"refused"`       // for want of space, on a disk that was made full
}

func (a *Acks) add(x *Acks) {
	a.Stable += x.Stable
	a.Unstable += x.Unstable
	a.Committed += x.Committed
	a.OtherVerifier += x.OtherVerifier
	a.Names += x.Names
	a.Refused += x.Refused
}

func (h *history) acked(f func(*Acks)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(&h.acks)
}

// again tells whether an operation is to be sent once more: the node asked for that (JUKEBOX).
func again(err error) bool { return err != nil && ovs.KindOf(err).NFS() == jukebox }

// jukebox is NFS3ERR_JUKEBOX: try the same again later (RFC 1813, section 2.6).
const jukebox = 10008

// pause lets a node breathe that said JUKEBOX; f runs after it.
func pause(f func()) { time.AfterFunc(3*time.Millisecond, f) }

// refused tells whether an operation found no space. It has done nothing then.
func refused(err error) bool { return ovs.Is(err, ovs.KindNoSpace) }

// step draws one operation and submits it.
func (h *history) step() {
	o := h.l.w.disks[h.rnd.IntN(len(h.l.w.disks))]
	switch n := h.rnd.IntN(1000); {
	case n < 400:
		h.write(o, ovs.FileSync, false)
	case n < 600:
		h.write(o, ovs.Unstable, false)
	case n < 630:
		h.write(o, ovs.FileSync, true)
	case n < 700:
		h.commit(o)
	case n < 820:
		h.read(o)
	case n < 860:
		h.resize(o)
	case n < 895:
		h.spare()
	case n < 980:
		h.names()
	case h.cramped: // neither could end before there is room
	case n < 993:
		h.flush()
	default:
		h.rest()
	}
}

// place draws sectors: mostly 4 KiB, often odd sectors, at times 64 KiB; a tenth of the object takes half of them.
func (h *history) place(o *object) (first, count int64) {
	switch n := h.rnd.IntN(10); {
	case n < 4:
		count = 8
	case n < 7:
		count = 1 + h.rnd.Int64N(24)
	case n < 9:
		count = 8 * (1 + h.rnd.Int64N(16))
	default:
		count = 1 + h.rnd.Int64N(128)
	}
	room := o.table.Sectors() - count
	if h.rnd.IntN(2) == 0 {
		room /= 10
	}
	first = h.rnd.Int64N(room + 1)
	if h.rnd.IntN(3) > 0 {
		first -= first % 8
	}
	return first, count
}

// write submits a WRITE; it is alone where it may change the size.
func (h *history) write(o *object, how ovs.Stability, zero bool) {
	first, count := h.place(o)
	h.writeAt(o, o, how, zero, first, count)
}

// writeAt submits a WRITE of an object, which stands under x among those that are busy.
func (h *history) writeAt(x any, o *object, how ovs.Stability, zero bool, first, count int64) {
	end := first + count
	if !h.enter(x, func() bool { return end > o.size() }) {
		return
	}
	grows := end > o.size() // it does not change meanwhile
	w := &ovs.Write{File: o.id, Off: uint64(first) * oracle.Sector, Data: make([]byte, count*oracle.Sector), Stable: how}
	var token oracle.Write
	h.l.tell(func() {
		if zero {
			token = o.table.BeginZero(first, count)
		} else {
			token = o.table.Begin(1, first, w.Data)
		}
		if how != ovs.Unstable {
			o.table.AskStable(token)
		}
		if grows {
			o.sizing(end)
		}
	})
	w.Done = func(w *ovs.Write) {
		if again(w.Err) && !h.l.gone() {
			pause(func() { h.send(w) })
			return
		}
		err := w.Err
		if err == nil && w.Committed < how {
			err = fmt.Errorf("asked for stability %d, got %d", how, w.Committed)
		}
		if err == nil {
			stable := w.Committed != ovs.Unstable
			h.acked(func(a *Acks) {
				if stable {
					a.Stable++
				} else {
					a.Unstable++
				}
			})
			h.l.tell(func() {
				o.table.Ack(token, stable, uint64(w.Verf))
				if grows {
					o.sized(end, !stable, uint64(w.Verf))
				} else if stable {
					o.wrote(end)
				}
				if !stable {
					o.unstable(uint64(w.Verf))
				}
			})
		}
		if refused(err) {
			h.l.tell(func() {
				o.table.Lost(token)
				if grows {
					o.unsized()
				}
			})
		}
		h.leave(x, fmt.Sprintf("WRITE of %s, sectors %d to %d", o.name, first, end), err)
	}
	h.send(w)
}

func (h *history) send(w *ovs.Write) {
	w.Request = request()
	h.l.fs.Write(w)
}

func (h *history) commit(o *object) {
	if !h.enter(o, never) {
		return
	}
	var token oracle.Commit
	c := &ovs.Commit{File: o.id}
	c.Done = func(c *ovs.Commit) {
		if again(c.Err) && !h.l.gone() {
			pause(func() { h.l.fs.Commit(c) })
			return
		}
		if c.Err == nil {
			h.l.tell(func() {
				kept, lost := o.committed(token, uint64(c.Verf))
				h.acked(func(a *Acks) { a.Committed, a.OtherVerifier = a.Committed+kept, a.OtherVerifier+lost })
			})
		}
		h.leave(o, "COMMIT of "+o.name, c.Err)
	}
	h.l.tell(func() { token = o.table.BeginCommit() })
	c.Request = request()
	h.l.fs.Commit(c)
}

func (h *history) read(o *object) {
	first, count := h.place(o)
	if !h.enter(o, never) {
		return
	}
	size := o.size()
	if count = min(count, size-first); count <= 0 {
		h.leave(o, "", nil)
		return
	}
	r := &ovs.Read{Request: request(), File: o.id, Off: uint64(first) * oracle.Sector, Dst: make([]byte, count*oracle.Sector)}
	token := o.table.BeginRead(first, count)
	finish := func(r *ovs.Read) {
		err := r.Err
		if eof := first+count == size; err == nil && (r.N != len(r.Dst) || r.EOF != eof) {
			err = fmt.Errorf("%d bytes of %d, end of file %v, the size is %d sectors", r.N, len(r.Dst), r.EOF, size)
		}
		if err == nil {
			h.l.tell(func() { err = o.table.EndRead(token, r.Dst) })
		}
		h.leave(o, fmt.Sprintf("READ of %s, sectors %d to %d", o.name, first, first+count), err)
	}
	r.Done = func(r *ovs.Read) {
		if again(r.Err) && !h.l.gone() {
			pause(func() { h.l.fs.Read(r) })
			return
		}
		finish(r)
	}
	if h.l.fs.TryRead(r) {
		finish(r)
		return
	}
	h.l.fs.Read(r)
}

// resize shrinks or grows an object.
func (h *history) resize(o *object) {
	to := h.rnd.Int64N(o.table.Sectors() + 1)
	if h.rnd.IntN(3) == 0 {
		to = o.table.Sectors()
	}
	h.block(o, fmt.Sprintf("SETATTR of %s, %d sectors", o.name, to), func() error {
		var token oracle.Write
		h.l.tell(func() {
			token = o.table.BeginZero(to, o.table.Sectors()-to)
			o.table.AskStable(token)
			o.sizing(to)
		})
		bytes := uint64(to) * oracle.Sector
		err := h.patiently(func(r *ovs.Request) error {
			_, err := h.l.fs.SetAttr(r, o.id, &ovs.SetAttr{Size: &bytes})
			return err
		})
		if err == nil {
			h.l.tell(func() {
				o.table.Ack(token, true, 0)
				o.sized(to, false, 0)
			})
		}
		if refused(err) {
			h.l.tell(func() {
				o.table.Lost(token)
				o.unsized()
			})
		}
		return err
	})
}

// block runs what may block, alone on x, in a goroutine of its own; wait and answered wait for it.
func (h *history) block(x any, what string, f func() error) {
	if h.enter(x, always) {
		go func() { h.leave(x, what, f()) }()
	}
}

func (h *history) patiently(f func(r *ovs.Request) error) error {
	for {
		r := request()
		err := f(&r)
		if !again(err) || h.l.gone() {
			return err
		}
		time.Sleep(3 * time.Millisecond) // the node asked for it
	}
}
