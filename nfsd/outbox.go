package nfsd

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// outbox gathers replies and writes them, many at a time. One goroutine writes at a time:
//
//	idle ──add──▶ writer: the outbox's own goroutine, until nothing is left
//	  └──begin──▶ reader: the connection's reader works through what it has read; what completes meanwhile gathers, and
//	              end writes it, in the reader's goroutine: a client with one request at a time costs no goroutine switch
//
// A completion never writes and never waits: it may run in the log's goroutine.
type outbox struct {
	nc     net.Conn
	stall  time.Duration // for one write
	wake   chan struct{}
	broken atomic.Bool // a write failed: replies go nowhere; set under mu

	mu     sync.Mutex // guards the fields below
	state  outboxState
	queue  []*call
	closed bool

	// Owned by whoever writes.
	taken []*call
	bufs  net.Buffers
}

type outboxState uint8

const (
	idle outboxState = iota
	reader
	writer
)

// How many replies leave with one writev at most, and how many bytes (but always one reply): a client that is slow, but
// takes that much in the time of a write, is not cut off.
const gather, gatherBytes = 256, 1 << 20

func (o *outbox) init(nc net.Conn, stall time.Duration) {
	o.nc, o.stall = nc, stall
	o.wake = make(chan struct{}, 1)
}

// add takes over a finished call.
func (o *outbox) add(c *call) {
	o.mu.Lock()
	if o.broken.Load() {
		o.mu.Unlock()
		c.free()
		return
	}
	o.queue = append(o.queue, c)
	wake := o.state == idle
	if wake {
		o.state = writer
	}
	o.mu.Unlock()
	if wake {
		o.wake <- struct{}{} // never blocks: only the step from idle sends
	}
}

// begin says that the reader has work and will call end.
func (o *outbox) begin() {
	o.mu.Lock()
	if o.state == idle {
		o.state = reader
	}
	o.mu.Unlock()
}

// end writes what gathered, once. If more came meanwhile, the outbox's goroutine goes on, so that the reader can read.
func (o *outbox) end() {
	o.mu.Lock()
	if o.state != reader {
		o.mu.Unlock()
		return
	}
	if o.take() {
		o.mu.Unlock()
		o.write()
		o.mu.Lock()
	}
	if o.state = idle; len(o.queue) > 0 {
		o.state = writer
		o.wake <- struct{}{}
	}
	o.mu.Unlock()
}

// run is the outbox's own goroutine.
func (o *outbox) run() {
	for range o.wake {
		o.mu.Lock()
		for o.take() {
			o.mu.Unlock()
			o.write()
			o.mu.Lock()
		}
		o.state = idle
		closed := o.closed
		o.mu.Unlock()
		if closed {
			return
		}
	}
}

// close ends run; no call is in flight any more.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	wake := o.state == idle
	if wake {
		o.state = writer
	}
	o.mu.Unlock()
	if wake {
		o.wake <- struct{}{}
	}
}

// take moves the queue's first replies to taken; o.mu is held.
func (o *outbox) take() bool {
	n := 0
	for size := 0; n < min(len(o.queue), gather) && (n == 0 || size+len(o.queue[n].out.b) <= gatherBytes); n++ {
		size += len(o.queue[n].out.b)
	}
	o.taken = append(o.taken[:0], o.queue[:n]...)
	rest := copy(o.queue, o.queue[n:])
	clear(o.queue[rest:])
	o.queue = o.queue[:rest]
	return n > 0
}

// write sends what was taken and frees it. After a failure the connection is of no use.
func (o *outbox) write() {
	bufs := o.bufs[:0]
	for _, c := range o.taken {
		bufs = append(bufs, c.out.b)
	}
	o.bufs = bufs
	_ = o.nc.SetWriteDeadline(time.Now().Add(o.stall))
	rest := &o.bufs
	_, err := rest.WriteTo(o.nc)
	o.bufs = bufs[:0]
	clear(bufs)
	if err != nil {
		o.nc.Close()
		o.mu.Lock()
		o.broken.Store(true)
		o.taken = append(o.taken, o.queue...)
		o.queue = nil
		o.mu.Unlock()
	}
	for i, c := range o.taken {
		c.free()
		o.taken[i] = nil
	}
}
