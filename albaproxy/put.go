package albaproxy

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/pace"
)

// slack is how long a Put waits for its last fragments once enough of them stand.
const slack = 200 * time.Millisecond

// putTries bounds how often a Put begins again: disks failed, or the GC epoch was raised.
const putTries = 4

// Put implements ovs.Backend.
func (p *Proxy) Put(ctx context.Context, ns, name string, data []byte, o ovs.PutOptions) (full bool, err error) {
	const op = "albaproxy.Put"
	if err := ovs.CheckBackendName(op, name); err != nil {
		return false, err
	}
	if o.Unit == 0 {
		o.Unit = ovs.ClusterSize
	}
	if o.Unit < minUnit || o.Unit > maxUnit {
		return false, ovs.E(op, ovs.KindInvalid, name, errors.New("unit is not from 512 to 65,536 bytes"))
	}
	if len(data) > MaxObject {
		return false, ovs.E(op, ovs.KindTooBig, name, nil)
	}
	if err := p.begin(ctx, op); err != nil {
		return false, err
	}
	defer p.running.Done()
	s, g, err := p.space(ctx, op, ns)
	if err != nil {
		return false, err
	}
	c := &content{space: s, name: name, size: uint64(len(data)), stored: data, unit: o.Unit, work: pace.Work{Hurry: o.Hurry}}
	c.checksum = longChecksum(data, &c.work)
	if old, ok := g.manifests.peek(s.manifests + name); ok {
		return p.existing(c, old)
	}
	if o.Compress {
		c.codec, c.raw, c.stored, c.own = codecBlocks, data, nil, true
	}
	for try := 1; ; try++ {
		full, err = p.attempt(ctx, g, c)
		if err == nil || !errors.Is(err, errAgain) || try == putTries {
			break
		}
	}
	if err != nil {
		return false, ovs.E(op, ovs.KindUnknown, ns+"/"+name, err)
	}
	return full, nil
}

// errAgain is in the error of an attempt that may go well if it is begun again.
var errAgain = errors.New("worth another attempt")

// existing is the answer where a manifest is there already: success for the same content.
func (p *Proxy) existing(c *content, old *manifest) (full bool, err error) {
	if !old.same(c.size, c.checksum) {
		return false, ovs.E("albaproxy.Put", ovs.KindConflict, c.space.name+"/"+c.name, errors.New("the name holds other content"))
	}
	return p.complete(old), nil
}

// complete tells whether all fragments of the first preset stand.
func (p *Proxy) complete(m *manifest) bool {
	best := p.cfg.Presets[0]
	return m.k == best.K && m.m == best.M && m.standing() == m.n()
}

// attempt writes the object's fragments under a new name and then its manifest.
func (p *Proxy) attempt(ctx context.Context, g *group, c *content) (full bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	taken, err := p.budget.take(ctx, c.memory(p.cfg.Presets...))
	if err != nil {
		return false, err
	}
	defer p.budget.put(taken)
	pl, err := p.choose(ctx) // after the wait, so that no disk is chosen that began to hang meanwhile
	if err != nil {
		return false, err
	}
	e, key, err := p.prepare(ctx, g, c, pl.K, pl.M)
	if err != nil {
		return false, err
	}
	defer e.release()
	m := &manifest{size: c.size, checksum: c.checksum, codec: c.codec, layout: e.layout, table: c.table, fragments: make([]place, e.n())}
	stored, err := p.write(ctx, c, e, key, pl.disks, pl.C, false)
	for _, w := range stored {
		m.fragments[w.index] = place{disk: w.disk.id, epoch: key.Epoch, attempt: key.Attempt}
	}
	if err != nil {
		p.discard(e, key, stored)
		return false, err
	}
	return p.publish(ctx, g, c, m, e, key, stored)
}

// prepare packs and encodes an object for a new attempt, under the namespace's GC epoch, which is held until the last holder
// of e lets go.
func (p *Proxy) prepare(ctx context.Context, g *group, c *content, k, m int) (e *encoded, key asd.Key, err error) {
	epoch, err := p.attempts.begin(ctx, g, c.space)
	if err != nil {
		return nil, key, err // KindNotFound: the namespace goes
	}
	free := func() { p.attempts.end(c.space.id, epoch) }
	if c.raw != nil {
		c.stored, c.table = pack(c.raw, &c.work)
		c.raw = nil
	}
	id, err := p.attemptID()
	if err == nil {
		e, err = p.encode(c, c.layout(k, m), free)
	}
	if err != nil {
		free()
		return nil, key, err
	}
	return e, asd.Key{Namespace: c.space.id, Epoch: epoch, Attempt: id}, nil
}

// publish makes the attempt the object, unless another is, or the collector may have judged it already.
func (p *Proxy) publish(ctx context.Context, g *group, c *content, m *manifest, e *encoded, key asd.Key, stored []written) (full bool, err error) {
	name := objectKey(keyManifest, c.space.id, c.name)
	full = p.complete(m)
	updates := []ovs.Update{
		ovs.Assert(idKey(keyEpoch, c.space.id), epochValue(key.Epoch)),
		ovs.AssertAbsent(name),
		ovs.Set(name, m.encode()),
	}
	if !full {
		updates = append(updates, ovs.Set(objectKey(keyRepair, c.space.id, c.name), []byte{repairIncomplete}))
	}
	_, err = g.reg.Sequence(ctx, updates...)
	if err == nil {
		if !full {
			p.wake()
		}
		return full, nil
	}
	if ovs.Is(err, ovs.KindNoSpace) { // refused before it was proposed
		p.discard(e, key, stored)
		return false, err
	}
	var failed *ovs.AssertError
	if !errors.As(err, &failed) {
		// The outcome is unknown: the fragments stay, for the manifest or for the collector.
		return false, err
	}
	p.discard(e, key, stored)
	if failed.Step == 0 {
		return false, ovs.E("albaproxy.publish", ovs.KindBusy, c.name, errors.Join(errAgain, err))
	}
	old, err := decodeManifest(failed.Current)
	if err != nil {
		return false, err
	}
	return p.existing(c, old)
}

// written is a fragment that a disk has, not yet named by a manifest.
type written struct {
	index int
	disk  *disk
	err   error
}

// write puts the sealed fragments on their disks (nil: left out), all at once. It returns those that stand when all have
// answered, or when enough stand and slack has passed; an error if enough do not. Fragments that arrive later are deleted.
func (p *Proxy) write(ctx context.Context, c *content, e *encoded, key asd.Key, disks []*disk, enough int, repair bool) ([]written, error) {
	storedSum := c.checksum
	if c.codec != codecPlain {
		storedSum = longChecksum(c.stored, &c.work)
	}
	// A disk that hangs holds up neither the caller nor its own fragment: it may end after Put did.
	each, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTime)
	results := make(chan written, len(disks))
	left := map[*disk]bool{} // those that have not answered
	for i, d := range disks {
		if d == nil {
			continue
		}
		k := key
		k.Index = uint8(i)
		fragment := e.seal(c, storedSum, k)
		left[d] = true
		e.holders.Add(1)
		p.running.Go(func() {
			defer e.release()
			err := d.Put(each, k, fragment, asd.PutOptions{Repair: repair, Hurry: c.work.Hurry})
			if err != nil {
				d.failed(p.log, err)
			} else {
				d.worked()
			}
			results <- written{i, d, err}
		})
	}
	stored, err := gather(ctx, results, left, enough)
	if len(left) == 0 {
		cancel()
		return stored, err
	}
	for d := range left {
		d.lag(1)
	}
	e.holders.Add(1)
	p.running.Go(func() {
		defer e.release()
		defer cancel()
		var late []written
		for range left {
			w := <-results
			if w.disk.lag(-1); w.err == nil {
				late = append(late, w)
			}
		}
		p.discard(e, key, late)
	})
	return stored, err
}

// gather collects results until no disk is left, or enough are good and slack has passed.
func gather(ctx context.Context, results <-chan written, left map[*disk]bool, enough int) (stored []written, err error) {
	var late <-chan time.Time
	var errs []error
	for len(left) > 0 {
		select {
		case w := <-results:
			delete(left, w.disk)
			if w.err != nil {
				errs = append(errs, w.err)
				continue
			}
			if stored = append(stored, w); len(stored) >= enough && late == nil && len(left) > 0 {
				timer := time.NewTimer(slack)
				defer timer.Stop()
				late = timer.C
			}
		case <-late:
			return stored, nil
		case <-ctx.Done():
			return stored, ovs.E("albaproxy.write", ovs.KindTimeout, nil, ctx.Err())
		}
	}
	if len(stored) >= enough {
		return stored, nil
	}
	kind := ovs.KindIO
	for _, e := range errs {
		if ovs.Is(e, ovs.KindNoSpace) {
			kind = ovs.KindNoSpace
		}
	}
	return stored, ovs.E("albaproxy.write", kind, nil, errors.Join(append(errs, errAgain)...))
}

// discard deletes fragments of an attempt that came to nothing. What it leaves is the collector's.
func (p *Proxy) discard(e *encoded, key asd.Key, fragments []written) {
	for _, w := range fragments {
		e.holders.Add(1)
		k := key
		k.Index = uint8(w.index)
		p.running.Go(func() {
			defer e.release()
			ctx, cancel := context.WithTimeout(context.Background(), attemptTime)
			defer cancel()
			if err := w.disk.Delete(ctx, k); err != nil {
				p.log.Debug("a fragment is left to the collector", zap.Stringer("key", k), zap.Error(err))
			}
		})
	}
}
