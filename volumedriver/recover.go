package volumedriver

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"ovs"
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
		r.v.m.mapped += int64(s.Mapped)
	}
	r.v.flush.layers = o.Layers
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

// item is a TLog or an SCO header on the way up.
type item struct {
	t    *named
	n    ovs.SCONo // an SCO's number, or the TLog's first
	e    ovs.Epoch
	tlog *tlog
	sco  *header
}

// headers adds TLogs and SCO headers to the map: the contiguous prefix of SCOs, up to the end of an interval.
func (r *recovery) headers(ctx context.Context) error {
	next := r.stands.SCO + 1
	var part []*header // of an interval whose last SCO has not come yet
	for {
		items, err := r.plan(ctx, next)
		if err != nil {
			return err
		}
		if len(items) == 0 {
			break
		}
		if err := parallel(len(items), 8, func(i int) error { return r.load(ctx, &items[i]) }); err != nil {
			return err
		}
		for _, x := range items {
			if x.tlog != nil {
				r.addTLog(x.tlog)
				next = x.tlog.Last + 1
				continue
			}
			if part, err = r.addHeader(part, x.sco); err != nil {
				return err
			}
			next = x.n + 1
		}
	}
	if closed := r.lineage.last(); r.stands.SCO < closed.LastSCO {
		return corrupt("SCO %d is missing; epoch %d ended at %d", next, closed.Epoch, closed.LastSCO)
	}
	return nil
}

// planned is how many TLogs and headers are read in one go.
const planned = 64

// plan names what comes next, as far as it stands without a gap, a batch at a time.
func (r *recovery) plan(ctx context.Context, next ovs.SCONo) (items []item, err error) {
	for len(items) < planned {
		e, closed := r.lineage.epochOf(next)
		if !closed {
			e = r.open
		}
		if t := r.tlog(next, e); t != nil && (len(items) == 0 || items[len(items)-1].t != nil) {
			items = append(items, item{t: t, n: next, e: e})
			next = t.last + 1
			continue
		} else if t != nil {
			return items, nil // it begins the next batch, when the headers before it are in
		}
		there := slices.Contains(r.scos[next], e)
		if !there {
			if there, err = r.probe(ctx, next, e); err != nil {
				return nil, err
			}
		}
		if !there {
			return items, nil
		}
		items = append(items, item{n: next, e: e})
		next++
	}
	return items, nil
}

// tlog is the longest TLog that begins at an SCO and is all of its epoch's.
func (r *recovery) tlog(first ovs.SCONo, e ovs.Epoch) (best *named) {
	for i := range r.tlogs[first] {
		t := &r.tlogs[first][i]
		of, closed := r.lineage.epochOf(t.last)
		if !closed {
			of = r.open
		}
		if t.e == e && of == e && (best == nil || t.last > best.last) {
			best = t
		}
	}
	return best
}

// probe asks for the next SCO by its name: a listing may be older than its answer. Without an epoch to ask for, the one
// before this start's is the likeliest.
func (r *recovery) probe(ctx context.Context, n ovs.SCONo, e ovs.Epoch) (bool, error) {
	guess := e == 0
	if guess {
		if e = r.c.Epoch - 1; e <= r.lineage.last().Epoch {
			return false, nil
		}
	}
	_, err := r.d.cfg.Backend.Get(ctx, r.v.ns, scoName(n, e), 0, make([]byte, 1))
	if ovs.Is(err, ovs.KindNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.scos[n] = append(r.scos[n], e)
	if guess {
		return true, r.opened(e)
	}
	return true, nil
}

// load reads one TLog or header.
func (r *recovery) load(ctx context.Context, x *item) error {
	if x.e == 0 {
		x.e = r.open
	}
	if x.t != nil {
		b, err := r.d.get(ctx, r.v.ns, x.t.name, x.t.size)
		if err != nil {
			return err
		}
		if x.tlog, err = decodeTLog(r.c.Ref, b); err != nil {
			return err
		}
		if x.tlog.First != x.n || x.tlog.Last != x.t.last || x.tlog.Epoch != x.e {
			return corrupt("%s holds another TLog", x.t.name)
		}
		return nil
	}
	name := scoName(x.n, x.e)
	b := make([]byte, unitSize)
	if _, err := r.d.cfg.Backend.Get(ctx, r.v.ns, name, 0, b); err != nil {
		return err
	}
	if n := frameLength(b, magicSCO); n > unitSize && n <= maxUnits*unitSize {
		var err error
		if b, err = r.d.get(ctx, r.v.ns, name, n); err != nil {
			return err
		}
	}
	h, err := decodeHeader(r.c.Ref, b)
	if err != nil {
		return err
	}
	if h.Number != x.n || h.Epoch != x.e {
		return corrupt("%s holds another SCO", name)
	}
	x.sco = h
	return nil
}

func (r *recovery) addTLog(t *tlog) {
	r.v.m.apply(func(set func(c, n uint64, l Location)) {
		t.Runs.Each(func(c, n uint64, l Location) bool {
			set(c, n, l)
			return true
		})
	})
	r.stands = state{t.Last, t.Record, t.Size, t.Time}
	r.v.flush.tlogs = append(r.v.flush.tlogs, tlogName(t.First, t.Last, t.Epoch))
}

// addHeader adds the next header to its interval, and the interval to the map when it is complete.
func (r *recovery) addHeader(part []*header, h *header) ([]*header, error) {
	before, ok := r.lineage.epochOf(h.Number - 1)
	if !ok {
		before = r.open
	}
	if h.Number == 1 {
		before = 0
	}
	if h.First != r.stands.Record+1 || int(h.Part) != len(part) || h.Before != before || len(part) > 0 && part[0].Last != h.Last {
		return nil, corrupt("SCO %d (records %d to %d, part %d) does not follow record %d, part %d", h.Number, h.First, h.Last, h.Part, r.stands.Record, len(part))
	}
	part = append(part, h)
	if !h.Final {
		return part, nil
	}
	r.v.m.apply(func(set func(c, n uint64, l Location)) {
		for _, p := range part {
			p.each(set)
		}
	})
	r.stands = state{h.Number, h.Last, h.Size, h.Time}
	return nil, nil
}

// replay brings back from the log what no SCO holds.
func (r *recovery) replay(context.Context) error {
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
	if last, _ := r.v.tail.Last(); last < closed.LastRecord {
		return corrupt("the log ends at record %d; epoch %d ended at %d", last, closed.Epoch, closed.LastRecord)
	}
	return nil
}

// close ends the epoch that served last, and makes the volume ready to serve when that is done.
func (r *recovery) close() []ovs.Update {
	f := &r.v.flush
	key, next := ovs.HeadKey(r.c.Object), *r.head
	last, _ := r.v.tail.Last()
	f.raw, f.opened = r.raw, state{SCO: r.stands.SCO, Record: last}
	update := ovs.Assert(key, r.raw)
	if r.open != 0 {
		end := closedEpoch{r.open, r.stands.SCO, last}
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
