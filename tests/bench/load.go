package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"ovs/tests/measure"
	"ovs/tests/oracle/nfsclient"
)

// again is the pause after an answer JUKEBOX.
const again = 5 * time.Millisecond

// op is one of a load's calls in flight. The load owns it; its Done runs in the connection's goroutine.
type op struct {
	nfsclient.Call
	rnd   *rand.PCG
	began time.Time
	load  *load
	seq   int64 // of the operation, from 0
}

// load keeps depth calls in flight on one connection without a goroutine per call: Done starts the next one.
type load struct {
	conn  *nfsclient.Conn
	depth int
	fill  func(*op)       // says what is next, before submit
	send  func(*op)       // submits
	check func(*op) error // looks at a good answer
	group int             // > 0: after so many calls wait for all and COMMIT
	file  nfsclient.Handle

	mu      sync.Mutex // guards all below
	hist    measure.Hist
	commits measure.Hist
	started int64
	done    int64
	jukebox int64
	live    int
	inGroup int
	verf    uint64
	stopped bool
	err     error
	ended   chan struct{}
	ops     []*op
}

// run goes on until ctx ends (which is its normal end), or an operation fails.
func (l *load) run(ctx context.Context) error {
	l.ended = make(chan struct{})
	for i := range l.depth {
		o := &op{load: l, rnd: rand.NewPCG(uint64(i), uint64(time.Now().UnixNano()))}
		o.Done = l.completed
		o.Arg = o
		l.ops = append(l.ops, o)
	}
	l.mu.Lock()
	l.live = l.depth
	l.inGroup = l.depth
	l.mu.Unlock()
	l.startAll()
	select {
	case <-ctx.Done():
		l.mu.Lock()
		l.stopped = true
		l.mu.Unlock()
		<-l.ended // the client's own timeout bounds that
	case <-l.ended:
	}
	return l.err
}

// restart forgets what was counted so far.
func (l *load) restart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hist, l.commits, l.done, l.jukebox = measure.Hist{}, measure.Hist{}, 0, 0
}

func (l *load) startAll() {
	for _, o := range l.ops {
		l.start(o)
	}
}

func (l *load) start(o *op) {
	l.mu.Lock()
	o.seq = l.started
	l.started++
	l.mu.Unlock()
	l.fill(o)
	o.began = time.Now()
	l.send(o)
}

// completed is the Done of every call.
func (l *load) completed(c *nfsclient.Call) {
	o := c.Arg.(*op)
	var s *nfsclient.StatusError
	if errors.As(c.Err, &s) && s.Status == nfsclient.StatusJukebox && !s.RPC {
		l.mu.Lock()
		l.jukebox++
		l.mu.Unlock()
		time.AfterFunc(again, func() { l.send(o) })
		return
	}
	took := time.Since(o.began)
	err := c.Err
	if err == nil && l.check != nil {
		err = l.check(o)
	}
	l.mu.Lock()
	if err != nil {
		l.err, l.stopped = errors.Join(l.err, err), true
	} else {
		l.hist.Add(took)
		l.done++
		l.verf = c.Verf
	}
	more := !l.stopped && (l.group == 0 || l.inGroup < l.group)
	if more {
		l.inGroup++
	} else {
		l.live--
	}
	last := l.live == 0
	over := last && (l.group == 0 || l.err != nil)
	l.mu.Unlock()
	switch {
	case more:
		l.start(o)
	case over:
		close(l.ended)
	case last:
		l.commit()
	}
}

// commit ends a group and begins the next.
func (l *load) commit() {
	began := time.Now()
	c := &nfsclient.Call{File: l.file}
	c.Done = func(c *nfsclient.Call) {
		l.mu.Lock()
		if c.Err == nil && c.Verf != l.verf {
			c.Err = fmt.Errorf("the verifier changed from %x to %x", l.verf, c.Verf)
		}
		if c.Err != nil {
			l.err, l.stopped = c.Err, true
		}
		l.commits.Add(time.Since(began))
		over := l.stopped
		l.live, l.inGroup = l.depth, l.depth
		l.mu.Unlock()
		if over {
			close(l.ended)
			return
		}
		l.startAll()
	}
	l.conn.Commit(c)
}
