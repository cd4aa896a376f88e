package nfsclient

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"
)

// Options say where and how. Addr and Export are required.
type Options struct {
	Addr    string        // host:port of NFS and MOUNT
	Export  string        // path of the export
	Conns   int           // connections; 0 is 1
	Depth   int           // calls in flight on each, 1 to 4096; 0 is 64
	Timeout time.Duration // a connection with calls in flight and no reply for that long is broken; 0 is 30 s
	Retry   bool          // reconnect and send again, for ever; else a lost connection stays lost
	UID     uint32        // AUTH_SYS
	GID     uint32

	cred []byte // encoded
}

// Client is a mounted export over several connections.
type Client struct {
	Root Handle

	conns   []*Conn
	next    atomic.Uint32
	xid     atomic.Uint32 // of the last call: servers know a call sent again by address and XID, across connections and restarts
	closing chan struct{}
}

// Dial connects and mounts.
func Dial(ctx context.Context, opt Options) (*Client, error) {
	if opt.Conns == 0 {
		opt.Conns = 1
	}
	if opt.Depth == 0 {
		opt.Depth = 64
	}
	if opt.Depth < 1 || opt.Depth > maxDepth {
		return nil, fmt.Errorf("nfsclient: depth %d is not from 1 to %d", opt.Depth, maxDepth)
	}
	if opt.Timeout == 0 {
		opt.Timeout = 30 * time.Second
	}
	body := putOpaque(put32(nil, 0), "tests") // stamp, machine name
	body = put32(put32(put32(body, opt.UID), opt.GID), 0)
	opt.cred = putOpaque(put32(nil, 1), body) // AUTH_SYS
	c := &Client{closing: make(chan struct{})}
	c.xid.Store(rand.Uint32())
	var d net.Dialer
	for range opt.Conns {
		sock, err := d.DialContext(ctx, "tcp", opt.Addr)
		if err != nil {
			c.Close()
			return nil, &LostError{err}
		}
		c.conns = append(c.conns, dial(c, opt, sock))
	}
	if err := c.mount(ctx, opt.Export); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends all connections. Calls in flight end with a LostError first.
func (c *Client) Close() {
	close(c.closing)
	for _, cn := range c.conns {
		cn.close()
	}
}

// Conn is connection i, counted round.
func (c *Client) Conn(i int) *Conn { return c.conns[i%len(c.conns)] }

// Conns is how many there are.
func (c *Client) Conns() int { return len(c.conns) }

// any takes the connections in turn, for calls on names.
func (c *Client) any() *Conn { return c.Conn(int(c.next.Add(1))) }

// Do submits a call (by a method of cn) and waits for its end. When ctx ends first, the connection is given up: the call's memory is the
// connection's until then.
func Do(ctx context.Context, cn *Conn, c *Call, submit func(*Call)) error {
	done := make(chan struct{})
	c.Done = func(*Call) { close(done) }
	submit(c)
	select {
	case <-done:
		return c.Err
	case <-ctx.Done():
	}
	cn.fail(ctx.Err())
	cn.close()
	<-done
	return c.Err
}

func (c *Client) mount(ctx context.Context, export string) error {
	call := Call{prog: mountProgram, vers: 3, proc: 1, args: putOpaque(nil, export)} // MNT
	cn := c.any()
	if err := Do(ctx, cn, &call, cn.submit); err != nil {
		return fmt.Errorf("mount %s: %w", export, err)
	}
	r := reader{b: call.reply}
	if s := r.u32(); s != 0 {
		return fmt.Errorf("mount %s: status %d", export, s)
	}
	c.Root = Handle(r.opaque())
	if r.bad || len(c.Root) == 0 {
		return fmt.Errorf("mount %s: malformed reply", export)
	}
	return nil
}

// named does a call on names: args come after the first handle.
func (c *Client) named(ctx context.Context, proc uint32, dir Handle, args []byte) (*reader, error) {
	call := Call{File: dir}
	call.start(proc)
	call.args = append(call.args, args...)
	cn := c.any()
	if err := Do(ctx, cn, &call, cn.submit); err != nil {
		return nil, err
	}
	return &reader{b: call.reply}, nil
}
