/*
Package dragonfs lets Dragonboat v4 run on any vfs.FS: its Raft log (Pebble v1), its snapshots and flag files.

	dragonboat -> lni/vfs.FS -> New(disk) -> vfs.FS (crash twin, fault twin, a test's own)
	                         \-> lni/vfs's own, where disk is vfs.OS(): the same calls, with preallocation

New is for config.NodeHostConfig.Expert.FS. Traps of the pinned version: its log store panics over any FS that is not one
of lni/vfs's own; NewNodeHost swallows a panic whose value is not an error, and returns no host and no error; a power cut
during the very first NewNodeHost may leave a half-written flag file, over which every later one panics so (package arakoon removes
it before). On a dead disk Dragonboat panics: see Crash.RunOn.
*/
package dragonfs

import (
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	lni "github.com/lni/vfs"

	"ovs/internal/vfs"
)

// New is disk as Dragonboat sees it. It comes in the clothes of lni/vfs's fault injector, which injects nothing: that one
// Dragonboat lets in. (With it a failed write of Raft's log stops the log's worker instead of the process.)
func New(disk vfs.FS) lni.FS {
	if disk == vfs.OS() {
		return lni.Default
	}
	return lni.Wrap(adapter{vfs.Names{Disk: disk}}, noFaults{})
}

type noFaults struct{}

func (noFaults) MaybeError(lni.Op) error { return nil }

type adapter struct{ vfs.Names }

func (a adapter) Create(name string) (lni.File, error) {
	return a.open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (a adapter) Open(name string, opts ...lni.OpenOption) (lni.File, error) {
	f, err := a.open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	for _, o := range opts {
		o.Apply(f)
	}
	return f, nil
}

func (a adapter) OpenForAppend(name string) (lni.File, error) {
	return a.open(name, os.O_RDWR|os.O_APPEND)
}

func (a adapter) OpenDir(name string) (lni.File, error) { return a.open(name, os.O_RDONLY) }

func (a adapter) ReuseForWrite(from, to string) (lni.File, error) {
	if err := a.Disk.Rename(from, to); err != nil {
		return nil, err
	}
	return a.open(to, os.O_RDWR|os.O_CREATE)
}

// open tells a directory from a file at once: Dragonboat opens both by Open, and Sync means SyncDir for the one.
func (a adapter) open(name string, flag int) (lni.File, error) {
	f, err := a.Disk.OpenFile(name, flag, 0o666)
	if err != nil {
		return nil, err
	}
	out := &file{inner: f, append: flag&os.O_APPEND != 0}
	if flag == os.O_RDONLY {
		info, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if info.IsDir() {
			out.dir = a.Disk
		}
	}
	return out, nil
}

func (a adapter) GetDiskUsage(name string) (lni.DiskUsage, error) {
	total, free, err := a.Disk.Space(name)
	return lni.DiskUsage{TotalBytes: total, AvailBytes: free, UsedBytes: total - free}, err
}

func (a adapter) Stat(name string) (os.FileInfo, error) { return a.Disk.Stat(name) }

// file adds a position that Seek can set. It has no method Fd: Pebble v1 would call fdatasync on what that gives, past the
// disk.
type file struct {
	inner  vfs.File
	dir    vfs.FS // set for a directory: who flushes it
	append bool

	mu  sync.Mutex // guards pos
	pos int64
}

func (f *file) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.inner.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (f *file) Write(p []byte) (int, error) {
	if f.append {
		return f.inner.Write(p)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.inner.WriteAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *file) Seek(off int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		off += f.pos
	case io.SeekEnd:
		info, err := f.inner.Stat()
		if err != nil {
			return 0, err
		}
		off += info.Size()
	default:
		off = -1
	}
	if off < 0 {
		return 0, &fs.PathError{Op: "seek", Path: f.inner.Name(), Err: syscall.EINVAL}
	}
	f.pos = off
	return off, nil
}

// Sync flushes content and size: Dragonboat and Pebble need no other metadata of a file.
func (f *file) Sync() error {
	if f.dir != nil {
		return f.dir.SyncDir(f.inner.Name())
	}
	return f.inner.Datasync()
}

func (f *file) ReadAt(p []byte, off int64) (int, error)  { return f.inner.ReadAt(p, off) }
func (f *file) WriteAt(p []byte, off int64) (int, error) { return f.inner.WriteAt(p, off) }
func (f *file) Stat() (os.FileInfo, error)               { return f.inner.Stat() }
func (f *file) Close() error                             { return f.inner.Close() }
