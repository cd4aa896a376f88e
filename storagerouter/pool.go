package storagerouter

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"go.uber.org/zap"

	"ovs"
	"ovs/filedriver"
	"ovs/nfsd"
	"ovs/objectrouter"
	"ovs/volumedriver"
)

// pool is one vPool of this node: its router over its two drivers.
type pool struct {
	cfg    PoolConfig
	id     ovs.PoolID
	router *objectrouter.Router
}

// poolRecord is what the config group knows of a vPool.
type poolRecord struct {
	ID string `json:"id"` // PoolID in hexadecimal
}

// poolID finds the vPool's identity in the config group, or makes the vPool: identities are handed out once.
func poolID(ctx context.Context, config ovs.Registry, name string) (ovs.PoolID, error) {
	const op = "storagerouter.poolID"
	key := []byte("pool/" + name)
	for {
		value, err := config.Get(ctx, key)
		if err == nil {
			var r poolRecord
			if err := json.Unmarshal(value, &r); err != nil {
				return 0, ovs.E(op, ovs.KindCorrupt, name, err)
			}
			id, err := strconv.ParseUint(r.ID, 16, 64)
			if err != nil || id == 0 {
				return 0, ovs.E(op, ovs.KindCorrupt, name, fmt.Errorf("identity %q", r.ID))
			}
			return ovs.PoolID(id), nil
		}
		if !ovs.Is(err, ovs.KindNotFound) {
			return 0, ovs.E(op, ovs.KindUnknown, name, err)
		}
		value, err = json.Marshal(poolRecord{ID: randomHex(8)})
		if err != nil {
			return 0, ovs.E(op, ovs.KindUnknown, name, err)
		}
		_, err = config.Sequence(ctx, ovs.AssertAbsent(key), ovs.Set(key, value))
		if err != nil && !ovs.Is(err, ovs.KindConflict) {
			return 0, ovs.E(op, ovs.KindUnknown, name, err)
		}
	}
}

// openPool builds a vPool: two drivers over the node's log and backend, a router over both.
func (c *Core) openPool(ctx context.Context, cfg PoolConfig) (*pool, error) {
	const op = "storagerouter.openPool"
	id, err := poolID(ctx, c.config, cfg.Name)
	if err != nil {
		return nil, err
	}
	group, err := c.groups.Group(ctx, fmt.Sprintf("voldrv-%016x", uint64(id)))
	if err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, cfg.Name, err)
	}
	log := c.zap.With(zap.String("vpool", cfg.Name))
	volumes, err := volumedriver.New(volumedriver.Config{
		Pool: id, Log: c.log, Backend: c.backend, Registry: group, Cache: c.cache, Budget: c.maps, Now: c.now, Zap: log,
		SCOSize: int(c.cfg.Volumes.SCOSize), TLogSCOs: c.cfg.Volumes.TLogSCOs, MostTLogs: c.cfg.Volumes.MostTLogs,
	})
	if err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, cfg.Name, err)
	}
	c.closers.add("volumes of "+cfg.Name, func(context.Context) error { return volumes.Close() })
	files, err := filedriver.New(filedriver.Config{
		Pool: id, Log: c.log, Backend: c.backend, Registry: group, Cache: c.cache, Now: c.now, Zap: log,
	})
	if err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, cfg.Name, err)
	}
	c.closers.add("files of "+cfg.Name, func(context.Context) error { return files.Close() })
	router, err := objectrouter.New(objectrouter.Config{
		Pool: id, Node: c.node, Registry: group, Log: c.log, Backend: c.backend, Volumes: volumes, Files: files,
		VolumePatterns: cfg.Volumes, RestAfter: c.cfg.RestAfter, FileLimit: uint64(c.cfg.FileLimit), Now: c.now, Zap: log,
	})
	if err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, cfg.Name, err)
	}
	c.closers.add("vPool "+cfg.Name, router.Close)
	return &pool{cfg: cfg, id: id, router: router}, nil
}

func squashOf(s string) nfsd.Squash {
	switch s {
	case "root":
		return nfsd.SquashRoot
	case "all":
		return nfsd.SquashAll
	}
	return nfsd.SquashNone
}
