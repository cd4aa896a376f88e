package filedriver

import (
	"context"

	"ovs"
	"ovs/internal/tail"
)

// piece is a chunk to be put.
type piece struct {
	name string
	data []byte
}

// build makes the version that shows an interval over the old one, and the chunks that it needs. The same interval over the
// same version gives the same bytes.
func (f *file) build(s *tail.Sealed, old *version) (*version, []piece, error) {
	next := &version{head: head{size: s.Size, complete: s.Last, time: s.Time, open: f.claim.Epoch, closed: append([]closed(nil), old.head.closed...)}}
	next.head.trim()
	if s.Size <= inlineMost {
		content := make([]byte, s.Size)
		if err := f.overlay(s, content, 0); err != nil {
			return nil, nil, err
		}
		for len(content) > 0 && content[len(content)-1] == 0 {
			content = content[:len(content)-1]
		}
		next.head.inline = content
		return next, nil, nil
	}
	next.head.hasTable = true
	next.table = make([]chunk, (s.Size+chunkSize-1)/chunkSize)
	if old.head.hasTable {
		copy(next.table, old.table)
	}
	var pieces []piece
	for _, i := range touched(s, old, len(next.table)) {
		start := uint64(i) * chunkSize
		content := make([]byte, min(chunkSize, s.Size-start))
		if err := f.overlay(s, content, start); err != nil {
			return nil, nil, err
		}
		c := chunk{f.claim.Epoch, s.Last}
		data := encodeChunk(content, f.claim.Object, i, c)
		if data == nil {
			next.table[i] = chunk{}
			continue
		}
		next.table[i] = c
		pieces = append(pieces, piece{chunkName(f.claim.Object, i, c), data})
	}
	return next, pieces, nil
}

// touched are the chunks below n that an interval changes, in order; content that leaves the head is one, too.
func touched(s *tail.Sealed, old *version, n int) []int {
	hit := make([]bool, n)
	if !old.head.hasTable && len(old.head.inline) > 0 {
		hit[0] = true
	}
	s.Each(func(off, length uint64, _ tail.Extent) bool {
		for i := off / chunkSize; i <= (off+length-1)/chunkSize && i < uint64(n); i++ {
			hit[i] = true
		}
		return true
	})
	var list []int
	for i, h := range hit {
		if h {
			list = append(list, i)
		}
	}
	return list
}

// overlay fills dst from off with the file as it is after the interval. All older intervals are in the current version.
func (f *file) overlay(s *tail.Sealed, dst []byte, off uint64) error {
	if err := f.retry(func(ctx context.Context) error { return f.ReadBelow(ctx, dst, off) }); err != nil {
		return err
	}
	var err error
	end := off + uint64(len(dst))
	s.Each(func(at, n uint64, e tail.Extent) bool {
		if at+n <= off {
			return true
		}
		if at >= end {
			return false
		}
		if at < off {
			e, n, at = e.Advance(off-at), n-(off-at), off
		}
		part := dst[at-off : min(at+n, end)-off]
		if e.Kind() != tail.Data {
			clear(part)
			return true
		}
		err = s.ReadAt(e, part)
		return err == nil
	})
	if err != nil {
		return ovs.E("filedriver.overlay", ovs.KindUnknown, f.claim.Ref, err)
	}
	return nil
}
