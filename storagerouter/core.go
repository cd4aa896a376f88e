package storagerouter

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/albaproxy"
	"ovs/dtl"
	"ovs/framework"
	"ovs/internal/pagecache"
	"ovs/internal/vfs"
	"ovs/volumedriver"
)

// Groups gives the replicated store's groups by name: *arakoon.Node, or a twin in a test.
type Groups interface {
	Group(ctx context.Context, name string) (ovs.Registry, error)
}

// nsmGroups is how many groups the manifests of the embedded backend are spread over.
const nsmGroups = 2

// Core is a node without its doors: backend, log and vPools over one data directory and the replicated store. Power cuts
// are played on it whole.
type Core struct {
	cfg     Config
	zap     *zap.Logger
	node    ovs.NodeID
	groups  Groups
	config  ovs.Registry
	backend *albaproxy.Proxy
	wlog    *dtl.Log
	log     ovs.Log // wlog, as the drivers see it
	cache   *pagecache.Cache
	maps    *volumedriver.Budget
	pools   []*pool
	now     func() int64
	relieve atomic.Pointer[map[ovs.PoolID]*pool] // whom the log may ask for room
	full    atomic.Bool                          // the backend has no room for what is in the log
	closers closers
	times   times

	missing   []framework.MissingDisk          // disks of the backend whose fragments count as lost
	health    atomic.Pointer[albaproxy.Health] // the backend's at the last look
	paused    atomic.Int32                     // looks in a row at which a disk took no fragments
	unserved  []string                         // vPools that the settings do not name
	lost      *framework.LogLoss               // the loss that this start accepted
	losses    []framework.LogLoss              // all that were ever accepted
	reporting atomic.Bool                      // objects that come back are named, until the start is over
	quiet     int                              // the room watcher's: looks since an object was waiting to come back
}

// OpenCore builds the core on a directory of fsys. It serves nothing before Start.
func OpenCore(ctx context.Context, cfg Config, node ovs.NodeID, fsys vfs.FS, dir func(...string) string, groups Groups, log *zap.Logger) (_ *Core, err error) {
	const op = "storagerouter.OpenCore"
	c := &Core{cfg: cfg, zap: log, node: node, groups: groups, now: risingClock(), times: times{last: time.Now()}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.closers.close(context.WithoutCancel(ctx)))
		}
	}()
	if c.config, err = groups.Group(ctx, "config"); err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, "config", err)
	}
	known, err := c.checkLog(ctx, fsys, dir("log"))
	if err != nil {
		return nil, err
	}
	if err = c.checkSettings(ctx, fsys, dir("asd")); err != nil {
		return nil, err
	}
	c.times.part("config")
	if err = c.openBackend(ctx, fsys, dir); err != nil {
		return nil, err
	}
	c.watchRoom()
	c.times.part("backend")
	if err = c.openLog(ctx, fsys, dir("log"), known); err != nil {
		return nil, err
	}
	c.times.part("write log")
	if c.cache, err = pagecache.New(int64(cfg.ReadCache)); err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, "read cache", err)
	}
	c.closers.add("read cache", func(context.Context) error { return c.cache.Close() })
	c.maps = volumedriver.NewBudget(int64(cfg.MapMemory))
	byID := map[ovs.PoolID]*pool{}
	for _, pc := range cfg.VPools {
		p, err := c.openPool(ctx, pc)
		if err != nil {
			return nil, err
		}
		c.pools = append(c.pools, p)
		byID[p.id] = p
	}
	c.relieve.Store(&byID)
	c.times.part("vPools")
	return c, nil
}

// Start takes over what this node owned when it went down, and begins to serve.
func (c *Core) Start(ctx context.Context) error {
	for _, p := range c.pools {
		if err := p.router.Start(ctx); err != nil {
			return ovs.E("storagerouter.Start", ovs.KindUnknown, p.cfg.Name, err)
		}
	}
	c.times.part("take-over")
	return nil
}

// FileSystem is the vPool of that name, nil if there is none.
func (c *Core) FileSystem(name string) ovs.FileSystem {
	for _, p := range c.pools {
		if p.cfg.Name == name {
			return p.router
		}
	}
	return nil
}

// Close ends all in the reverse order of opening. The log is durable when it returns without error.
func (c *Core) Close(ctx context.Context) error { return c.closers.close(ctx) }

// askForRoom passes the log's wish for room on to the object's router. Before the vPools are open there is nobody to ask.
func (c *Core) askForRoom(r ovs.Ref) {
	if pools := c.relieve.Load(); pools != nil {
		if p := (*pools)[r.Pool]; p != nil {
			p.router.Relieve(r)
		}
	}
}

// risingClock is the wall clock made to rise with every reading, also where it is set back.
func risingClock() func() int64 {
	var last atomic.Int64
	return func() int64 {
		for {
			was, t := last.Load(), time.Now().UnixNano()
			if t <= was {
				t = was + 1
			}
			if last.CompareAndSwap(was, t) {
				return t
			}
		}
	}
}
