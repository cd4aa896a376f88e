package dtl

import (
	"hash/crc32"

	"golang.org/x/sync/errgroup"

	"ovs"
)

// readBuffer is the bytes of a buffer for reads from segment files, readBuffers how many there are.
const (
	readBuffer  = 128 << 10
	readBuffers = 16
	readsAtOnce = 4 // of one caller
)

var errStale = ovs.E("dtl.ReadAt", ovs.KindStale, nil, nil)

// ReadAt implements ovs.Log. Whole blocks are read and each is compared with its checksum. The segment's life is looked
// at again afterwards: where it ended meanwhile, what was read may be another's.
func (l *Log) ReadAt(p ovs.LogPos, dst []byte) error {
	if l.TryReadAt(p, dst) || len(dst) == 0 {
		return nil
	}
	at := placeOf(p)
	g := l.segmentOf(at.gen)
	if g == nil {
		return errStale
	}
	if len(dst) <= readBuffer {
		return l.readPart(g, at, dst)
	}
	// Long ones are an SCO's, which is built as fast as it can be read.
	var parts errgroup.Group
	parts.SetLimit(readsAtOnce)
	for i := 0; i < len(dst); i += readBuffer {
		from, part := place{at.gen, at.off + uint32(i)}, dst[i:min(i+readBuffer, len(dst))]
		parts.Go(func() error { return l.readPart(g, from, part) })
	}
	return parts.Wait()
}

// readPart reads from segment g, which at is in.
func (l *Log) readPart(g *segment, at place, dst []byte) error {
	buf := l.reads.Wait()
	if buf == nil {
		return ovs.E("dtl.ReadAt", ovs.KindClosed, nil, nil)
	}
	defer l.reads.Put(buf)
	for len(dst) > 0 {
		n, err := l.readSome(g, at.off, dst, buf)
		if l.segmentOf(at.gen) != g {
			return errStale
		}
		if err != nil {
			return err
		}
		at.off += uint32(n)
		dst = dst[n:]
	}
	return nil
}

// readSome reads what one buffer holds.
func (l *Log) readSome(g *segment, off uint32, dst, buf []byte) (int, error) {
	const op = "dtl.ReadAt"
	first := off &^ (block - 1)
	skip := int(off - first)
	buf = buf[:min(len(buf), up(skip+len(dst)))]
	if int64(first)+int64(len(buf)) > l.size {
		return 0, ovs.E(op, ovs.KindInvalid, off, nil)
	}
	if err := readFull(g.slot.file, buf, int64(first)); err != nil {
		return 0, ovs.E(op, ovs.KindIO, g.slot.file.Name(), err)
	}
	for i := 0; i < len(buf); i += block {
		if crc32.Checksum(buf[i:i+block], castagnoli) != g.sums[(int(first)+i)/block] {
			return 0, ovs.E(op, ovs.KindCorrupt, place{g.gen, first + uint32(i)}, nil)
		}
	}
	return copy(dst, buf[skip:]), nil
}
