package storagerouter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/vfs"
)

// checkSettings compares the settings with what earlier starts made. What would put data out of reach is refused; a vPool
// that is left out keeps its data, and that is said.
func (c *Core) checkSettings(ctx context.Context, fsys vfs.FS, asds string) error {
	if err := c.sameBackend(ctx); err != nil {
		return err
	}
	if err := c.allASDs(fsys, asds); err != nil {
		return err
	}
	const prefix = "pool/"
	return ovs.Scan(ctx, c.config, []byte(prefix), func(p ovs.Pair) error {
		name := strings.TrimPrefix(string(p.Key), prefix)
		if !slices.ContainsFunc(c.cfg.VPools, func(pc PoolConfig) bool { return pc.Name == name }) {
			c.unserved = append(c.unserved, name)
			c.zap.Warn("a vPool is not served: the settings do not name it; its data and its part of the write log are kept", zap.String("vpool", name))
		}
		return nil
	})
}

// sameBackend refuses another name than the first start's: all that lies under that one would be out of reach.
func (c *Core) sameBackend(ctx context.Context) error {
	const op = "storagerouter.sameBackend"
	key := fmt.Appendf(nil, "backend/%016x", uint64(c.node))
	was, err := c.config.Get(ctx, key)
	if ovs.Is(err, ovs.KindNotFound) {
		was = []byte(c.cfg.Backend.Name)
		_, err = c.config.Sequence(ctx, ovs.TestAndSet(key, nil, was))
	}
	if err != nil {
		return ovs.E(op, ovs.KindUnknown, nil, err)
	}
	if string(was) != c.cfg.Backend.Name {
		return ovs.E(op, ovs.KindInvalid, c.cfg.Backend.Name, fmt.Errorf("backend.name: the data of this node lie on backend %s, which cannot be renamed: name that one", was))
	}
	return nil
}

// allASDs refuses fewer ASDs than there were: the fragments of those left out would be lost without a word.
func (c *Core) allASDs(fsys vfs.FS, dir string) error {
	const op = "storagerouter.allASDs"
	entries, err := fsys.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ovs.E(op, ovs.KindIO, dir, err)
	}
	last := -1
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			last = max(last, n)
		}
	}
	if last >= c.cfg.Backend.ASDs {
		return ovs.E(op, ovs.KindInvalid, dir, fmt.Errorf("backend.asds: %d would leave some out that are there, and their fragments with them: set it to %d or more", c.cfg.Backend.ASDs, last+1))
	}
	return nil
}
