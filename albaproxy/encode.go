package albaproxy

import (
	"sync/atomic"

	"ovs"
	"ovs/albaproxy/asd"
)

// content is an object on its way to the disks.
type content struct {
	space    space
	name     string
	size     uint64
	checksum uint32
	codec    codec
	raw      []byte // lent, codecBlocks only: the object as long as it is not packed
	stored   []byte // the stored stream
	own      bool   // stored is memory of the proxy, not lent
	table    []block
	unit     uint32
}

// memory is the most bytes that the object takes here while it is written by any of the policies.
func (c *content) memory(policies ...Policy) int64 {
	most, own := uint64(0), uint64(0)
	for _, policy := range policies {
		l := c.layout(policy.K, policy.M)
		if c.raw != nil {
			l.stored = packedMost(len(c.raw))
		}
		if most = max(most, bufferSize(l.sizeAll())); c.own {
			own = l.stored
		}
	}
	return int64(most + own)
}

func (c *content) layout(k, m int) layout {
	return layout{k: k, m: m, unit: c.unit, stored: uint64(len(c.stored))}
}

// encoded holds an object's fragments in memory, until the last holder lets go.
type encoded struct {
	layout
	fragments [][]byte
	slab      *buffer
	free      func() // at the end
	holders   atomic.Int32
}

// release lets go of one hold.
//
// Who still writes fragments, or deletes them after the attempt failed, holds it: the attempt's epoch is held so long.
func (e *encoded) release() {
	if e.holders.Add(-1) == 0 {
		e.slab.release()
		e.free()
	}
}

// encode makes the fragments of c; free is called once nobody holds them any more; not if encode fails. The one copy of
// the data is made here.
func (p *Proxy) encode(c *content, l layout, free func()) (*encoded, error) {
	full, end := l.room(), l.offset(l.rows())
	e := &encoded{layout: l, slab: p.buffers.get(l.sizeAll()), free: free}
	e.holders.Store(1)
	whole, shards := make([][]byte, l.n()), make([][]byte, l.n())
	for i := range whole {
		whole[i] = e.slab.b[uint64(i)*full:][:full:full]
		shards[i] = whole[i][headerSize:end]
	}
	unit, stride := uint64(l.unit), l.stride()
	for u := uint64(0); u < l.rows()*uint64(l.k); u++ {
		slot := shards[u%uint64(l.k)][u/uint64(l.k)*stride:][:unit]
		n := 0
		if from := u * unit; from < l.stored {
			n = copy(slot, c.stored[from:])
		}
		clear(slot[n:])
	}
	if l.m > 0 && l.rows() > 0 {
		// The code runs over the places of the CRCs too, in one go; what it computes there is overwritten.
		code, err := p.code(l.k, l.m)
		if err == nil {
			err = code.Encode(shards)
		}
		if err != nil {
			e.slab.release()
			return nil, ovs.E("albaproxy.encode", ovs.KindInvalid, c.name, err)
		}
	}
	for i := range whole {
		clear(whole[i][l.end(i):l.size(i)])
		e.fragments = append(e.fragments, whole[i][:l.size(i)])
	}
	return e, nil
}

// seal completes fragment i under its key: header and CRCs.
func (e *encoded) seal(c *content, storedSum uint32, key asd.Key) []byte {
	f := e.fragments[key.Index]
	h := header{
		key: key, k: e.k, m: e.m, codec: c.codec, unit: c.unit, size: c.size, checksum: c.checksum,
		stored: uint64(len(c.stored)), storedSum: storedSum, namespace: c.space.name, name: c.name,
	}
	if c.codec == codecBlocks {
		h.table = uint32(len(encodeTable(c.table)))
	}
	h.put(f[:headerSize])
	sums, stride := sumsOf(key), e.stride()
	for row := range e.rowsIn(int(key.Index)) {
		sums.put(row, f[e.offset(row):][:stride])
	}
	return f
}
