package vfs

import (
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// change is one atomic change of directories: it survives a cut as a whole or not at all.
type change struct {
	seq  uint64
	sets []entry
}

// entry says that name in dir leads to node from now on; nil: to nothing.
type entry struct {
	dir  *node
	name string
	to   *node
}

type entryKey struct {
	dir  *node
	name string
}

// record makes a change in the live view and keeps it until a SyncDir. Needs mu, as all below do.
func (d *Crash) record(sets ...entry) {
	d.seq++
	var dropped []*node
	for _, e := range sets {
		if old := e.dir.names[e.name]; old != nil {
			old.links--
			dropped = append(dropped, old)
			delete(e.dir.names, e.name)
		}
		if e.to != nil {
			e.to.links++
			e.dir.names[e.name] = e.to
		}
		e.dir.mtime = d.seq
	}
	d.pending = append(d.pending, change{d.seq, sets})
	for _, n := range dropped {
		d.release(n)
	}
}

// release gives the space of a file back that has no name and no user any more. What is durable of it may still return
// after a cut.
func (d *Crash) release(n *node) {
	if n.links == 0 && n.opens == 0 {
		d.used -= n.pages
		n.pages = 0
	}
}

// closure widens a choice of pending changes by all earlier ones that touch the same names: a change makes sense only
// after those.
func (d *Crash) closure(chosen func(i int, c change) bool) []bool {
	keep := make([]bool, len(d.pending))
	need := map[entryKey]bool{}
	for i, c := range slices.Backward(d.pending) {
		keep[i] = chosen(i, c)
		for _, e := range c.sets {
			keep[i] = keep[i] || need[entryKey{e.dir, e.name}]
		}
		if !keep[i] {
			continue
		}
		for _, e := range c.sets {
			need[entryKey{e.dir, e.name}] = true
		}
	}
	return keep
}

func (c change) touches(dir *node) bool {
	return slices.ContainsFunc(c.sets, func(e entry) bool { return e.dir == dir })
}

// settle makes all changes of dir up to seq durable, and what they build on.
func (d *Crash) settle(dir *node, seq uint64) {
	keep := d.closure(func(_ int, c change) bool { return c.seq <= seq && c.touches(dir) })
	var rest []change
	for i, c := range d.pending {
		if !keep[i] {
			rest = append(rest, c)
			continue
		}
		for _, e := range c.sets {
			if e.to == nil {
				delete(e.dir.durableNames, e.name)
			} else {
				e.dir.durableNames[e.name] = e.to
			}
		}
	}
	d.pending = rest
}

// parent finds the directory that holds the last element of name. The root has no parent: base is "" then.
func (d *Crash) parent(name string) (dir *node, base string, err error) {
	clean := path.Clean("/" + name)
	if clean == "/" {
		return d.root, "", nil
	}
	parts := strings.Split(clean[1:], "/")
	dir = d.root
	for _, p := range parts[:len(parts)-1] {
		next := dir.names[p]
		switch {
		case next == nil:
			return nil, "", syscall.ENOENT
		case !next.dir:
			return nil, "", syscall.ENOTDIR
		}
		dir = next
	}
	return dir, parts[len(parts)-1], nil
}

func (d *Crash) find(name string) (*node, error) {
	dir, base, err := d.parent(name)
	if err != nil {
		return nil, err
	}
	if base == "" {
		return dir, nil
	}
	if n := dir.names[base]; n != nil {
		return n, nil
	}
	return nil, syscall.ENOENT
}

func (d *Crash) findDir(name string) (*node, error) {
	n, err := d.find(name)
	if err == nil && !n.dir {
		return nil, syscall.ENOTDIR
	}
	return n, err
}

// MkdirAll implements FS. Each directory that it makes is a change of its own.
func (d *Crash) MkdirAll(dir string, _ fs.FileMode) error {
	return d.call(OpMkdir, dir, func() error {
		at := d.root
		for _, p := range strings.FieldsFunc(path.Clean("/"+dir), func(r rune) bool { return r == '/' }) {
			next := at.names[p]
			if next == nil {
				next = d.newNode(true)
				d.record(entry{at, p, next})
			}
			if !next.dir {
				return syscall.ENOTDIR
			}
			at = next
		}
		return nil
	})
}

// Remove implements FS.
func (d *Crash) Remove(name string) error {
	return d.call(OpRemove, name, func() error {
		dir, base, err := d.parent(name)
		if err != nil {
			return err
		}
		n := dir.names[base]
		switch {
		case base == "":
			return syscall.EBUSY
		case n == nil:
			return syscall.ENOENT
		case len(n.names) > 0:
			return syscall.ENOTEMPTY
		}
		d.record(entry{dir, base, nil})
		return nil
	})
}

// RemoveAll implements FS. Each entry goes by a change of its own, the deepest first.
func (d *Crash) RemoveAll(name string) error {
	return d.call(OpRemove, name, func() error {
		dir, base, err := d.parent(name)
		if err == syscall.ENOENT || err == nil && base != "" && dir.names[base] == nil {
			return nil
		}
		if err != nil {
			return err
		}
		if base == "" {
			return syscall.EINVAL
		}
		d.removeTree(dir, base)
		return nil
	})
}

func (d *Crash) removeTree(dir *node, name string) {
	n := dir.names[name]
	for _, child := range sortedKeys(n.names) {
		d.removeTree(n, child)
	}
	d.record(entry{dir, name, nil})
}

// Rename implements FS: one atomic change, also between directories.
func (d *Crash) Rename(from, to string) error {
	err := d.call(OpRename, from, func() error {
		fromDir, fromBase, err := d.parent(from)
		if err != nil {
			return err
		}
		toDir, toBase, err := d.parent(to)
		if err != nil {
			return err
		}
		n, old := fromDir.names[fromBase], toDir.names[toBase]
		switch {
		case fromBase == "" || toBase == "":
			return syscall.EBUSY
		case n == nil:
			return syscall.ENOENT
		case n == old:
			return nil
		case n.dir && strings.HasPrefix(path.Clean("/"+to)+"/", path.Clean("/"+from)+"/"):
			return syscall.EINVAL
		case old != nil && old.dir:
			return syscall.EEXIST // as package os, which takes no directory's place, not even an empty one's
		case old != nil && n.dir:
			return syscall.ENOTDIR
		}
		d.record(entry{fromDir, fromBase, nil}, entry{toDir, toBase, n})
		return nil
	})
	return linkError(OpRename, from, to, err)
}

// Link implements FS.
func (d *Crash) Link(from, to string) error {
	err := d.call(OpLink, from, func() error {
		n, err := d.find(from)
		if err != nil {
			return err
		}
		dir, base, err := d.parent(to)
		switch {
		case err != nil:
			return err
		case n.dir:
			return syscall.EPERM
		case base == "" || dir.names[base] != nil:
			return syscall.EEXIST
		}
		d.record(entry{dir, base, n})
		return nil
	})
	return linkError(OpLink, from, to, err)
}

func linkError(op Op, from, to string, err error) error {
	if e, ok := err.(*fs.PathError); ok {
		return &os.LinkError{Op: op, Old: from, New: to, Err: e.Err}
	}
	return err
}

// ReadDir implements FS.
func (d *Crash) ReadDir(dir string) (list []fs.DirEntry, err error) {
	err = d.call(OpReadDir, dir, func() error {
		n, err := d.findDir(dir)
		if err != nil {
			return err
		}
		for _, name := range sortedKeys(n.names) {
			list = append(list, fs.FileInfoToDirEntry(n.names[name].info(name)))
		}
		return nil
	})
	return list, err
}

// Stat implements FS.
func (d *Crash) Stat(name string) (info fs.FileInfo, err error) {
	err = d.call(OpStat, name, func() error {
		n, err := d.find(name)
		if err == nil {
			info = n.info(path.Base(path.Clean("/" + name)))
		}
		return err
	})
	return info, err
}

// SyncDir implements FS. It makes nothing durable but this directory's own entries, and the earlier history of the names
// that they tell of.
func (d *Crash) SyncDir(dir string) error {
	return d.flush(OpSyncDir, dir, func() (func(), error) {
		n, err := d.findDir(dir)
		if err != nil {
			return nil, err
		}
		return d.beginSyncDir(n), nil
	})
}

func (d *Crash) beginSyncDir(n *node) func() {
	seq := d.seq
	return func() { d.settle(n, seq) }
}

// Lock implements FS. A lock ends with its closer or with the power.
func (d *Crash) Lock(name string) (io.Closer, error) {
	var n *node
	err := d.call(OpLock, name, func() (err error) {
		if n, err = d.open(name, os.O_RDWR|os.O_CREATE); err != nil {
			return err
		}
		switch {
		case n.dir:
			return syscall.EISDIR
		case d.locks[n]:
			return syscall.EWOULDBLOCK
		}
		d.locks[n] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &crashLock{d: d, n: n, name: name}, nil
}

type crashLock struct {
	d    *Crash
	n    *node // nil once closed; d.mu guards it
	name string
}

func (l *crashLock) Close() error {
	return l.d.call(OpClose, l.name, func() error {
		if l.n == nil {
			return os.ErrClosed
		}
		delete(l.d.locks, l.n)
		l.n = nil
		return nil
	})
}

// Space implements FS.
func (d *Crash) Space(dir string) (total, free uint64, err error) {
	err = d.call(OpSpace, dir, func() error {
		_, err := d.find(dir)
		total, free = uint64(d.capacity)*pageSize, uint64(max(0, d.capacity-d.used))*pageSize
		return err
	})
	return total, free, err
}
