package volumedriver

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"ovs"
	"ovs/internal/planted"
	"ovs/internal/settle"
)

// mostTLogBytes is the bytes in TLogs since the root that call for a checkpoint, beside their number and a heavy delta.
const mostTLogBytes = 64 << 20

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// due tells what the flusher should do beside SCOs. gate is held.
func (v *volume) due() bool { return v.dueTLog() || v.dueCheckpoint() }

func (v *volume) dueTLog() bool {
	f := &v.flush
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stands.SCO >= f.firstPending+ovs.SCONo(v.d.cfg.TLogSCOs)-1
}

// dueCheckpoint: also when as much was put since the root as the volume holds, and a TLog's worth, for so much may be dead.
func (v *volume) dueCheckpoint() bool {
	v.m.mu.RLock()
	delta := v.m.bytes
	v.m.mu.RUnlock()
	f := &v.flush
	f.mu.Lock()
	put := int64(f.stands.SCO - f.head.RootSCO)
	f.mu.Unlock()
	if put >= int64(v.d.cfg.TLogSCOs) && put*int64(v.d.clusters) >= v.m.mapped.Load() {
		return true
	}
	return delta > 0 && v.d.cfg.Budget.heavy(delta) || len(v.flush.tlogs) >= v.d.cfg.MostTLogs || v.flush.logged >= mostTLogBytes
}

// maintain does what is due: garbage, a TLog, a checkpoint. gate is held.
func (v *volume) maintain() error {
	v.collect()
	if !v.due() {
		return nil
	}
	if err := v.drain(v.ctx); err != nil {
		return err
	}
	if v.dueTLog() && !v.dueCheckpoint() { // it would go again at once
		if err := v.putTLog(); err != nil {
			return err
		}
	}
	if !v.dueCheckpoint() {
		return nil
	}
	return v.checkpoint()
}

// putTLog merges the headers of the SCOs since the last TLog into one: all of them stand. Nothing is being put.
func (v *volume) putTLog() error {
	f := &v.flush
	s := f.stands
	t := &tlog{First: f.firstPending, Last: s.SCO, Epoch: v.claim.Epoch, Record: s.Record, Size: s.Size, Time: s.Time, Runs: v.m.pending}
	name, body := tlogName(t.First, t.Last, t.Epoch), t.encode(v.claim.Ref)
	if err := v.store(v.ctx, name, body, ovs.PutOptions{Unit: ovs.ClusterSize, Compress: true}); err != nil {
		return err
	}
	f.tlogs, f.logged, f.firstPending = append(f.tlogs, name), f.logged+int64(len(body)), t.Last+1
	v.m.logged()
	return nil
}

// checkpoint makes a root of what stands and swings the head to it. Nothing is being put; reads go on.
func (v *volume) checkpoint() error {
	f := &v.flush
	s := f.stands
	if s.SCO == f.head.RootSCO && f.head.RootEpoch != 0 {
		return nil
	}
	next, merged, err := v.makeRoot(v.ctx, s)
	if err != nil {
		return err
	}
	obsolete := f.tlogs
	if f.head.RootEpoch != 0 {
		obsolete = append(obsolete, rootName(f.head.RootSCO, f.head.RootEpoch))
	}
	if f.live != 0 {
		obsolete = append(obsolete, liveName(f.head.RootSCO, f.head.RootEpoch))
	}
	obsolete = append(obsolete, v.deadNames(merged.live)...)
	if planted.DeleteFirst {
		_ = v.d.delete(v.ctx, v.ns, obsolete)
	}
	if err := v.swing(next); err != nil {
		return err
	}
	for _, st := range v.m.replace(merged.stretches) {
		v.m.budget.drop(st)
		obsolete = append(obsolete, st.ref.name())
	}
	for i, st := range merged.stretches {
		if st != nil {
			v.m.budget.admit(st, merged.segments[i])
		}
	}
	f.tlogs, f.logged, f.firstPending, f.live = nil, 0, s.SCO+1, merged.liveLength
	f.garbage = append(f.garbage, obsolete...)
	f.cleared = v.collect() && f.live != 0
	return nil
}

// mergedMap is what a checkpoint has made of the stretches that the delta touches; nil where nothing is mapped any more.
type mergedMap struct {
	mu        sync.Mutex
	stretches map[uint32]*stretch
	segments  map[uint32]*segment
	live      *live

	liveLength uint32 // of what was put of them, in bytes
}

// makeRoot puts the segments that the delta changes, and a root over all, and gives the head that names it. What it puts
// follows from state, delta and the root before alone: a retry puts the same.
func (v *volume) makeRoot(ctx context.Context, s state) (*head, *mergedMap, error) {
	m := &mergedMap{stretches: map[uint32]*stretch{}, segments: map[uint32]*segment{}}
	var err error
	if m.live, err = v.liveBefore(ctx); err != nil {
		return nil, nil, err
	}
	if v.flush.cleared {
		m.live.forgetDead()
	}
	for n := v.flush.head.RootSCO + 1; n <= s.SCO; n++ {
		m.live.stands(n)
	}
	var merges errgroup.Group
	merges.SetLimit(4)
	for _, i := range v.m.touched() {
		merges.Go(func() error { return v.makeSegment(ctx, i, s.SCO, m) })
	}
	if err := merges.Wait(); err != nil {
		return nil, nil, err
	}
	o := &root{SCO: s.SCO, Epoch: v.claim.Epoch, Record: s.Record, Size: s.Size, Time: s.Time,
		Lineage: v.lineage.trim(s.Record), Layers: v.flush.layers}
	v.m.mu.RLock()
	all := maps.Clone(v.m.stretches)
	v.m.mu.RUnlock()
	maps.Copy(all, m.stretches)
	for _, i := range sortedKeys(all) {
		if st := all[i]; st != nil {
			o.Segments = append(o.Segments, st.ref)
		}
	}
	if o.Live, err = v.putLive(ctx, o, m); err != nil {
		return nil, nil, err
	}
	m.liveLength = o.Live
	body := o.encode(v.claim.Ref)
	next := &head{RootSCO: o.SCO, RootEpoch: o.Epoch, RootLength: uint32(len(body)), Record: o.Record, Size: o.Size, Time: o.Time}
	if planted.HeadFirst {
		if err := v.swing(next); err != nil {
			return nil, nil, err
		}
	}
	if err := v.store(ctx, rootName(o.SCO, o.Epoch), body, ovs.PutOptions{Unit: ovs.ClusterSize, Compress: true}); err != nil {
		return nil, nil, err
	}
	return next, m, nil
}

// putLive puts the counts that go with a root, and gives their length. Those that do not fit the map are left out: the next
// checkpoint counts it.
func (v *volume) putLive(ctx context.Context, o *root, m *mergedMap) (uint32, error) {
	if m.live.wrong {
		v.zap.Error("the counts of SCOs do not fit the map: no SCO is deleted until it has been counted anew")
		return 0, nil
	}
	body := m.live.encode(v.claim.Ref)
	err := v.store(ctx, liveName(o.SCO, o.Epoch), body, ovs.PutOptions{Unit: ovs.ClusterSize, Compress: true})
	return uint32(len(body)), err
}

// makeSegment merges one stretch and puts it.
func (v *volume) makeSegment(ctx context.Context, i uint32, watermark ovs.SCONo, m *mergedMap) error {
	v.m.mu.RLock()
	was := v.m.stretches[i]
	v.m.mu.RUnlock()
	var old *segment
	if was != nil {
		if old = was.seg.Load(); old == nil {
			err := v.insist(ctx, "a segment of the map cannot be read", func() (err error) {
				old, err = v.fetchSegment(ctx, was)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	type move struct {
		l        Location
		clusters int
	}
	var moves []move
	seg := v.m.merge(i, old, func(l Location, clusters int) { moves = append(moves, move{l, clusters}) })
	var st *stretch
	if seg != nil {
		st = newStretch(segmentRef{Stretch: i, SCO: watermark, Epoch: v.claim.Epoch, Runs: uint32(len(seg.starts)), Mapped: seg.mapped})
		put := func() error {
			return v.store(ctx, st.ref.name(), seg.encode(v.claim.Ref, i), ovs.PutOptions{Unit: ovs.ClusterSize, Compress: true})
		}
		if planted.SegmentsLast {
			v.flush.wg.Go(func() { _ = put() })
		} else if err := put(); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stretches[i], m.segments[i] = st, seg
	for _, x := range moves {
		m.live.move(x.l, x.clusters)
	}
	return nil
}

// fetchSegment reads a stretch's segment from the backend.
func (v *volume) fetchSegment(ctx context.Context, st *stretch) (*segment, error) {
	once, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	b, err := v.d.get(once, v.ns, st.ref.name(), segmentLength(st.ref.Runs))
	if err != nil {
		return nil, ovs.E("volumedriver.fetchSegment", ovs.KindUnknown, v.ns, err)
	}
	return decodeSegment(v.claim.Ref, st.ref.Stretch, b)
}

// swing makes next the head. KindFenced: another owner is in charge.
func (v *volume) swing(next *head) error {
	f, raw := &v.flush, next.encode()
	err := v.insist(v.ctx, "the head cannot be set", func() error {
		ctx, cancel := context.WithTimeout(v.ctx, ioTimeout)
		defer cancel()
		return settle.Swing(ctx, v.d.cfg.Registry, &v.claim, f.raw, raw)
	})
	if err == nil {
		f.raw, f.head = raw, *next
	}
	return err
}

// Rest implements ovs.Object.
func (v *volume) Rest(ctx context.Context, shut func() error) ([]ovs.Update, error) {
	const op = "volumedriver.Rest"
	if err := v.Flush(ctx); err != nil {
		return nil, err
	}
	f := &v.flush
	select {
	case f.gate <- struct{}{}:
	case <-ctx.Done():
		return nil, ovs.E(op, ovs.KindTimeout, v.claim.Ref, ctx.Err())
	}
	defer func() { <-f.gate }()
	if err := v.drain(ctx); err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, v.claim.Ref, err)
	}
	if _, rest := v.tail.Last(); !rest {
		return nil, ovs.E(op, ovs.KindBusy, v.claim.Ref, nil)
	}
	s, next := f.stands, f.head // they stay: the flusher waits
	next.Closed = slices.Clone(next.Closed)
	if s.SCO > next.RootSCO {
		made, _, err := v.makeRoot(ctx, s)
		if err != nil {
			return nil, ovs.E(op, ovs.KindUnknown, v.claim.Ref, err)
		}
		next = *made
	}
	if err := shut(); err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, v.claim.Ref, err)
	}
	if !v.tail.Freeze() {
		return nil, ovs.E(op, ovs.KindBusy, v.claim.Ref, nil)
	}
	f.mu.Lock()
	f.ended = true // what is due may stay due: from here on the updates below are the only change
	f.mu.Unlock()
	if s.SCO > f.opened.SCO || s.Record > f.opened.Record {
		next.Closed = append(next.Closed, closedEpoch{v.claim.Epoch, s.SCO, s.Record})
	}
	next.Size, next.Time = s.Size, s.Time
	return []ovs.Update{ovs.Set(ovs.HeadKey(v.claim.Object), next.encode())}, nil // guarded by the caller's change of the entry
}

// collect deletes what nothing reaches, and tells whether all of it went. What cannot be deleted now is found by the sweep of a later
// epoch; dead SCOs by the next checkpoint.
func (v *volume) collect() bool {
	f := &v.flush
	if !f.swept && f.head.RootEpoch == v.claim.Epoch {
		f.swept = true
		v.sweep()
	}
	if len(f.garbage) == 0 {
		return true
	}
	names := f.garbage
	f.garbage = nil
	err := v.d.delete(v.ctx, v.ns, names)
	if err != nil {
		v.zap.Info("garbage stays for now", zap.Int("objects", len(names)), zap.Error(err))
	}
	return err == nil
}

// sweep finds what earlier epochs left behind: roots, segments, TLogs and layer tables that the new root does not reach.
func (v *volume) sweep() {
	ctx, cancel := context.WithTimeout(v.ctx, ioTimeout)
	defer cancel()
	reached := map[string]bool{}
	v.m.mu.RLock()
	for _, st := range v.m.stretches {
		reached[st.ref.name()] = true
	}
	v.m.mu.RUnlock()
	for _, l := range v.flush.layers {
		reached[layerName(l.Slot, l.Epoch)] = true
	}
	for _, prefix := range []string{"root/", "seg/", "tlog/", "layer/", "live/"} {
		l, err := v.d.list(ctx, v.ns, prefix, "")
		if err != nil {
			v.zap.Info("leftovers stay for now", zap.Error(err))
			return
		}
		for _, o := range l {
			if e := epochIn(o.Name); !reached[o.Name] && e != 0 && e < v.claim.Epoch {
				v.flush.garbage = append(v.flush.garbage, o.Name)
			}
		}
	}
}
