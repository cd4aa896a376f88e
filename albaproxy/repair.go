package albaproxy

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"slices"

	"go.uber.org/zap"

	"ovs"
	"ovs/albaproxy/asd"
)

// repairOne completes one object: it reads and checks all fragments, makes those that are missing or wrong, or moves the
// object to a better policy if one can be met in full, and takes its entry off the queue once all stand. What it wrote
// counts only after it was read back.
func (p *Proxy) repairOne(ctx context.Context, g *group, s space, name string, entry ovs.Pair) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	key := objectKey(keyManifest, s.id, name)
	old, err := g.reg.Get(ctx, key)
	if ovs.Is(err, ovs.KindNotFound) {
		_, err = g.reg.Sequence(ctx, ovs.AssertAbsent(key), ovs.TestAndSet(entry.Key, entry.Value, nil))
		return ignoreConflict(err)
	}
	if err != nil {
		return err
	}
	m, err := decodeManifest(old)
	if err != nil {
		return err
	}
	r := &reader{p: p, ctx: ctx, space: s, name: name, manifest: m, patience: callTime}
	w := &work{r: r, g: g, entry: entry, old: old}
	if err := w.plan(); err != nil {
		return err
	}
	switch {
	case w.settled:
		_, err = g.reg.Sequence(ctx, ovs.Assert(key, old), w.unqueue(m))
	case w.stored != nil:
		err = w.remake()
	case w.bad == w.missing && entry.Value[0] == repairSuspect: // it is known now what is wrong
		_, err = g.reg.Sequence(ctx, ovs.Assert(key, old), ovs.TestAndSet(entry.Key, entry.Value, []byte{repairIncomplete}))
	}
	return ignoreConflict(err)
}

func ignoreConflict(err error) error {
	if ovs.Is(err, ovs.KindConflict) {
		return nil // something changed meanwhile: the next pass sees it
	}
	return err
}

// work is the repair of one object.
type work struct {
	r     *reader
	g     *group
	entry ovs.Pair // in the queue
	old   []byte   // the manifest as it was read

	placement        // disks: for each fragment the one for a new fragment; nil: the old one is good, or no disk is to be had
	keep      bool   // the object keeps its policy, and its good fragments
	bad       int    // fragments that are missing or wrong; all where the policy changes
	missing   int    // those of them without an ASD in use
	settled   bool   // nothing is left to do
	stored    []byte // the stored stream, checked
}

// plan decides what is to be done, and reads the object where that may be something.
func (w *work) plan() error {
	r, p := w.r, w.r.p
	spare, _, err := p.candidates(r.ctx, true)
	if err != nil {
		return err
	}
	if err := w.policy(); err != nil {
		return err
	}
	if w.keep && w.entry.Value[0] == repairIncomplete && !w.hopeful(spare) {
		return nil
	}
	taken, err := p.budget.take(r.ctx, int64(bufferSize(r.sizeAll())+r.stored))
	if err != nil {
		return err
	}
	defer p.budget.put(taken)
	st := r.newStripe(0, r.rows())
	defer st.release()
	good := r.check(st)
	if w.keep {
		w.fillGaps(good, spare)
	}
	if w.settled = w.bad == 0; w.settled || !slices.ContainsFunc(w.disks, func(d *disk) bool { return d != nil }) {
		return nil
	}
	w.stored, err = r.whole(st)
	return err
}

// policy chooses a better one that can be met in full, or keeps the object's own.
func (w *work) policy() error {
	r, p := w.r, w.r.p
	list, _, err := p.candidates(r.ctx, false)
	if err != nil {
		return err
	}
	for rank, policy := range p.cfg.Presets {
		n := policy.K + policy.M
		if policy.K == r.k && policy.M == r.m {
			w.keep, w.placement = true, placement{Policy: policy, rank: rank, disks: make([]*disk, n)}
			return nil
		}
		if found := spread(list, n, policy.X, nil); len(found) == n {
			w.placement, w.bad = placement{Policy: policy, rank: rank, disks: found}, n
			return nil
		}
	}
	// A policy that the preset no longer has.
	w.keep, w.placement = true, placement{Policy: Policy{K: r.k, M: r.m, X: maxFragments}, rank: len(p.cfg.Presets), disks: make([]*disk, r.n())}
	return nil
}

// hopeful tells whether reading an incomplete object may help: a fragment is missing and there is a disk for it, or none is
// missing any more.
func (w *work) hopeful(spare []*disk) bool {
	holds, missing := map[uint64]bool{}, false
	for _, f := range w.r.fragments {
		holds[f.disk] = true
		missing = missing || w.r.p.byID[f.disk] == nil
	}
	if !missing {
		return w.r.p.complete(w.r.manifest)
	}
	return slices.ContainsFunc(spare, func(d *disk) bool { return !holds[d.id] })
}

// unqueue is the update of the queue once all fragments of m are good.
func (w *work) unqueue(m *manifest) ovs.Update {
	if w.r.p.complete(m) {
		return ovs.TestAndSet(w.entry.Key, w.entry.Value, nil)
	}
	return ovs.TestAndSet(w.entry.Key, w.entry.Value, []byte{repairIncomplete})
}

// fillGaps counts the fragments that are not good, and finds disks for new ones.
func (w *work) fillGaps(good []bool, spare []*disk) {
	holds, have := map[uint64]bool{}, map[ovs.NodeID]int{}
	for i, f := range w.r.fragments {
		switch d := w.r.p.byID[f.disk]; {
		case good[i]:
			holds[f.disk] = true
			have[d.node]++
		case d == nil:
			w.missing++
			fallthrough
		default:
			w.bad++
		}
	}
	spare = slices.DeleteFunc(slices.Clone(spare), func(d *disk) bool { return holds[d.id] })
	found := spread(spare, w.bad, w.X, have)
	for i := range w.disks {
		if !good[i] && len(found) > 0 {
			w.disks[i], found = found[0], found[1:]
		}
	}
}

// check reads all fragments, headers too, and tells which are good in full.
func (r *reader) check(st *stripe) []bool {
	var list []int
	for i, f := range r.fragments {
		if f.disk != 0 {
			list = append(list, i)
		}
	}
	st.loadAll(list)
	good := make([]bool, r.n())
	for _, i := range list {
		d := r.p.byID[r.fragments[i].disk]
		if d == nil || slices.Contains(st.right[i], false) {
			continue
		}
		var b [headerSize]byte
		if n, err := r.get(d, r.key(r.space.id, i), 0, b[:]); err != nil || n < headerSize {
			continue
		}
		h, err := decodeHeader(b[:])
		good[i] = err == nil && h.key == r.key(r.space.id, i) && h.checksum == r.checksum
	}
	return good
}

func everyRow(uint64) bool { return true }

// whole makes the stored stream from a stripe of all rows, and checks it against the object's checksum.
func (r *reader) whole(st *stripe) ([]byte, error) {
	if st.poor(everyRow) {
		return nil, st.fault()
	}
	if err := st.solve(everyRow); err != nil {
		return nil, err
	}
	stored := make([]byte, r.stored)
	for i := range r.k {
		for row := range r.rowsIn(i) {
			r.copyUnit(i, row, st.units[i][row*r.stride():], 0, stored)
		}
	}
	if sum, ok := r.sum(stored); !ok || sum != r.checksum {
		return nil, ovs.E("albaproxy.repair", ovs.KindCorrupt, r.name, errWhole)
	}
	return stored, nil
}

// sum is the checksum of the object in a stored stream.
func (r *reader) sum(stored []byte) (sum uint32, ok bool) {
	if r.codec == codecPlain {
		return checksum(stored), true
	}
	raw := r.p.buffers.get(blockSize)
	defer raw.release()
	for i := range r.table {
		b := &r.table[i]
		dst := raw.b[:min(blockSize, r.size-uint64(i)*blockSize)]
		if !b.unpack(dst, stored[b.offset:][:b.stored]) {
			return 0, false
		}
		sum = crc32.Update(sum, castagnoli, dst)
	}
	return sum, true
}

// remake writes the new fragments, reads them back, and puts them into the manifest.
func (w *work) remake() error {
	r, p, ctx := w.r, w.r.p, w.r.ctx
	c := &content{space: r.space, name: r.name, size: r.size, checksum: r.checksum, codec: r.codec, stored: w.stored, own: true, table: r.table, unit: r.unit}
	taken, err := p.budget.take(ctx, c.memory(w.Policy))
	if err != nil {
		return err
	}
	defer p.budget.put(taken)
	e, key, err := p.prepare(ctx, w.g, c, w.K, w.M)
	if err != nil {
		return err
	}
	defer e.release()
	enough := 1
	if !w.keep {
		enough = e.n()
	}
	stored, err := p.write(ctx, c, e, key, w.disks, enough, w.keep)
	if err == nil {
		stored, err = p.readBack(ctx, e, key, stored, enough)
	}
	if err != nil {
		p.discard(e, key, stored)
		return err
	}
	var failed *ovs.AssertError
	if err = w.swing(e.layout, key, stored); errors.As(err, &failed) {
		p.discard(e, key, stored) // else the outcome is unknown: the fragments are the manifest's or the collector's
	}
	return err
}

// readBack keeps those fragments that their disks give back as they were written.
func (p *Proxy) readBack(ctx context.Context, e *encoded, key asd.Key, stored []written, enough int) ([]written, error) {
	var right, wrong []written
	for _, w := range stored {
		k := key
		k.Index = uint8(w.index)
		want := e.fragments[w.index]
		buf := p.buffers.get(uint64(len(want)) + 1)
		n, err := w.disk.Get(ctx, k, 0, buf.b)
		if err == nil && bytes.Equal(buf.b[:n], want) {
			right = append(right, w)
		} else {
			wrong = append(wrong, w)
			p.log.Error("ASD does not give back what was written to it", zap.Uint64("asd", w.disk.id), zap.Stringer("key", k), zap.Error(err))
		}
		if err == nil { // else the call may still write to it
			buf.release()
		}
	}
	p.discard(e, key, wrong)
	if len(right) < enough {
		return right, ovs.E("albaproxy.repair", ovs.KindIO, nil, errors.New("the new fragments do not read back"))
	}
	return right, nil
}

// swing replaces the manifest by one with the new fragments, and queues those that it no longer names.
func (w *work) swing(l layout, key asd.Key, stored []written) error {
	r := w.r
	m := *r.manifest
	m.layout, m.fragments = l, make([]place, l.n())
	if w.keep {
		copy(m.fragments, r.fragments)
	}
	for _, f := range stored {
		m.fragments[f.index] = place{disk: f.disk.id, epoch: key.Epoch, attempt: key.Attempt}
	}
	var gone []dropped
	for i, f := range r.fragments {
		if f.disk != 0 && (!w.keep || m.fragments[i] != f) {
			gone = append(gone, dropped{f.disk, r.key(r.space.id, i)})
		}
	}
	updates := []ovs.Update{
		ovs.Assert(idKey(keyEpoch, r.space.id), epochValue(key.Epoch)),
		ovs.TestAndSet(objectKey(keyManifest, r.space.id, r.name), w.old, m.encode()),
	}
	if len(gone) > 0 {
		updates = append(updates, discardUpdate(r.space.id, 0, gone))
	}
	if w.bad == len(stored) {
		updates = append(updates, w.unqueue(&m))
	}
	_, err := w.g.reg.Sequence(r.ctx, updates...)
	if err == nil {
		r.p.stats.repaired.Add(1)
	}
	return err
}
