package albaproxy

import (
	"sync/atomic"

	"github.com/klauspost/reedsolomon"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/pace"
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
	work     pace.Work
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
	if err := p.fill(c, l, shards); err != nil {
		e.slab.release()
		return nil, ovs.E("albaproxy.encode", ovs.KindInvalid, c.name, err)
	}
	for i := range whole {
		clear(whole[i][l.end(i):l.size(i)])
		e.fragments = append(e.fragments, whole[i][:l.size(i)])
	}
	return e, nil
}

// fill lays the content out over the data shards and computes the parity, some rows at a time, so that these are still in the
// CPU's cache. The code runs over the places of the CRCs too; what it computes there is overwritten.
func (p *Proxy) fill(c *content, l layout, shards [][]byte) error {
	var code reedsolomon.Encoder
	if l.m > 0 {
		var err error
		if code, err = p.code(l.k, l.m); err != nil {
			return err
		}
	}
	unit, stride, k := uint64(l.unit), l.stride(), uint64(l.k)
	step := max(1, pace.Step/(unit*k)) // rows
	part := make([][]byte, len(shards))
	for row := uint64(0); row < l.rows(); row += step {
		end := min(row+step, l.rows())
		for u := row * k; u < end*k; u++ {
			slot := shards[u%k][u/k*stride:][:unit]
			n := 0
			if from := u * unit; from < l.stored {
				n = copy(slot, c.stored[from:])
			}
			clear(slot[n:])
		}
		if code != nil {
			for i, s := range shards {
				part[i] = s[row*stride : end*stride]
			}
			if err := code.Encode(part); err != nil {
				return err
			}
		}
		c.work.Did(pace.Step)
	}
	return nil
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
		c.work.Did(int(stride))
	}
	return f
}
