/*
Package bufpool gives out buffers of one size from memory outside the Go heap, under a budget that is fixed when the
pool is made. Each begins on a 4 KiB boundary, as O_DIRECT wants it.

	mmap │ slab │ slab │ slab │ … │ slab │      pages come from the kernel when they are first touched;
	        ▲ free: last in, first out          few in use means few touched

Collector and memory limit of Go do not see them: a pool cannot make the collector run, and must be closed.
*/
package bufpool

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Align is what the address and size of each buffer are a multiple of, in bytes.
const Align = 4096

// Pool is a set of buffers of one size. Its methods may run concurrently.
type Pool struct {
	size, count int
	mu          sync.Mutex
	back        *sync.Cond // of mu: a buffer came back
	mem         []byte     // guarded by mu, as are all below; nil once closed
	free        [][]byte
}

// New makes a pool of as many buffers of size bytes (rounded up to Align) as the budget holds, at least one.
func New(size int, budget int64) (*Pool, error) {
	if size <= 0 {
		return nil, fmt.Errorf("bufpool: a buffer of %d bytes", size)
	}
	size = (size + Align - 1) &^ (Align - 1)
	p := &Pool{size: size, count: int(max(1, budget/int64(size)))}
	p.back = sync.NewCond(&p.mu)
	mem, err := unix.Mmap(-1, 0, size*p.count, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("bufpool: %d buffers of %d bytes: %w", p.count, size, err)
	}
	p.mem = mem
	for i := p.count - 1; i >= 0; i-- {
		p.free = append(p.free, mem[i*size:(i+1)*size:(i+1)*size])
	}
	return p, nil
}

// Size is the bytes of one buffer.
func (p *Pool) Size() int { return p.size }

// Count is how many buffers there are.
func (p *Pool) Count() int { return p.count }

// Get takes a buffer, or nil when all are out. Its content is whatever the last user left.
func (p *Pool) Get() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.take()
}

// Wait takes a buffer and waits for one while all are out. nil: the pool was closed. Only for those who give theirs back
// without waiting for anything that another of these may hold up.
func (p *Pool) Wait() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) == 0 && p.mem != nil {
		p.back.Wait()
	}
	return p.take()
}

// take is Get with mu held.
func (p *Pool) take() []byte {
	if len(p.free) == 0 {
		return nil
	}
	b := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	return b
}

// Put gives a buffer back that Get or Wait gave, at its full length.
func (p *Pool) Put(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(b) != p.size {
		panic("bufpool: a buffer of another pool, or cut")
	}
	if p.mem == nil {
		return
	}
	p.free = append(p.free, b)
	p.back.Signal()
}

// Close gives the memory back. No buffer may be in use: touching one would end the process.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mem == nil {
		return nil
	}
	if len(p.free) != p.count {
		return fmt.Errorf("bufpool: closed with %d of %d buffers in use", p.count-len(p.free), p.count)
	}
	err := unix.Munmap(p.mem)
	p.mem, p.free = nil, nil
	p.back.Broadcast()
	return err
}
