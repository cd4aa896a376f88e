package nfsclient

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	maxReply = 2<<20 + 4096 // bytes in an RPC record that we take
	maxDepth = 4096         // calls in flight on a connection
	atOnce   = 8 << 10      // bytes that an empty socket takes without waiting
)

var errClosed = errors.New("the client is closed")

// Conn is one connection (and the ones after it, with Options.Retry). Its methods may be called from any goroutine.
type Conn struct {
	opt    Options
	owner  *Client
	mu     sync.Mutex // guards all below
	sock   net.Conn   // nil while there is none
	out    []byte     // encoded calls that nobody has written yet
	unsent int        // how many those are
	spare  []byte     // the other buffer
	slots  []slot
	byXID  map[uint32]int // index of the slot in use
	free   []int          // indices of free slots
	room   sync.Cond      // a slot became free
	wrote  sync.Cond      // writing ended
	kick   chan struct{}
	// writing: somebody is writing out; corked: the reader is calling Dones and will write when through.
	writing, corked bool
	closed          error
	gone            sync.WaitGroup // the two goroutines
}

// slot is one call in flight.
type slot struct {
	call *Call
	xid  uint32
}

func dial(owner *Client, opt Options, sock net.Conn) *Conn {
	cn := &Conn{opt: opt, owner: owner, sock: sock, slots: make([]slot, opt.Depth), byXID: map[uint32]int{}, kick: make(chan struct{}, 1)}
	cn.room.L, cn.wrote.L = &cn.mu, &cn.mu
	for i := range cn.slots {
		cn.free = append(cn.free, i)
	}
	cn.gone.Go(cn.run)
	cn.gone.Go(func() { // writes for the reader, which must never wait for the server to read
		for range cn.kick {
			cn.mu.Lock()
			cn.flush()
		}
	})
	return cn
}

// submit takes a slot (waiting for one: never from a Done when Depth calls are in flight), encodes and sends.
func (cn *Conn) submit(c *Call) {
	cn.mu.Lock()
	for len(cn.free) == 0 && cn.closed == nil {
		cn.room.Wait()
	}
	if cn.closed != nil {
		err := cn.closed
		cn.mu.Unlock()
		c.Err = &LostError{err}
		c.Done(c)
		return
	}
	i := cn.free[len(cn.free)-1]
	cn.free = cn.free[:len(cn.free)-1]
	s := &cn.slots[i]
	s.xid = cn.owner.xid.Add(1)
	s.call, c.conn = c, cn
	cn.byXID[s.xid] = i
	cn.encode(s)
	cn.flush()
}

// encode appends a call's record to out. The lock is held.
func (cn *Conn) encode(s *slot) {
	c := s.call
	size := 32 + len(cn.opt.cred) + len(c.args) + len(c.Data) + (-len(c.Data) & 3)
	b := put32(cn.out, 1<<31|uint32(size))
	b = put32(put32(put32(b, s.xid), 0), 2) // a call, RPC version 2
	b = put32(put32(put32(b, c.prog), c.vers), c.proc)
	b = append(b, cn.opt.cred...)
	b = put64(b, 0) // AUTH_NONE as verifier
	b = append(append(b, c.args...), c.Data...)
	cn.out = append(b, zeros[:-len(c.Data)&3]...)
	cn.unsent++
}

// flush writes what is in out, unless somebody else is about to. It is called with the lock held and gives it back.
func (cn *Conn) flush() {
	if cn.writing || cn.corked {
		cn.mu.Unlock()
		return
	}
	cn.writing = true
	for len(cn.out) > 0 && cn.sock != nil {
		b, sock := cn.out, cn.sock
		cn.out, cn.spare, cn.unsent = cn.spare[:0], nil, 0
		cn.mu.Unlock()
		_, err := sock.Write(b)
		if err != nil {
			_ = sock.Close() // the reader sees it and decides
		}
		cn.mu.Lock()
		cn.spare = b[:0]
	}
	cn.writing = false
	cn.wrote.Broadcast()
	cn.mu.Unlock()
}

// run reads replies until the connection is closed for good.
func (cn *Conn) run() {
	defer close(cn.kick)
	buf := make([]byte, maxReply)
	for {
		cn.mu.Lock()
		sock := cn.sock
		cn.mu.Unlock()
		err := cn.replies(sock, buf)
		_ = sock.Close() // what broke it is in err
		if !cn.again(err) {
			cn.fail(err)
			return
		}
	}
}

// replies handles what comes in until the socket fails.
func (cn *Conn) replies(sock net.Conn, buf []byte) error {
	have := 0
	quiet := time.Now()
	for {
		if err := sock.SetReadDeadline(time.Now().Add(cn.opt.Timeout / 4)); err != nil {
			return err
		}
		n, err := sock.Read(buf[have:])
		have += n
		var late net.Error
		switch {
		case errors.As(err, &late) && late.Timeout():
			if cn.idle() {
				quiet = time.Now()
			} else if time.Since(quiet) > cn.opt.Timeout {
				return fmt.Errorf("no reply for %v", cn.opt.Timeout)
			}
			continue
		case err != nil:
			return err
		}
		quiet = time.Now()
		used, err := cn.records(buf[:have])
		if err != nil {
			return err
		}
		copy(buf, buf[used:have])
		have -= used
	}
}

// records completes the calls of all whole records in b and says how many bytes those were.
func (cn *Conn) records(b []byte) (used int, err error) {
	cn.mu.Lock()
	cn.corked = true
	cn.mu.Unlock()
	for err == nil && len(b)-used >= 4 {
		mark := be.Uint32(b[used:])
		n := int(mark &^ (1 << 31))
		if mark>>31 == 0 || n < 12 || n > maxReply-4 {
			err = fmt.Errorf("record mark %#x", mark)
			break
		}
		if len(b)-used-4 < n {
			break
		}
		err = cn.complete(b[used+4 : used+4+n])
		used += 4 + n
	}
	cn.mu.Lock()
	cn.corked = false
	// The server owes nothing and a few bytes fit in the socket: no need to wake the other goroutine.
	if cn.unsent == len(cn.slots)-len(cn.free) && len(cn.out) <= atOnce {
		cn.flush()
		return used, err
	}
	more := len(cn.out) > 0 && !cn.writing
	cn.mu.Unlock()
	if more {
		select {
		case cn.kick <- struct{}{}:
		default: // it is awake already
		}
	}
	return used, err
}

// complete ends the call that a reply belongs to.
func (cn *Conn) complete(b []byte) error {
	r := reader{b: b}
	xid := r.u32()
	if r.u32() != 1 {
		return fmt.Errorf("a call came where a reply must")
	}
	cn.mu.Lock()
	i, known := cn.byXID[xid]
	if !known || cn.slots[i].call == nil {
		cn.mu.Unlock()
		return fmt.Errorf("a reply to nothing: xid %#x", xid)
	}
	c := cn.slots[i].call
	delete(cn.byXID, xid)
	cn.slots[i].call = nil // ours: whoever fails the connection now leaves it to us
	cn.mu.Unlock()
	if denied := r.u32(); denied != 0 {
		c.Err = &StatusError{Proc: c.proc, Status: r.u32(), RPC: true}
	} else {
		r.u32() // verifier: flavor, body
		r.opaque()
		if s := r.u32(); s != 0 || r.bad {
			c.Err = &StatusError{Proc: c.proc, Status: s, RPC: true}
		} else {
			c.decode(&r)
		}
	}
	cn.mu.Lock()
	cn.free = append(cn.free, i)
	cn.room.Signal()
	cn.mu.Unlock()
	c.Done(c)
	return nil
}

func (cn *Conn) idle() bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return len(cn.free) == len(cn.slots)
}
