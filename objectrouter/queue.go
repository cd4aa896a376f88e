package objectrouter

import (
	"sync"
	"time"

	"ovs"
)

// parked is an operation that waits for its object: one of read, write, commit, or a waiter.
type parked struct {
	read   *ovs.Read
	write  *ovs.Write
	commit *ovs.Commit
	wait   chan error // cap 1
	until  time.Time  // when the waiter gives up
	end    uint64     // bytes that the object must be able to hold
}

// finish completes the operation with an error.
func (p *parked) finish(err error) {
	switch {
	case p.read != nil:
		p.read.N, p.read.EOF, p.read.Err = 0, false, err
		p.read.Done(p.read)
	case p.write != nil:
		p.write.Err = err
		p.write.Done(p.write)
	case p.commit != nil:
		p.commit.Err = err
		p.commit.Done(p.commit)
	default:
		p.wait <- err
	}
}

// deadline is when whoever waits for the operation gives up.
func (p *parked) deadline() time.Time {
	switch {
	case p.read != nil:
		return p.read.Deadline
	case p.write != nil:
		return p.write.Deadline
	case p.commit != nil:
		return p.commit.Deadline
	}
	return p.until
}

// queue holds the nodes that wait for a worker: those that somebody waits for, and those that may come later. A node
// is in each list at most once (node.urgent, node.later), and pinned while it is.
type queue struct {
	mu     sync.Mutex
	more   *sync.Cond // on mu: a node was pushed, or closed
	urgent []*node
	later  []*node
	ops    int // operations parked
	closed bool
}

func newQueue() *queue {
	q := &queue{}
	q.more = sync.NewCond(&q.mu)
	return q
}

// admit counts one more parked operation; false beyond the limit.
func (q *queue) admit(limit int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ops >= limit {
		return false
	}
	q.ops++
	return true
}

func (q *queue) discharge() {
	q.mu.Lock()
	q.ops--
	q.mu.Unlock()
}

func (q *queue) push(n *node, urgent bool) {
	q.mu.Lock()
	if urgent {
		q.urgent = append(q.urgent, n)
	} else {
		q.later = append(q.later, n)
	}
	q.mu.Unlock()
	q.more.Broadcast() // workers differ in what they take
}

// pop waits for a node, an urgent one if there is any; nil when the queue is closed.
func (q *queue) pop(urgentOnly bool) (n *node, urgent bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.closed:
			return nil, false
		case len(q.urgent) > 0:
			n, q.urgent = q.urgent[0], q.urgent[1:]
			return n, true
		case len(q.later) > 0 && !urgentOnly:
			n, q.later = q.later[0], q.later[1:]
			return n, false
		}
		q.more.Wait()
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.more.Broadcast()
}

// waiting is the number of nodes in the queue.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.urgent) + len(q.later)
}

// parking says whether any operation is parked.
func (q *queue) parking() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ops > 0
}
