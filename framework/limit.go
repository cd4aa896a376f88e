package framework

import (
	"net"
	"sync"
)

// mostConns bounds the API's open connections: whoever opens more waits in the kernel's queue, and takes no descriptor that
// the log or a disk could need.
const mostConns = 256

// limited is a listener with a bounded number of open connections.
type limited struct {
	net.Listener
	taken chan struct{} // one for each open connection
	quit  chan struct{}
	once  sync.Once
}

func limit(l net.Listener, most int) *limited {
	return &limited{Listener: l, taken: make(chan struct{}, most), quit: make(chan struct{})}
}

// Accept waits for a connection, and before that until there is room for one.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.taken <- struct{}{}:
	case <-l.quit:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.taken
		return nil, err
	}
	return &counted{Conn: c, gone: func() { <-l.taken }}, nil
}

// Close ends Accept, also one that waits for room.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.quit) })
	return l.Listener.Close()
}

// counted is a connection that makes room when it is closed.
type counted struct {
	net.Conn
	once sync.Once
	gone func()
}

func (c *counted) Close() error {
	c.once.Do(c.gone)
	return c.Conn.Close()
}
