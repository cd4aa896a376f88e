package storagerouter

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ovs"
	"ovs/internal/vfs"
)

// The defaults of what is chosen by the machine.
const (
	logSizeDefault = 4 << 30
	logSizeLeast   = 256 << 20
	cacheMost      = 4 << 30
	cacheLeast     = 16 << 20
)

// resolve fills the sizes that are chosen by the machine: the log takes 4 GiB, less where the disk is small; the read cache
// a quarter of the memory, at most 4 GiB.
func (c *Config) resolve(fsys vfs.FS) error {
	const op = "storagerouter.resolve"
	if c.LogSize == 0 {
		_, free, err := fsys.Space(c.Data)
		if err != nil {
			return ovs.E(op, ovs.KindIO, c.Data, err)
		}
		c.LogSize = logSizeDefault
		if tenth := Size(free/10) / c.LogSegment * c.LogSegment; tenth < c.LogSize {
			c.LogSize = max(tenth, logSizeLeast, 4*c.LogSegment)
		}
		if uint64(c.LogSize) > free/2 {
			return ovs.E(op, ovs.KindNoSpace, c.Data, fmt.Errorf("%d MiB are free, a write log of %s needs twice its size: make room, or set log_size", free>>20, c.LogSize))
		}
	}
	if c.ReadCache == 0 {
		var info unix.Sysinfo_t
		if err := unix.Sysinfo(&info); err != nil {
			return ovs.E(op, ovs.KindIO, nil, errors.Join(errors.New("sysinfo"), err))
		}
		memory := uint64(info.Totalram) * uint64(info.Unit)
		c.ReadCache = Size(min(max(memory/4, cacheLeast), cacheMost))
	}
	return nil
}
