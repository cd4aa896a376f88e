package tail

import (
	"fmt"
	"sync"

	"ovs"
)

// gap is a hole in an object's record numbers.
type gap struct{ last, next ovs.RecordNo }

func (g gap) Error() string { return fmt.Sprintf("record %d follows record %d", g.next, g.last) }

// Runner is work that may block.
type Runner interface{ Run() }

// Pool is a bounded number of goroutines for work that may block, started as they are needed. Its queue holds what its
// users have under way, which they bound.
type Pool struct {
	mu      sync.Mutex // guards all below
	work    *sync.Cond
	queue   []Runner
	started int
	idle    int
	most    int
	closed  bool
	wg      sync.WaitGroup
}

// NewPool gives a pool of at most n goroutines.
func NewPool(n int) *Pool {
	p := &Pool{most: max(n, 1)}
	p.work = sync.NewCond(&p.mu)
	return p
}

// Submit has r run soon; false after Close.
func (p *Pool) Submit(r Runner) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.queue = append(p.queue, r)
	if len(p.queue) > p.idle && p.started < p.most { // those who idle have been woken for what is queued already
		p.started++
		p.wg.Go(p.loop)
	} else {
		p.work.Signal()
	}
	return true
}

// Spare tells whether a goroutine would be free at once: for work that is only worth doing then.
func (p *Pool) Spare() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.closed && len(p.queue) == 0 && (p.idle > 0 || p.started < p.most)
}

func (p *Pool) loop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.queue) == 0 {
			if p.closed {
				return
			}
			p.idle++
			p.work.Wait()
			p.idle--
		}
		r := p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		p.mu.Unlock()
		r.Run()
		p.mu.Lock()
	}
}

// Close runs what is queued and waits for it; the users have ended by then.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.work.Broadcast()
	p.mu.Unlock()
	p.wg.Wait()
}
