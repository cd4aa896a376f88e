package volumedriver

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"ovs"
	"ovs/internal/unit"
)

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
		var loads errgroup.Group
		loads.SetLimit(8)
		for i := range items {
			loads.Go(func() error { return r.load(ctx, &items[i]) })
		}
		if err := loads.Wait(); err != nil {
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
	b := make([]byte, unit.Size)
	if _, err := r.d.cfg.Backend.Get(ctx, r.v.ns, name, 0, b); err != nil {
		return err
	}
	if n := frameLength(b, magicSCO); n > unit.Size && n <= maxUnits*unit.Size {
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
	r.v.m.apply(false, func(set func(c, n uint64, l Location)) {
		t.Runs.Each(func(c, n uint64, l Location) bool {
			set(c, n, l)
			return true
		})
	})
	r.stands = state{t.Last, t.Record, t.Size, t.Time}
	f := &r.v.flush
	f.tlogs, f.logged = append(f.tlogs, tlogName(t.First, t.Last, t.Epoch)), f.logged+t.Runs.Bytes()
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
	r.v.m.apply(false, func(set func(c, n uint64, l Location)) {
		for _, p := range part {
			p.each(set)
		}
	})
	r.stands = state{h.Number, h.Last, h.Size, h.Time}
	return nil, nil
}
