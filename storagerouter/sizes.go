package storagerouter

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ovs"
)

// The defaults of what is chosen by the machine.
const (
	logSizeDefault = 4 << 30
	logSizeLeast   = 256 << 20
	minFreeAtFirst = 1 << 30 // free space without which a first start is refused
	cacheMost      = 4 << 30
	cacheLeast     = 16 << 20
)

// resolve fills the sizes that are chosen by the machine: the log takes 4 GiB, less where the disk is small, and keeps the
// size of the first start where none is set; the read cache takes a quarter of the memory, at most 4 GiB.
func (c *Config) resolve(d *dataDir) error {
	const op = "storagerouter.resolve"
	if !d.used {
		if err := c.enough(d); err != nil {
			return err
		}
	}
	_, free, err := d.fs.Space(d.dir)
	if err != nil {
		return ovs.E(op, ovs.KindIO, d.dir, err)
	}
	text, err := d.keep("log-size", 0o644, func() string {
		if c.LogSize == 0 {
			return c.chooseLogSize(free).String()
		}
		return c.LogSize.String()
	})
	if err != nil {
		return ovs.E(op, ovs.KindIO, d.dir, err)
	}
	if c.LogSize == 0 {
		if err := c.LogSize.Set(text); err != nil || c.LogSize < 1 {
			return ovs.E(op, ovs.KindCorrupt, d.path("log-size"), err)
		}
	}
	if c.ReadCache == 0 {
		var info unix.Sysinfo_t
		if err := unix.Sysinfo(&info); err != nil {
			return ovs.E(op, ovs.KindIO, "sysinfo", err)
		}
		memory := uint64(info.Totalram) * uint64(info.Unit)
		c.ReadCache = Size(min(max(memory/4, cacheLeast), cacheMost))
	}
	return nil
}

// chooseLogSize takes a tenth of what is free, in whole segments, within limits.
func (c *Config) chooseLogSize(free uint64) Size {
	tenth := Size(free/10) / c.LogSegment * c.LogSegment
	return min(logSizeDefault, max(tenth, logSizeLeast, 4*c.LogSegment))
}

// enough refuses a first start on a disk that would be full at once.
func (c *Config) enough(d *dataDir) error {
	const op = "storagerouter.resolve"
	_, free, err := d.fs.Space(d.dir)
	if err != nil {
		return ovs.E(op, ovs.KindIO, d.dir, err)
	}
	log := c.LogSize
	if log == 0 {
		log = c.chooseLogSize(free)
	}
	if need := max(uint64(log)+asdKeep, minFreeAtFirst); free < need {
		return ovs.E(op, ovs.KindNoSpace, d.dir, fmt.Errorf("%d MiB are free, a first start needs %d, of which the write log takes %s: make room, name another directory with --data, or set log_size", free>>20, need>>20, log))
	}
	return nil
}
