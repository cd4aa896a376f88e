package exhaust

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"sync/atomic"

	"ovs/internal/vfs"
)

// FS is a disk over another one: it has c's call go wrong, and counts what is open.
type FS struct {
	vfs.FS
	open atomic.Int64
}

// Disk makes calls on inner go wrong as the rule says: rule.Op and rule.Path choose those that count; Skip and Times are
// c's. A disk that is made after Heal is sound.
func Disk(inner vfs.FS, c *Call, rule vfs.Rule) *FS {
	rule.Skip, rule.Times = c.at, 1
	if c.span == Ever {
		rule.Times = 0
	}
	f := vfs.NewFault(inner, rand.New(rand.NewPCG(1, 1)), nil, rule)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, f)
	if c.healed {
		f.Clear()
	}
	return &FS{FS: f}
}

// Open is how many files and locks are open.
func (d *FS) Open() int { return int(d.open.Load()) }

// Mark passes a mark on.
func (d *FS) Mark(name string) { vfs.Mark(d.FS, name) }

// OpenFile implements vfs.FS.
func (d *FS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	d.open.Add(1)
	return &file{f, closer{f, d}}, nil
}

// Lock implements vfs.FS.
func (d *FS) Lock(name string) (io.Closer, error) {
	l, err := d.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	d.open.Add(1)
	return &closer{l, d}, nil
}

type file struct {
	vfs.File
	closer closer
}

func (f *file) Close() error { return f.closer.Close() }

type closer struct {
	io.Closer
	d *FS
}

func (c *closer) Close() error {
	c.d.open.Add(-1)
	return c.Closer.Close()
}
