package nfsd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/nfsd/gonfs"
)

// Server serves NFS and MOUNT on any number of listeners.
type Server struct {
	engine
	key     handleKey
	exports atomic.Pointer[[]*export]
	mounts  mountList
	drc     *replyCache
	lanes   *gonfs.Pool
}

// New makes a server. It serves nothing before Serve, and owns nothing that Close must end before that.
func New(c Config) (*Server, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	s := &Server{key: newHandleKey(c.Key), drc: newReplyCache(drcEntries)}
	s.engine.init(c, []*program{nfsProgram(), mountProgram()})
	s.server = s
	s.lanes = gonfs.NewPool(c.Readers)
	if err := s.SetExports(c.Exports); err != nil {
		return nil, err
	}
	return s, nil
}

// SetExports replaces the exports; requests that run keep theirs.
func (s *Server) SetExports(exports []Export) error {
	if err := checkExports(exports); err != nil {
		return err
	}
	list := newExports(exports)
	s.exports.Store(&list)
	return nil
}

// Close drains: it accepts nothing more, reads nothing more, answers what runs and closes. When ctx ends first it cuts
// the connections and returns KindTimeout; what a FileSystem still holds then is answered to nobody. Close may be called
// again to wait for that.
func (s *Server) Close(ctx context.Context) error {
	if err := s.engine.close(ctx); err != nil {
		return err
	}
	s.lanes.Close()
	return nil
}

// engine is the part that knows RPC and connections, not NFS: the portmapper runs on one too.
type engine struct {
	cfg      Config
	programs []*program
	server   *Server        // nil in a portmapper
	allow    []netip.Prefix // who may connect; nil: anybody
	calls    sync.Pool
	buffers  bufferPool
	requests *budget // in flight in all
	bytes    *budget // of buffers in all
	reads    workers
	changes  workers
	counters Counters

	mu        sync.Mutex // guards the fields below
	closing   bool
	listeners []net.Listener
	conns     map[*conn]struct{}
	running   sync.WaitGroup // Serve calls and connections
}

func (e *engine) init(c Config, programs []*program) {
	e.cfg, e.programs = c, programs
	e.requests, e.bytes = newBudget(int64(c.AllRequests)), newBudget(c.AllBytes)
	e.conns = map[*conn]struct{}{}
	e.calls.New = func() any { return newCall(e) }
	e.reads.init(c.Readers, c.AllRequests)
	e.changes.init(c.Changers, c.AllRequests)
}

// Serve answers connections of l until Close, when it returns nil (after Close, at once); it closes l.
func (e *engine) Serve(l net.Listener) error {
	defer l.Close()
	e.mu.Lock()
	if e.closing {
		e.mu.Unlock()
		return nil
	}
	e.listeners = append(e.listeners, l)
	e.running.Add(1)
	e.mu.Unlock()
	defer e.running.Done()

	for delay := time.Duration(0); ; {
		nc, err := l.Accept()
		if err == nil {
			delay = 0
			e.start(nc)
			continue
		}
		if e.isClosing() {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return ovs.E("nfsd.Serve", ovs.KindIO, l.Addr(), err)
		}
		// Out of descriptors, or a client that left again: go on, slower while it lasts.
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		e.cfg.Zap.Warn("accept failed", zap.Error(err), zap.Duration("again in", delay))
		time.Sleep(delay)
	}
}

func (e *engine) isClosing() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closing
}

// start serves a connection in goroutines of its own.
func (e *engine) start(nc net.Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing || len(e.conns) >= e.cfg.MaxConns || e.allow != nil && !within(e.allow, addrOf(nc.RemoteAddr())) {
		e.counters.Refused.Add(1)
		nc.Close()
		return
	}
	c := newConn(e, nc)
	e.conns[c] = struct{}{}
	e.running.Add(1)
	e.counters.Connections.Add(1)
	go func() {
		defer e.running.Done()
		c.serve()
		e.mu.Lock()
		delete(e.conns, c)
		e.mu.Unlock()
	}()
}

func (e *engine) close(ctx context.Context) error {
	e.mu.Lock()
	e.closing = true
	for _, l := range e.listeners {
		l.Close()
	}
	conns := make([]*conn, 0, len(e.conns))
	for c := range e.conns {
		conns = append(conns, c)
	}
	e.mu.Unlock()
	for _, c := range conns {
		c.stop()
	}
	done := make(chan struct{})
	go func() {
		e.running.Wait()
		e.reads.close()
		e.changes.close()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		for _, c := range conns {
			c.cut()
		}
		return ovs.E("nfsd.Close", ovs.KindTimeout, nil, ctx.Err())
	}
}

// exportOf finds a pool's export.
func (s *Server) exportOf(p ovs.PoolID) *export {
	list := *s.exports.Load()
	i := slices.IndexFunc(list, func(e *export) bool { return e.pool == p })
	if i < 0 {
		return nil
	}
	return list[i]
}
