package volumedriver

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"ovs"
	"ovs/internal/settle"
)

// Recover implements ovs.Driver: it chooses the lineage (head), loads the newest root, adds TLogs and SCO headers, and
// replays the log after them. It changes nothing; the updates it gives close the epoch that served last.
func (d *Driver) Recover(ctx context.Context, c ovs.Claim) (ovs.Recovery, error) {
	const op = "volumedriver.Recover"
	raw, err := d.cfg.Registry.Get(ctx, ovs.HeadKey(c.Object))
	if err != nil {
		return ovs.Recovery{}, ovs.E(op, ovs.KindUnknown, c.Ref, err)
	}
	r := &recovery{v: d.newVolume(c), d: d, c: c, raw: raw}
	for _, step := range []func(context.Context) error{r.root, r.list, r.headers, r.replay} {
		if err := step(ctx); err != nil {
			r.v.abandon()
			return ovs.Recovery{}, ovs.E(op, ovs.KindUnknown, c.Ref, err)
		}
	}
	return ovs.Recovery{Close: r.close(), Object: r.v}, nil
}

// abandon ends a volume that never served.
func (v *volume) abandon() {
	v.stop()
	if v.tail != nil {
		v.tail.Close()
	}
	v.flush.end()
	v.m.close()
}

// recovery is one volume being brought back.
type recovery struct {
	v    *volume
	d    *Driver
	c    ovs.Claim
	raw  []byte
	head *head

	lineage lineage
	stands  state
	tlogs   map[ovs.SCONo][]named     // past the watermark, by first SCO
	scos    map[ovs.SCONo][]ovs.Epoch // past the watermark
	open    ovs.Epoch                 // the one epoch after the closed ones that added something; 0: none did
}

// named is a TLog that was listed.
type named struct {
	name string
	size int
	last ovs.SCONo
	e    ovs.Epoch
}

// root loads head, root and layer tables.
func (r *recovery) root(ctx context.Context) (err error) {
	if r.head, err = decodeHead(r.raw); err != nil {
		return err
	}
	h := r.head
	r.lineage = h.Closed
	if h.RootEpoch == 0 {
		return r.lineage.check()
	}
	name := rootName(h.RootSCO, h.RootEpoch)
	b, err := r.d.get(ctx, r.v.ns, name, int(h.RootLength))
	if err != nil {
		return err
	}
	o, err := decodeRoot(r.c.Ref, b)
	if err != nil {
		return err
	}
	if o.SCO != h.RootSCO || o.Epoch != h.RootEpoch || o.Record != h.Record {
		return corrupt("%s is not the root that the head names", name)
	}
	r.lineage = append(slices.Clone(o.Lineage), h.Closed...)
	r.stands = state{o.SCO, o.Record, o.Size, o.Time}
	for _, s := range o.Segments {
		r.v.m.stretches[s.Stretch] = newStretch(s)
		r.v.m.mapped.Add(int64(s.Mapped))
	}
	r.v.flush.layers, r.v.flush.live = o.Layers, o.Live
	for _, l := range o.Layers {
		b, err := r.d.get(ctx, r.v.ns, layerName(l.Slot, l.Epoch), int(l.Length))
		if err != nil {
			return err
		}
		if r.v.layers[l.Slot], err = decodeLayer(r.c.Ref, b); err != nil {
			return err
		}
	}
	if err := r.lineage.check(); err != nil {
		return err
	}
	if o.Epoch > r.lineage.last().Epoch {
		return r.opened(o.Epoch) // it made this root, and nobody has closed it
	}
	return nil
}

// list finds the TLogs and SCOs past the watermark, and which epoch after the closed ones added some.
func (r *recovery) list(ctx context.Context) error {
	r.tlogs, r.scos = map[ovs.SCONo][]named{}, map[ovs.SCONo][]ovs.Epoch{}
	mark := r.stands.SCO
	l, err := r.d.list(ctx, r.v.ns, "tlog/", fmt.Sprintf("tlog/%011x.", uint64(mark)))
	if err != nil {
		return err
	}
	for _, o := range l {
		n := named{name: o.Name, size: int(o.Size)}
		var first ovs.SCONo
		if parse(o.Name, "tlog/%x-%x-%x", &first, &n.last, &n.e) && first > mark && n.last >= first {
			r.tlogs[first] = append(r.tlogs[first], n)
		}
	}
	if l, err = r.d.list(ctx, r.v.ns, "sco/", fmt.Sprintf("sco/%011x.", uint64(mark))); err != nil {
		return err
	}
	for _, o := range l {
		var n ovs.SCONo
		var e ovs.Epoch
		if !parse(o.Name, "sco/%x-%x", &n, &e) || n <= mark {
			continue
		}
		r.scos[n] = append(r.scos[n], e)
		if closed := r.lineage.last(); n > closed.LastSCO && e > closed.Epoch {
			if err := r.opened(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// opened notes that epoch e, not closed, added something. Only one can have: each closes the one before it first.
func (r *recovery) opened(e ovs.Epoch) error {
	if e >= r.c.Epoch {
		return ovs.E("volumedriver.Recover", ovs.KindFenced, r.c.Ref, fmt.Errorf("epoch %d has begun", e))
	}
	if r.open != 0 && r.open != e {
		return corrupt("epochs %d and %d both wrote, and neither is closed", r.open, e)
	}
	r.open = e
	return nil
}

// replay brings back from the log what no SCO holds.
func (r *recovery) replay(ctx context.Context) error {
	r.v.serve(r.stands)
	closed := r.lineage.last()
	err := r.d.cfg.Log.Replay(r.c.Ref, r.stands.Record, func(rec *ovs.Record) error {
		if !r.lineage.counts(rec.Epoch, rec.Number) {
			return nil // past the end of its epoch, or another epoch's number: garbage
		}
		if rec.Number > closed.LastRecord {
			if err := r.opened(rec.Epoch); err != nil {
				return err
			}
		}
		return r.v.tail.Restore(rec)
	})
	if err != nil {
		return err
	}
	last, rest := r.v.tail.Last()
	if last < closed.LastRecord {
		return corrupt("the log ends at record %d; epoch %d ended at %d", last, closed.Epoch, closed.LastRecord)
	}
	if rest {
		return nil
	}
	return settle.Log(ctx, r.d.cfg.Log)
}

// close ends the epoch that served last, and makes the volume ready to serve when that is done.
func (r *recovery) close() []ovs.Update {
	f := &r.v.flush
	key, next := ovs.HeadKey(r.c.Object), *r.head
	last, _ := r.v.tail.Last()
	f.raw, f.opened = r.raw, state{SCO: r.stands.SCO, Record: last}
	update := ovs.Assert(key, r.raw)
	end := closedEpoch{r.open, r.stands.SCO, last}
	if r.open == 0 { // what the owner before sent out, a PUT or a record that waits for room, may be on its way yet: nobody's then
		end.Epoch = r.c.Epoch - 1
	}
	if end.Epoch > r.lineage.last().Epoch {
		if n, m := len(r.lineage), len(next.Closed); m > 0 && r.lineage.idle() {
			r.lineage, next.Closed = r.lineage[:n-1], next.Closed[:m-1]
		}
		r.lineage = append(slices.Clone(r.lineage), end)
		next.Closed = append(slices.Clone(next.Closed), end)
		live := r.v.tail.Live()
		next.Size, next.Time = live.Size, live.Time
		f.raw = next.encode()
		update = ovs.Set(key, f.raw) // the caller's change of the entry guards it; so it may be repeated
	}
	f.head, r.v.lineage = next, r.lineage
	f.garbage = r.garbage()
	return []ovs.Update{update}
}

// garbage is the SCOs past the watermark that are outside the lineage. They go once the volume serves.
func (r *recovery) garbage() (names []string) {
	for n, epochs := range r.scos {
		of, _ := r.lineage.epochOf(n)
		for _, e := range epochs {
			if e != of && e < r.c.Epoch {
				names = append(names, scoName(n, e))
			}
		}
	}
	sort.Strings(names)
	return names
}
