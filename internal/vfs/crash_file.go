package vfs

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"syscall"
	"time"
)

// OpenFile implements FS. perm has no effect.
func (d *Crash) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	f := &crashFile{d: d, name: name, flag: flag}
	err := d.call(openOp(flag), name, func() (err error) {
		if f.n, err = d.open(name, flag); err != nil {
			return err
		}
		f.n.opens++
		f.direct = flag&Direct != 0 && !d.noDirect && !f.n.dir
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d *Crash) open(name string, flag int) (*node, error) {
	dir, base, err := d.parent(name)
	if err != nil {
		return nil, err
	}
	n := dir.names[base]
	if base == "" {
		n = d.root
	}
	writable := flag&(os.O_WRONLY|os.O_RDWR) != 0
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, syscall.ENOENT
	case n == nil:
		n = d.newNode(false)
		d.record(entry{dir, base, n})
	case flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, syscall.EEXIST
	case n.dir && (writable || flag&createFlags != 0):
		return nil, syscall.EISDIR
	case flag&os.O_TRUNC != 0:
		d.truncate(n, 0)
	}
	return n, nil
}

// crashFile is an open file or directory of a Crash.
type crashFile struct {
	d      *Crash
	n      *node
	name   string
	flag   int
	direct bool

	pos    int64 // d.mu guards these two
	closed bool
}

func (f *crashFile) call(op Op, do func() error) error {
	return f.d.call(op, f.name, func() error {
		if f.closed {
			return os.ErrClosed
		}
		return do()
	})
}

func (f *crashFile) writable() error {
	switch {
	case f.n.dir:
		return syscall.EISDIR
	case f.flag&(os.O_WRONLY|os.O_RDWR) == 0:
		return syscall.EBADF
	}
	return nil
}

// check is what read and write have in common; O_DIRECT's contract is enforced as the strictest kernel does.
func (f *crashFile) check(p []byte, off int64, write bool) error {
	if write {
		if err := f.writable(); err != nil {
			return err
		}
	} else if f.n.dir {
		return syscall.EISDIR
	} else if f.flag&os.O_WRONLY != 0 {
		return syscall.EBADF
	}
	if off < 0 || f.direct && len(p) > 0 && !Aligned(p, off) {
		return syscall.EINVAL
	}
	return nil
}

func (f *crashFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.call(OpRead, func() error {
		if err := f.check(p, off, false); err != nil {
			return err
		}
		n = f.n.readAt(p, off)
		return nil
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (f *crashFile) Read(p []byte) (n int, err error) {
	err = f.call(OpRead, func() error {
		if err := f.check(p, f.pos, false); err != nil {
			return err
		}
		n = f.n.readAt(p, f.pos)
		f.pos += int64(n)
		return nil
	})
	if err == nil && n == 0 && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}

func (f *crashFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.call(OpWrite, func() error {
		if f.flag&os.O_APPEND != 0 {
			return syscall.EINVAL
		}
		n, err = f.write(p, off)
		return err
	})
	return n, err
}

func (f *crashFile) Write(p []byte) (n int, err error) {
	err = f.call(OpWrite, func() error {
		if f.flag&os.O_APPEND != 0 {
			f.pos = f.n.size()
		}
		n, err = f.write(p, f.pos)
		f.pos += int64(n)
		return err
	})
	return n, err
}

func (f *crashFile) write(p []byte, off int64) (int, error) {
	if err := f.check(p, off, true); err != nil || len(p) == 0 {
		return 0, err
	}
	n, err := f.d.write(f.n, p, off, int64(len(p)))
	if n > 0 {
		f.d.grow(f.n, off+n)
	}
	return int(n), err
}

func (f *crashFile) Truncate(size int64) error {
	return f.call(OpTruncate, func() error {
		if size < 0 || f.writable() != nil {
			return syscall.EINVAL // ftruncate(2) does not say EBADF
		}
		f.d.truncate(f.n, size)
		return nil
	})
}

func (f *crashFile) PunchHole(off, n int64) error {
	return f.call(OpPunchHole, func() error {
		if err := f.writable(); err != nil {
			return err
		}
		if off < 0 {
			return syscall.EINVAL
		}
		f.d.zero(f.n, off, off+min(n, f.n.size()-off))
		return nil
	})
}

// Preallocate checks its arguments and that the disk has the room, and does nothing else.
func (f *crashFile) Preallocate(off, n int64) error {
	return f.call(OpPreallocate, func() error {
		if err := f.writable(); err != nil || n <= 0 {
			return err
		}
		if off < 0 {
			return syscall.EINVAL
		}
		if n/pageSize > f.d.capacity-f.d.used {
			return syscall.ENOSPC
		}
		return nil
	})
}

func (f *crashFile) Datasync() error { return f.flush(OpDatasync) }

func (f *crashFile) Sync() error { return f.flush(OpSync) }

func (f *crashFile) flush(op Op) error {
	return f.d.flush(op, f.name, func() (func(), error) {
		switch {
		case f.closed:
			return nil, os.ErrClosed
		case f.n.dir:
			return f.d.beginSyncDir(f.n), nil
		}
		return f.n.capture(f.d.seq), nil
	})
}

// failSync makes a flush fail as a kernel's does; Fault calls it for a flush that it answers with an error.
func (f *crashFile) failSync() {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if !f.d.dead() { // after a kill another disk has the node
		f.n.failSync()
	}
}

func (f *crashFile) Close() error {
	return f.call(OpClose, func() error {
		f.closed = true
		f.n.opens--
		f.d.release(f.n)
		return nil
	})
}

func (f *crashFile) Stat() (info fs.FileInfo, err error) {
	err = f.call(OpStat, func() error {
		info = f.n.info(path.Base(f.name))
		return nil
	})
	return info, err
}

func (f *crashFile) Name() string { return f.name }
func (f *crashFile) Fd() uintptr  { return ^uintptr(0) }
func (f *crashFile) Direct() bool { return f.direct }

// fileInfo is what a file was at one moment. Times count changes of the disk, in seconds since 1970.
type fileInfo struct {
	name string
	size int64
	dir  bool
	time uint64
}

func (n *node) info(name string) fs.FileInfo {
	return fileInfo{name: name, size: n.size(), dir: n.dir, time: n.mtime}
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) IsDir() bool        { return i.dir }
func (i fileInfo) ModTime() time.Time { return time.Unix(int64(i.time), 0) }
func (i fileInfo) Sys() any           { return nil }

func (i fileInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
