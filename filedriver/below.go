package filedriver

import (
	"context"
	"fmt"

	"ovs"
	"ovs/internal/pagecache"
	"ovs/internal/unit"
)

// TryReadBelow reads the current version out of memory (tail.Below).
func (f *file) TryReadBelow(dst []byte, off uint64) bool {
	v := f.cur.Load()
	if !v.head.hasTable {
		readInline(v.head.inline, dst, off)
		return true
	}
	return v.eachCluster(dst, off, func(part []byte, at, skip uint64, c chunk) error {
		if c == (chunk{}) {
			clear(part)
			return nil
		}
		if !f.d.cfg.Cache.TryGet(f.page(at, c), int(skip), part) {
			return errNotHere
		}
		return nil
	}) == nil
}

var errNotHere = ovs.E("filedriver.TryReadBelow", ovs.KindBusy, nil, nil)

// page names a cluster in the cache: inode, epoch, record and cluster number are its whole name.
func (f *file) page(at uint64, c chunk) pagecache.Key {
	return pagecache.Key{Pool: uint64(f.claim.Pool), Object: uint64(f.claim.Object), Epoch: uint64(c.epoch), Place: uint64(c.record)<<16 | at}
}

func readInline(content, dst []byte, off uint64) {
	n := 0
	if off < uint64(len(content)) {
		n = copy(dst, content[off:])
	}
	clear(dst[n:])
}

// eachCluster cuts a range at cluster borders: part is the piece of dst, at the cluster's number in the file, skip the bytes
// of the cluster before the piece, c the chunk that holds it (zero: a hole).
func (v *version) eachCluster(dst []byte, off uint64, do func(part []byte, at, skip uint64, c chunk) error) error {
	for len(dst) > 0 {
		at, skip := off/ovs.ClusterSize, off%ovs.ClusterSize
		n := min(uint64(len(dst)), ovs.ClusterSize-skip)
		var c chunk
		if i := off / chunkSize; i < uint64(len(v.table)) {
			c = v.table[i]
		}
		if err := do(dst[:n], at, skip, c); err != nil {
			return err
		}
		dst, off = dst[n:], off+n
	}
	return nil
}

// ReadBelow reads the current version, from the backend where memory does not have it (tail.Below). A chunk that is gone
// was replaced meanwhile, if there is another version now: that is read then.
func (f *file) ReadBelow(ctx context.Context, dst []byte, off uint64) error {
	for {
		v := f.cur.Load()
		err := f.readVersion(ctx, v, dst, off)
		if !ovs.Is(err, ovs.KindNotFound) {
			return err
		}
		if f.cur.Load() == v {
			return ovs.E("filedriver.Read", ovs.KindCorrupt, f.claim.Ref, fmt.Errorf("a chunk that the table names is not there: %w", err))
		}
	}
}

func (f *file) readVersion(ctx context.Context, v *version, dst []byte, off uint64) error {
	if !v.head.hasTable {
		readInline(v.head.inline, dst, off)
		return nil
	}
	for len(dst) > 0 { // chunk by chunk
		n := min(uint64(len(dst)), chunkSize-off%chunkSize)
		var c chunk
		if i := off / chunkSize; i < uint64(len(v.table)) {
			c = v.table[i]
		}
		if c == (chunk{}) {
			clear(dst[:n])
		} else if err := f.readChunk(ctx, c, dst[:n], off); err != nil {
			return err
		}
		dst, off = dst[n:], off+n
	}
	return nil
}

// readChunk reads a range of one chunk with one ranged Get, checks every cluster and keeps them in the cache. Clusters past
// the object's end are zeros.
func (f *file) readChunk(ctx context.Context, c chunk, dst []byte, off uint64) error {
	const op = "filedriver.Read"
	name := c.of(f.claim.Object, int(off/chunkSize))
	first, skip := off/ovs.ClusterSize, off%ovs.ClusterSize
	buf := make([]byte, (skip+uint64(len(dst))+ovs.ClusterSize-1)/ovs.ClusterSize*unit.Size)
	once, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	got, err := f.d.cfg.Backend.Get(once, f.d.namespace, name.Name(), first%chunkClusters*unit.Size, buf)
	if err != nil {
		return err
	}
	if got%unit.Size != 0 {
		return ovs.E(op, ovs.KindCorrupt, f.claim.Ref, fmt.Errorf("chunk %s ends within a cluster", name.Name()))
	}
	for at, u := first, buf[:got]; len(dst) > 0; at++ {
		n := min(uint64(len(dst)), ovs.ClusterSize-skip)
		if len(u) == 0 {
			clear(dst)
			return nil
		}
		if !unit.Check(u, name.Of(at), at) {
			return ovs.E(op, ovs.KindCorrupt, f.claim.Ref, fmt.Errorf("cluster %d of chunk %s does not carry its proof", at, name.Name()))
		}
		f.d.cfg.Cache.Put(f.page(at, c), u[:ovs.ClusterSize])
		copy(dst[:n], u[skip:ovs.ClusterSize])
		dst, skip, u = dst[n:], 0, u[unit.Size:]
	}
	return nil
}
