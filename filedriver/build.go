package filedriver

import (
	"context"

	"ovs/internal/tail"
)

// build makes the version that shows an interval over the old one, and puts the chunks that it needs, one after the other:
// one is in memory at a time. The same interval over the same version gives the same bytes.
func (f *file) build(s *tail.Sealed, old *version, put func(ctx context.Context, name string, data []byte) error) (*version, error) {
	next := &version{head: head{size: s.Size, complete: s.Last, time: s.Time, open: f.claim.Epoch, closed: append([]closed(nil), old.head.closed...)}}
	next.head.trim()
	if s.Size <= inlineMost {
		content := make([]byte, s.Size)
		if err := f.overlay(s, content, 0); err != nil {
			return nil, err
		}
		for len(content) > 0 && content[len(content)-1] == 0 {
			content = content[:len(content)-1]
		}
		next.head.inline = content
		return next, nil
	}
	next.head.hasTable = true
	next.table = make([]chunk, (s.Size+chunkSize-1)/chunkSize)
	if old.head.hasTable {
		copy(next.table, old.table)
	}
	for _, i := range touched(s, old, len(next.table)) {
		start := uint64(i) * chunkSize
		content := make([]byte, min(chunkSize, s.Size-start))
		if err := f.overlay(s, content, start); err != nil {
			return nil, err
		}
		c := chunk{f.claim.Epoch, s.Last}
		name := c.of(f.claim.Object, i)
		data := encodeChunk(content, name)
		if data == nil {
			next.table[i] = chunk{}
			continue
		}
		next.table[i] = c
		if err := put(f.ctx, name.Name(), data); err != nil {
			return nil, err
		}
	}
	return next, nil
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
	return f.retry(f.ctx, func(ctx context.Context) error {
		err := f.ReadBelow(ctx, dst, off)
		end := off + uint64(len(dst))
		s.Each(func(at, n uint64, e tail.Extent) bool {
			if err != nil || at >= end {
				return false
			}
			if at+n <= off {
				return true
			}
			if at < off {
				e, n, at = e.Advance(off-at), n-(off-at), off
			}
			part := dst[at-off : min(at+n, end)-off]
			if e.Kind() == tail.Data {
				err = s.ReadAt(e, part)
			} else {
				clear(part)
			}
			return true
		})
		return err
	})
}
