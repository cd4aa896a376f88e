package nfsd

import (
	"sync"
	"sync/atomic"

	"ovs"
)

// Sizes of buffers. A reply's header and its data stand in one buffer: hence the 8 KiB beside the data.
const (
	slabSize  = 256<<10 + 8<<10
	largest   = ovs.MaxIO + 8<<10
	maxRecord = ovs.MaxIO + 4<<10 // bytes in one RPC record
)

var bufferSizes = [...]int{8 << 10, 72 << 10, slabSize, largest}

// buffer is pooled memory with counted references. Its bytes are part of its owner's budgets until the last reference is
// gone.
type buffer struct {
	b     []byte
	class int
	refs  atomic.Int32
	owner *buffers
}

func (b *buffer) retain() { b.refs.Add(1) }

func (b *buffer) release() {
	if b.refs.Add(-1) == 0 {
		b.owner.put(b)
	}
}

// drop releases a buffer, where there is one, and forgets it.
func drop(b **buffer) {
	if *b != nil {
		(*b).release()
		*b = nil
	}
}

// bufferPool is the memory of all connections.
type bufferPool [len(bufferSizes)]sync.Pool

// buffers is one connection's access to the pool: what it draws is bounded for itself and for all together.
type buffers struct {
	pool     *bufferPool
	own, all *budget
}

func bufferClass(n int) int {
	for i, size := range bufferSizes {
		if n <= size {
			return i
		}
	}
	panic("nfsd: no buffer is that large") // maxRecord and MaxIO keep callers below
}

// try gives a buffer of at least n bytes with one reference, or nil when a budget is spent.
func (p *buffers) try(n int) *buffer {
	c := bufferClass(n)
	size := int64(bufferSizes[c])
	if !p.own.try(size) {
		return nil
	}
	if !p.all.try(size) {
		p.own.give(size)
		return nil
	}
	return p.new(c)
}

// get waits for the budgets.
func (p *buffers) get(n int) *buffer {
	c := bufferClass(n)
	size := int64(bufferSizes[c])
	p.own.take(size)
	p.all.take(size)
	return p.new(c)
}

func (p *buffers) new(c int) *buffer {
	b, _ := p.pool[c].Get().(*buffer)
	if b == nil {
		b = &buffer{b: make([]byte, bufferSizes[c]), class: c}
	}
	b.owner = p
	b.refs.Store(1)
	return b
}

func (p *buffers) put(b *buffer) {
	b.owner = nil
	p.pool[b.class].Put(b)
	size := int64(bufferSizes[b.class])
	p.own.give(size)
	p.all.give(size)
}
