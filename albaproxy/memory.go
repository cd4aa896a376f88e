package albaproxy

import (
	"context"
	"math/bits"
	"sync"

	"ovs"
	"ovs/internal/vfs"
)

// buffers are pools of memory in powers of two from 4 KiB to 64 MiB; larger ones are not kept.
type buffers struct {
	pools [maxBufferBits + 1]sync.Pool
}

const (
	minBufferBits = 12
	maxBufferBits = 26
)

// buffer is pooled memory, aligned for O_DIRECT; its content is arbitrary.
type buffer struct {
	b    []byte
	home *sync.Pool
}

// bufferBits is the power of two that holds n bytes.
func bufferBits(n uint64) int { return max(minBufferBits, bits.Len64(max(n, 1)-1)) }

// bufferSize is the memory that get(n) takes.
func bufferSize(n uint64) uint64 {
	if size := bufferBits(n); size <= maxBufferBits {
		return 1<<size + vfs.Align
	}
	return n + vfs.Align
}

func (p *buffers) get(n uint64) *buffer {
	size := bufferBits(n)
	if size > maxBufferBits {
		return &buffer{b: vfs.AlignedBuffer(int(n))}
	}
	home := &p.pools[size]
	if b, ok := home.Get().(*buffer); ok {
		b.b = b.b[:n]
		return b
	}
	return &buffer{b: vfs.AlignedBuffer(1 << size)[:n], home: home}
}

// release gives the buffer back: its owner lets go of it.
func (b *buffer) release() {
	if b.home != nil {
		b.home.Put(b)
	}
}

// budget bounds the memory of Puts and repairs. Who asks first is served first. What an ASD that hangs was given counts no
// more once its Put returned: else one disk would take all of it. It stays bounded, for such a disk is given no more.
type budget struct {
	total int64

	mu      sync.Mutex // guards below
	used    int64
	waiting []*claim
}

type claim struct {
	n       int64
	granted chan struct{}
}

func newBudget(total int64) *budget { return &budget{total: total} }

// take waits for n bytes and gives what to return to put: one that is larger than the budget waits for all of it.
func (b *budget) take(ctx context.Context, n int64) (int64, error) {
	n = min(n, b.total)
	b.mu.Lock()
	if len(b.waiting) == 0 && b.used+n <= b.total {
		b.used += n
		b.mu.Unlock()
		return n, nil
	}
	c := &claim{n: n, granted: make(chan struct{})}
	b.waiting = append(b.waiting, c)
	b.mu.Unlock()
	select {
	case <-c.granted:
		return n, nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	for i, w := range b.waiting {
		if w == c {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			b.grant()
			b.mu.Unlock()
			return 0, ovs.E("albaproxy.budget", ovs.KindTimeout, nil, ctx.Err())
		}
	}
	b.mu.Unlock()
	return n, nil // granted meanwhile
}

func (b *budget) put(n int64) {
	b.mu.Lock()
	b.used -= n
	b.grant()
	b.mu.Unlock()
}

// grant serves the waiters that fit. mu is held.
func (b *budget) grant() {
	for len(b.waiting) > 0 && b.used+b.waiting[0].n <= b.total {
		b.used += b.waiting[0].n
		close(b.waiting[0].granted)
		b.waiting = b.waiting[1:]
	}
}
