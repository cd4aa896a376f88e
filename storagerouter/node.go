package storagerouter

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"ovs"
	"ovs/arakoon"
	"ovs/framework"
	"ovs/framework/client"
	"ovs/internal/vfs"
	"ovs/nfsd"
)

const (
	closeWithin = 9 * time.Second // for a start that failed to put back what it opened
	keptForRest = 2 * time.Second // of a stop's time, for all below the doors: the running requests get what comes before
)

// Node is a running node.
type Node struct {
	cfg       Config
	version   string
	zap       *zap.Logger
	started   time.Time
	dir       *dataDir
	core      *Core
	nfsAt     net.Listener
	apiAt     net.Listener
	nfs       *nfsd.Server
	api       *framework.API
	ports     client.Ports
	portmap   string // where NFS is registered, or why nowhere
	onPortmap bool
	ready     atomic.Bool
	metrics   *prometheus.Registry
	doors     []door
	failed    chan error
	closers   closers
}

// door is a server in front of the node.
type door struct {
	name string
	end  func(context.Context) error // lets what runs end, and ends it
	done chan struct{}               // closed when it serves no more
}

// Open starts a node: when it returns, every vPool can be mounted. What the node owned when it went down is taken over in the
// background; an object that is asked for comes first.
func Open(ctx context.Context, cfg Config, version string, log *zap.Logger) (_ *Node, err error) {
	const op = "storagerouter.Open"
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		return nil, ovs.E(op, ovs.KindInvalid, cfg.Data, err)
	}
	cfg.Data = data
	n := &Node{cfg: cfg, version: version, zap: log, started: time.Now(), failed: make(chan error, 2)}
	defer func() {
		if err != nil {
			within, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
			defer cancel()
			err = errors.Join(err, n.closers.close(within))
		}
	}()
	ioFlusher(log)
	fsys := vfs.OS()
	if n.dir, err = openDataDir(fsys, cfg.Data, log); err != nil {
		return nil, err
	}
	n.closers.add("data directory", func(context.Context) error { return n.dir.close() })
	if err = n.listen(); err != nil {
		return nil, err
	}
	if err = n.cfg.resolve(n.dir); err != nil {
		return nil, err
	}
	log.Info("starting", zap.String("version", version), zap.String("data", cfg.Data), zap.Stringer("write log", n.cfg.LogSize), zap.Stringer("read cache", n.cfg.ReadCache))
	raft, err := arakoon.Open(arakoon.Config{
		Dir: n.dir.path("raft"), FS: fsys, Node: n.dir.node, MinFree: minFree, Rand: rand.Reader, Log: log,
	})
	if err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, "raft", err)
	}
	raftTook := time.Since(n.started)
	n.closers.add("raft", func(context.Context) error { return raft.Close() })
	if n.core, err = OpenCore(ctx, n.cfg, n.dir.node, fsys, n.dir.path, raft, log); err != nil {
		return nil, err
	}
	n.closers.add("core", n.core.Close)
	if err = n.core.Start(ctx); err != nil {
		return nil, err
	}
	if err = n.openDoors(); err != nil {
		return nil, err
	}
	n.ready.Store(true)
	log.Info("ready", append([]zap.Field{zap.Duration("raft", raftTook)}, append(n.core.times.fields, zap.Duration("all", time.Since(n.started)))...)...)
	return n, nil
}

// listen takes the ports, before anything costly: one that is taken is known at once, and clients that come back early wait
// in the listener's queue.
func (n *Node) listen() (err error) {
	const op = "storagerouter.listen"
	for _, d := range []struct {
		name, flag string
		port       int
		at         *net.Listener
	}{{"NFS", "--nfs-port", n.cfg.NFSPort, &n.nfsAt}, {"REST", "--api-port", n.cfg.APIPort, &n.apiAt}} {
		addr := net.JoinHostPort(n.cfg.Listen, strconv.Itoa(d.port))
		l, err := net.Listen("tcp", addr)
		if errors.Is(err, unix.EADDRINUSE) {
			return ovs.E(op, ovs.KindBusy, addr, fmt.Errorf("the port of %s is taken: is another server running? %s moves it: %w", d.name, d.flag, err))
		}
		if err != nil {
			return ovs.E(op, ovs.KindIO, addr, fmt.Errorf("the port of %s: %w", d.name, err))
		}
		*d.at = l
		n.closers.add("port of "+d.name, func(context.Context) error {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) { // its server closed it already
				return err
			}
			return nil
		})
	}
	return nil
}

// openDoors begins to serve: NFS and MOUNT on one port, REST on another, then the portmapper.
func (n *Node) openDoors() error {
	const op = "storagerouter.openDoors"
	allow, err := n.cfg.Prefixes()
	if err != nil {
		return ovs.E(op, ovs.KindInvalid, nil, err)
	}
	n.closers.add("doors", n.closeDoors)
	if err := n.openNFS(allow); err != nil {
		return err
	}
	n.ports.API = n.apiAt.Addr().(*net.TCPAddr).Port
	n.metrics = n.newMetrics()
	n.api = framework.NewAPI(n, n.dir.token, metricsHandler(n.metrics))
	n.serve("REST", func() error { return n.api.Serve(n.apiAt) }, n.api.Close)
	n.openPortmap(allow)
	n.ports.PID, n.ports.Host = os.Getpid(), reachable(n.cfg.Listen)
	return n.tellPorts()
}

// tellPorts writes ports.json, which says that the node is ready and where. It stays locked as long as it is true: what a
// killed server left is locked by nobody.
func (n *Node) tellPorts() error {
	const op = "storagerouter.tellPorts"
	text, err := json.Marshal(n.ports)
	if err != nil {
		return ovs.E(op, ovs.KindUnknown, nil, err)
	}
	name := n.dir.path("ports.json")
	lock, err := n.dir.fs.Lock(name + ".new") // writeFile writes this very file, then renames it
	if err != nil {
		return ovs.E(op, ovs.KindIO, name, err)
	}
	if err := writeFile(n.dir.fs, name, append(text, '\n'), 0o644); err != nil {
		return ovs.E(op, ovs.KindIO, name, errors.Join(err, lock.Close()))
	}
	n.closers.add("ports.json", func(context.Context) error { return errors.Join(n.dir.fs.Remove(name), lock.Close()) })
	return nil
}

func (n *Node) openNFS(allow []netip.Prefix) error {
	const op = "storagerouter.openNFS"
	n.ports.NFS = n.nfsAt.Addr().(*net.TCPAddr).Port
	var exports []nfsd.Export
	for _, p := range n.core.pools {
		exports = append(exports, nfsd.Export{
			Path: p.cfg.Export, FS: p.router, Allow: allow, ReadOnly: p.cfg.ReadOnly, Squash: squashOf(p.cfg.Squash),
		})
	}
	var err error
	if n.nfs, err = nfsd.New(nfsd.Config{Exports: exports, Key: n.dir.key, Zap: n.zap}); err != nil {
		return ovs.E(op, ovs.KindUnknown, nil, err)
	}
	n.serve("NFS", func() error { return n.nfs.Serve(n.nfsAt) }, n.nfs.Close)
	return nil
}

// serve runs a door until closeDoors ends it; one that ends by itself fails the node.
func (n *Node) serve(name string, run func() error, end func(context.Context) error) {
	d := door{name: name, end: end, done: make(chan struct{})}
	n.doors = append(n.doors, d)
	go func() {
		defer close(d.done)
		if err := run(); err != nil {
			select {
			case n.failed <- ovs.E("storagerouter.serve", ovs.KindIO, name, err):
			default: // another door failed first: that error ends the node
			}
		}
	}()
}

// closeDoors lets the running requests of all doors end, at once, for as long as ctx leaves time for the rest of the stop.
// Nothing new is taken meanwhile.
func (n *Node) closeDoors(ctx context.Context) error {
	within := ctx
	if limit, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		within, cancel = context.WithDeadline(ctx, limit.Add(-keptForRest))
		defer cancel()
	}
	errs := make(chan error, len(n.doors))
	for _, d := range n.doors {
		go func() { errs <- n.drain(within, d.name, d.end) }()
	}
	var all error
	for range n.doors {
		all = errors.Join(all, <-errs)
	}
	for _, d := range n.doors {
		select {
		case <-d.done:
		case <-ctx.Done():
			all = errors.Join(all, ovs.E("storagerouter.closeDoors", ovs.KindTimeout, d.name, ctx.Err()))
		}
	}
	return all
}

// drain lets a door's running requests end. One that cannot end in time (it waits for room in a full log) was not
// acknowledged: its client sends it again to the next start, so it is no failure of the stop.
func (n *Node) drain(ctx context.Context, name string, end func(context.Context) error) error {
	err := end(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		n.zap.Warn("some requests did not end in time and were not answered", zap.String("door", name))
		return nil
	}
	return err
}

// openPortmap answers on port 111, or registers with the rpcbind that does. Neither is no reason to fail: Linux clients can
// name the ports.
func (n *Node) openPortmap(allow []netip.Prefix) {
	if n.cfg.Portmap == "off" {
		n.portmap = "portmap off"
		return
	}
	addr, _ := netip.ParseAddr(n.cfg.Listen) // Validate took it
	pm, err := nfsd.ServePortmap(nfsd.PortmapConfig{Port: uint16(n.ports.NFS), Addr: addr, Allow: allow, Zap: n.zap})
	if err == nil {
		n.portmap, n.onPortmap = "portmap on port 111", true
		if pm.Registered() {
			n.portmap = "registered with the running rpcbind"
		}
		done := make(chan struct{})
		n.doors = append(n.doors, door{name: "portmap", done: done, end: func(context.Context) error {
			defer close(done)
			if err := pm.Close(); err != nil { // the rpcbind may have gone before us
				n.zap.Warn("the entries at the running rpcbind could not be taken back", zap.Error(err))
			}
			return nil
		}})
		return
	}
	var e *ovs.Error
	if errors.As(err, &e) && e.Err != nil {
		err = e.Err // the cause is for operators, the call path is not
	}
	n.portmap = "no portmap on port 111: " + err.Error()
}

// Failed tells when a door ended by itself: the node cannot go on.
func (n *Node) Failed() <-chan error { return n.failed }

// Close finishes running requests, makes the log durable and ends everything, at the latest when ctx ends.
func (n *Node) Close(ctx context.Context) error {
	n.ready.Store(false)
	n.zap.Info("stopping")
	err := n.closers.close(ctx)
	if err == nil {
		n.zap.Info("stopped: all that was acknowledged is durable")
	}
	return err
}

// ioFlusher tells the kernel that this process writes back the memory of others (PR_SET_IO_FLUSHER): a client on this host
// must not wait for itself when memory is short. It needs CAP_SYS_RESOURCE; without it the datastore works all the same.
func ioFlusher(log *zap.Logger) {
	if err := unix.Prctl(unix.PR_SET_IO_FLUSHER, 1, 0, 0, 0); err != nil {
		log.Debug("not an IO flusher: under memory pressure a client on this host may slow down", zap.Error(err))
	}
}
