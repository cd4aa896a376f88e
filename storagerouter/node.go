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

// minFree is the free space below which Raft takes no more growing proposals.
const minFree = 256 << 20

// Node is a running node.
type Node struct {
	cfg       Config
	version   string
	zap       *zap.Logger
	started   time.Time
	dir       *dataDir
	core      *Core
	nfs       *nfsd.Server
	api       *framework.API
	ports     client.Ports
	portmap   string // where NFS is registered, or why nowhere
	onPortmap bool
	ready     atomic.Bool
	metrics   *prometheus.Registry
	failed    chan error
	closers   closers
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
			err = errors.Join(err, n.closers.close(context.WithoutCancel(ctx)))
		}
	}()
	ioFlusher(log)
	fsys := vfs.OS()
	if n.dir, err = openDataDir(fsys, cfg.Data); err != nil {
		return nil, err
	}
	n.closers.add("data directory", func(context.Context) error { return n.dir.close() })
	if err = n.cfg.resolve(fsys); err != nil {
		return nil, err
	}
	raft, err := arakoon.Open(arakoon.Config{
		Dir: n.dir.path("raft"), FS: fsys, Node: n.dir.node, MinFree: minFree, Rand: rand.Reader, Log: log,
	})
	if err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, "raft", err)
	}
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
	return n, nil
}

// openDoors listens: NFS and MOUNT on one port, REST on another, then the portmapper.
func (n *Node) openDoors() error {
	const op = "storagerouter.openDoors"
	allow, err := n.cfg.Prefixes()
	if err != nil {
		return ovs.E(op, ovs.KindInvalid, nil, err)
	}
	if err := n.openNFS(allow); err != nil {
		return err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(n.cfg.Listen, strconv.Itoa(n.cfg.APIPort)))
	if err != nil {
		return ovs.E(op, ovs.KindIO, n.cfg.APIPort, fmt.Errorf("the REST API's port: is another server on it? --api-port moves it: %w", err))
	}
	n.ports.API = l.Addr().(*net.TCPAddr).Port
	n.metrics = n.newMetrics()
	n.api = framework.NewAPI(n, n.dir.token, metricsHandler(n.metrics))
	n.serve("REST", func() error { return n.api.Serve(l) }, n.api.Close)
	n.openPortmap(allow)
	n.ports.PID = os.Getpid()
	text, err := json.Marshal(n.ports)
	if err != nil {
		return ovs.E(op, ovs.KindUnknown, nil, err)
	}
	if err := writeFile(n.dir.fs, n.dir.path("ports.json"), append(text, '\n'), 0o644); err != nil {
		return ovs.E(op, ovs.KindIO, "ports.json", err)
	}
	n.closers.add("ports.json", func(context.Context) error { return n.dir.fs.Remove(n.dir.path("ports.json")) })
	return nil
}

func (n *Node) openNFS(allow []netip.Prefix) error {
	const op = "storagerouter.openNFS"
	l, err := net.Listen("tcp", net.JoinHostPort(n.cfg.Listen, strconv.Itoa(n.cfg.NFSPort)))
	if err != nil {
		return ovs.E(op, ovs.KindIO, n.cfg.NFSPort, fmt.Errorf("the NFS port: is another server on it? --nfs-port moves it: %w", err))
	}
	n.ports.NFS = l.Addr().(*net.TCPAddr).Port
	var exports []nfsd.Export
	for _, p := range n.core.pools {
		exports = append(exports, nfsd.Export{
			Path: p.cfg.Export, FS: p.router, Allow: allow, ReadOnly: p.cfg.ReadOnly, Squash: squashOf(p.cfg.Squash),
		})
	}
	if n.nfs, err = nfsd.New(nfsd.Config{Exports: exports, Key: n.dir.key, Zap: n.zap}); err != nil {
		return ovs.E(op, ovs.KindUnknown, nil, err)
	}
	n.serve("NFS", func() error { return n.nfs.Serve(l) }, n.nfs.Close)
	return nil
}

// serve runs a door until its closer ends it; one that ends by itself fails the node.
func (n *Node) serve(name string, run func() error, end func(context.Context) error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(); err != nil {
			select {
			case n.failed <- ovs.E("storagerouter.serve", ovs.KindIO, name, err):
			default: // another door failed first: that error ends the node
			}
		}
	}()
	n.closers.add(name, func(ctx context.Context) error {
		err := end(ctx)
		select {
		case <-done:
		case <-ctx.Done():
			err = errors.Join(err, ctx.Err())
		}
		return err
	})
}

// openPortmap answers on port 111, or registers with the rpcbind that does. Neither is no reason to fail: Linux clients can
// name the ports.
func (n *Node) openPortmap(allow []netip.Prefix) {
	if n.cfg.Portmap == "off" {
		n.portmap = "portmap off"
		return
	}
	addr, err := netip.ParseAddr(n.cfg.Listen)
	if err == nil {
		var pm *nfsd.Portmap
		if pm, err = nfsd.ServePortmap(nfsd.PortmapConfig{Port: uint16(n.ports.NFS), Addr: addr, Allow: allow, Zap: n.zap}); err == nil {
			n.portmap, n.onPortmap = "portmap on port 111", true
			if pm.Registered() {
				n.portmap = "registered with the running rpcbind"
			}
			n.closers.add("portmap", func(context.Context) error { return pm.Close() })
			return
		}
	}
	n.portmap = "no portmap: " + err.Error()
}

// Failed tells when a door ended by itself: the node cannot go on.
func (n *Node) Failed() <-chan error { return n.failed }

// Close finishes running requests, makes the log durable and ends everything, at the latest when ctx ends.
func (n *Node) Close(ctx context.Context) error {
	n.ready.Store(false)
	return n.closers.close(ctx)
}

// ioFlusher tells the kernel that this process writes back the memory of others (PR_SET_IO_FLUSHER): a client on this host
// must not wait for itself when memory is short. It needs CAP_SYS_RESOURCE; without it the datastore works all the same.
func ioFlusher(log *zap.Logger) {
	if err := unix.Prctl(unix.PR_SET_IO_FLUSHER, 1, 0, 0, 0); err != nil {
		log.Debug("not an IO flusher: under memory pressure a client on this host may slow down", zap.Error(err))
	}
}
