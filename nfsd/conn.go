package nfsd

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// conn is one TCP connection. The reader goroutine runs serve; it owns records and the fields from partial to now.
type conn struct {
	engine   *engine
	nc       net.Conn
	client   netip.Addr
	records  records
	bufs     buffers
	requests *budget // in flight
	out      outbox

	partial  bool      // the last read was for a record that had begun
	timedFor uint64    // the record for which the read deadline was set last
	timedAt  time.Time // when that was; zero: no deadline stands
	waited   bool      // for others, since left looked last
	now      time.Time // when the last read returned

	mu       sync.Mutex // guards stopping, and the read deadline against stop
	stopping bool
}

func newConn(e *engine, nc net.Conn) *conn {
	c := &conn{engine: e, nc: nc, client: addrOf(nc.RemoteAddr()), requests: newBudget(int64(e.cfg.MaxRequests))}
	c.bufs = buffers{pool: &e.buffers, own: newBudget(e.cfg.MaxBytes), all: e.bytes}
	c.records = records{src: nc, buffer: c.buffer, before: c.beforeRead, after: c.afterRead}
	c.out.init(nc, e.cfg.StallTimeout)
	if t, ok := nc.(*net.TCPConn); ok {
		// A client whose host died leaves no word: keep-alive ends its connection after two minutes.
		_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4})
	}
	return c
}

func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// serve reads until the client leaves, breaks the protocol or the server stops; then it waits for what runs, lets it be
// answered, and closes.
func (c *conn) serve() {
	written := make(chan struct{})
	go func() {
		c.out.run()
		close(written)
	}()
	c.afterRead()
	err := c.read()
	c.out.end()
	c.records.close()
	c.requests.idle()
	c.out.close()
	<-written
	c.nc.Close()
	if !quiet(err) && !c.isStopping() {
		c.engine.counters.BadRecords.Add(1)
		c.engine.cfg.Zap.Info("connection closed", zap.Stringer("client", c.client), zap.Error(err))
	}
}

func (c *conn) read() error {
	for {
		rec, buf, err := c.records.next()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && c.overslept() {
				continue
			}
			return err
		}
		for _, b := range [...]*budget{c.requests, c.engine.requests} {
			if !b.try(1) {
				c.wait(func() { b.take(1) })
			}
		}
		call := c.engine.calls.Get().(*call)
		call.conn, call.buf = c, buf
		if c.left() {
			call.drop()
			return errLeft
		}
		if !call.receive(rec, c.client, c.now) {
			call.drop()
			return errNotACall
		}
	}
}

// wait waits for what others give back, in the reader goroutine. Replies go out meanwhile, and a record that is on its way
// gets its time anew.
func (c *conn) wait(until func()) {
	c.out.end()
	until()
	c.out.begin()
	c.waited, c.timedFor = true, 0
}

var errLeft = errors.New("the client has left")

// left reports whether the client has given the connection up. It may have sent again, on another one, what it sent here,
// and gone on from there: a WRITE that waited here meanwhile would undo what was acknowledged since. A read would not tell,
// since it first gives all that came before; so after every wait the socket's state is asked for.
func (c *conn) left() bool {
	if c.out.broken.Load() {
		return true
	}
	t, ok := c.nc.(*net.TCPConn)
	if !c.waited || !ok {
		return false
	}
	c.waited = false
	raw, err := t.SyscallConn()
	if err != nil {
		return true
	}
	established := false
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		established = err == nil && info.State == unix.BPF_TCP_ESTABLISHED
	})
	return err != nil || !established
}

// quiet tells the ends of a connection that are nobody's fault.
func quiet(err error) bool {
	return !errors.Is(err, errRecordTooBig) && !errors.Is(err, errNotACall) && !errors.Is(err, os.ErrDeadlineExceeded)
}

// beforeRead lets replies go, since the reader may now wait for long, and gives a record that has begun its time. A deadline
// that was set for an earlier record a short while ago serves for this one too: a stream of records would set one with every
// read otherwise.
func (c *conn) beforeRead(partial bool) {
	c.out.end()
	c.partial = partial
	if !partial {
		return
	}
	now := time.Now()
	if c.timedFor == c.records.complete+1 || now.Sub(c.timedAt) < c.engine.cfg.StallTimeout/8 {
		return
	}
	c.timedFor, c.timedAt = c.records.complete+1, now
	c.mu.Lock()
	if !c.stopping {
		_ = c.nc.SetReadDeadline(now.Add(c.engine.cfg.StallTimeout))
	}
	c.mu.Unlock()
}

func (c *conn) afterRead() {
	c.now = time.Now()
	c.out.begin()
}

// overslept reports whether a read deadline passed while no record had begun, and takes it away: a client may be silent for
// as long as it likes.
func (c *conn) overslept() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping || c.partial {
		return false
	}
	c.timedAt = time.Time{}
	_ = c.nc.SetReadDeadline(time.Time{})
	return true
}

// stop lets the reader end at its next read.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
}

func (c *conn) isStopping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopping
}

// cut ends the connection at once: nothing more is read or answered.
func (c *conn) cut() {
	c.stop()
	c.nc.Close()
}

// buffer gets memory for a record or a reply, in the reader goroutine.
func (c *conn) buffer(n int) *buffer {
	b := c.bufs.try(n)
	if b == nil {
		c.wait(func() { b = c.bufs.get(n) })
	}
	return b
}
