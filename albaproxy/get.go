package albaproxy

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"ovs"
	"ovs/albaproxy/asd"
)

// Get implements ovs.Backend. A range within one unit of uncompressed data is one read from one ASD.
func (p *Proxy) Get(ctx context.Context, ns, name string, off uint64, dst []byte) (int, error) {
	const op = "albaproxy.Get"
	if err := p.begin(ctx, op); err != nil {
		return 0, err
	}
	defer p.running.Done()
	s, g, err := p.space(ctx, op, ns)
	if err != nil {
		return 0, err
	}
	key := s.manifests + name
	m, err := g.manifests.get(ctx, key)
	if err != nil {
		return 0, ovs.E(op, ovs.KindUnknown, ns+"/"+name, err)
	}
	r := reader{p: p, ctx: ctx, space: s, name: name, manifest: m, patience: patience}
	n, err := r.read(off, dst)
	if err != nil && ctx.Err() == nil {
		// The manifest may have been replaced (repair) or deleted since it was read, and a disk may only be slow: look again,
		// once, and wait for every disk now.
		now, again := g.manifests.fresh(ctx, key)
		switch {
		case again != nil:
			err = again
		case r.hurried.Load() || !slices.Equal(now.fragments, m.fragments):
			r.manifest, r.patience = now, 0
			n, err = r.read(off, dst)
		}
	}
	if err != nil {
		return 0, ovs.E(op, ovs.KindUnknown, ns+"/"+name, err)
	}
	return n, nil
}

// reader reads from one object by one manifest.
type reader struct {
	p     *Proxy
	ctx   context.Context
	space space
	name  string
	*manifest
	patience time.Duration // how long a disk that hangs is waited for; 0: as long as ctx lasts
	hurried  atomic.Bool   // some disk was not waited for to the end
}

var errWhole = errors.New("the object's checksum is wrong though each unit's is right")

// read fills dst with the object's bytes from off.
func (r *reader) read(off uint64, dst []byte) (int, error) {
	if off >= r.size || len(dst) == 0 {
		return 0, nil
	}
	dst = dst[:min(uint64(len(dst)), r.size-off)]
	var err error
	if r.codec == codecBlocks {
		err = r.readBlocks(off, dst)
	} else {
		err = r.readStored(off, dst)
	}
	if err == nil && uint64(len(dst)) == r.size && checksum(dst) != r.checksum {
		err = ovs.E("albaproxy.read", ovs.KindCorrupt, r.name, errWhole)
	}
	return len(dst), err
}

// readBlocks fills dst from the compressed blocks that its range meets.
func (r *reader) readBlocks(off uint64, dst []byte) error {
	first, last := off/blockSize, (off+uint64(len(dst))-1)/blockSize
	from, to := r.table[first].offset, r.table[last].offset+uint64(r.table[last].stored)
	stored := r.p.buffers.get(to - from)
	defer stored.release()
	if err := r.readStored(from, stored.b); err != nil {
		return err
	}
	var whole *buffer // for blocks of which only a part is wanted
	for i := first; i <= last; i++ {
		b := &r.table[i]
		begin := i * blockSize
		size := min(blockSize, r.size-begin)
		out := dst[max(begin, off)-off : min(begin+size-off, uint64(len(dst)))]
		raw := out
		if uint64(len(out)) < size {
			if whole == nil {
				whole = r.p.buffers.get(blockSize)
				defer whole.release()
			}
			raw = whole.b[:size]
		}
		if !b.unpack(raw, stored.b[b.offset-from:][:b.stored]) {
			return ovs.E("albaproxy.readBlocks", ovs.KindCorrupt, r.name, errMalformed)
		}
		if uint64(len(out)) < size {
			copy(out, raw[max(begin, off)-begin:])
		}
	}
	return nil
}

// readStored fills dst with the stored stream from off, which holds that much. An empty dst is filled at once.
func (r *reader) readStored(off uint64, dst []byte) error {
	if len(dst) == 0 {
		return nil
	}
	end := off + uint64(len(dst))
	spans := r.spans(off, end)
	if len(spans) == 1 {
		lost, err := r.readSpan(spans[0], off, dst)
		if err != nil || len(lost) == 0 {
			return err
		}
		return r.rebuild(lost, off, dst)
	}
	type result struct {
		lost []span
		err  error
	}
	results := make(chan result, len(spans))
	for _, s := range spans {
		r.p.running.Go(func() {
			lost, err := r.readSpan(s, off, dst)
			results <- result{lost, err}
		})
	}
	var lost []span
	var errs error
	for range spans {
		got := <-results // dst is lent to them: all must end
		lost = append(lost, got.lost...)
		errs = errors.Join(errs, got.err)
	}
	if errs != nil || len(lost) == 0 {
		return errs
	}
	return r.rebuild(lost, off, dst)
}

// readSpan reads rows of one data fragment and copies what dst wants of them. lost are the rows that are missing or wrong.
func (r *reader) readSpan(s span, off uint64, dst []byte) (lost []span, err error) {
	buf := r.p.buffers.get((s.to - s.from) * r.stride())
	right, answered := r.fetch(s, buf.b)
	if answered { // else the call may still write to it
		defer buf.release()
	}
	for row := s.from; row < s.to; row++ {
		if right == nil || !right[row-s.from] {
			if n := len(lost); n > 0 && lost[n-1].to == row {
				lost[n-1].to++
			} else {
				lost = append(lost, span{s.fragment, row, row + 1})
			}
			continue
		}
		r.copyUnit(s.fragment, row, buf.b[(row-s.from)*r.stride():], off, dst)
	}
	if r.ctx.Err() != nil {
		return nil, ovs.E("albaproxy.read", ovs.KindTimeout, r.name, r.ctx.Err())
	}
	return lost, nil
}

// copyUnit copies the part of a data unit that dst, at off of the stream, wants.
func (r *reader) copyUnit(fragment int, row uint64, unit []byte, off uint64, dst []byte) {
	at := (row*uint64(r.k) + uint64(fragment)) * uint64(r.unit)
	from, to := max(at, off), min(at+uint64(r.unit), off+uint64(len(dst)))
	if from < to {
		copy(dst[from-off:to-off], unit[from-at:to-at])
	}
}

// fetch reads rows of a fragment into buf and says which are right; nil: none, the fragment is not there. answered is
// false where its ASD could not tell, so that the fragment may well be good, and buf may still be written to.
func (r *reader) fetch(s span, buf []byte) (right []bool, answered bool) {
	f := r.fragments[s.fragment]
	if f.disk == 0 {
		return nil, true
	}
	d := r.p.byID[f.disk]
	if d == nil {
		r.bad(s, errors.New("its ASD is not in use"))
		return nil, false
	}
	key := r.key(r.space.id, s.fragment)
	n, err := r.get(d, key, r.offset(s.from), buf)
	if err != nil {
		if r.ctx.Err() == nil && !errors.Is(err, errHangs) {
			r.bad(s, err)
		}
		return nil, !ovs.Is(err, ovs.KindIO) && !ovs.Is(err, ovs.KindTimeout) && !ovs.Is(err, ovs.KindClosed)
	}
	sums, stride := sumsOf(key), r.stride()
	right = make([]bool, s.to-s.from)
	for i := range right {
		at := uint64(i) * stride
		right[i] = at+stride <= uint64(n) && sums.right(s.from+uint64(i), buf[at:at+stride])
		if !right[i] {
			r.bad(span{s.fragment, s.from + uint64(i), s.from + uint64(i) + 1}, errChecksum)
		}
	}
	return right, true
}

// get asks a disk, as long as patience lasts.
func (r *reader) get(d *disk, k asd.Key, off uint64, dst []byte) (int, error) {
	n, err := d.get(r.ctx, r.patience, k, off, dst)
	if errors.Is(err, errHangs) {
		r.hurried.Store(true)
	}
	return n, err
}

// bad reports rows that could not be read.
func (r *reader) bad(s span, err error) {
	r.p.stats.bad.Add(s.to - s.from)
	r.p.suspect(r.space, r.name, s, r.fragments[s.fragment].disk, err)
}
