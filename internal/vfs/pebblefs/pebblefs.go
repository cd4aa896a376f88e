/*
Package pebblefs lets Pebble v2 run on any vfs.FS.

	pebble -> pebble/vfs.FS -> New(disk) -> vfs.FS (crash twin, fault twin, a test's own)
	                        \-> pebble's own, where disk is vfs.OS(): the same calls, with read-ahead and sync_file_range

Pebble flushes files by SyncData (Datasync) and Sync, and directories by Sync on what OpenDir gave (SyncDir).
*/
package pebblefs

import (
	"errors"
	"io/fs"
	"os"

	pebble "github.com/cockroachdb/pebble/v2/vfs"

	"ovs/internal/vfs"
)

// New is disk as Pebble sees it, for pebble.Options.FS.
func New(disk vfs.FS) pebble.FS {
	if disk == vfs.OS() {
		return pebble.Default
	}
	return adapter{vfs.Names{Disk: disk}}
}

type adapter struct{ vfs.Names }

// Create removes a file of that name first, so that the new one is a new inode even where the old has other names.
func (a adapter) Create(name string, _ pebble.DiskWriteCategory) (pebble.File, error) {
	for {
		f, err := a.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
		if err := a.Disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

func (a adapter) Open(name string, opts ...pebble.OpenOption) (pebble.File, error) {
	return a.open(name, os.O_RDONLY, opts...)
}

func (a adapter) OpenReadWrite(
	name string, _ pebble.DiskWriteCategory, opts ...pebble.OpenOption,
) (pebble.File, error) {
	return a.open(name, os.O_RDWR|os.O_CREATE, opts...)
}

func (a adapter) ReuseForWrite(from, to string, _ pebble.DiskWriteCategory) (pebble.File, error) {
	if err := a.Disk.Rename(from, to); err != nil {
		return nil, err
	}
	return a.open(to, os.O_RDWR|os.O_CREATE)
}

func (a adapter) open(name string, flag int, opts ...pebble.OpenOption) (pebble.File, error) {
	f, err := a.Disk.OpenFile(name, flag, 0o666)
	if err != nil {
		return nil, err
	}
	out := file{f}
	for _, o := range opts {
		o.Apply(out)
	}
	return out, nil
}

func (a adapter) OpenDir(name string) (pebble.File, error) {
	f, err := a.Disk.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return dir{file{f}, a.Disk}, nil
}

func (a adapter) Stat(name string) (pebble.FileInfo, error) { return info(a.Disk.Stat(name)) }

func (a adapter) GetDiskUsage(name string) (pebble.DiskUsage, error) {
	total, free, err := a.Disk.Space(name)
	return pebble.DiskUsage{TotalBytes: total, AvailBytes: free, UsedBytes: total - free}, err
}

func (a adapter) Unwrap() pebble.FS { return nil }

// file adds what Pebble asks of a file beyond vfs.File. The descriptor stays hidden, so that no call goes past the disk.
type file struct{ vfs.File }

func (f file) Fd() uintptr                    { return pebble.InvalidFd }
func (f file) SyncData() error                { return f.Datasync() }
func (f file) Prefetch(int64, int64) error    { return nil }
func (f file) Stat() (pebble.FileInfo, error) { return info(f.File.Stat()) }

// SyncTo starts write-back and promises nothing: the disk does that when it likes.
func (f file) SyncTo(int64) (fullSync bool, err error) { return false, nil }

// dir is a directory, open to be flushed.
type dir struct {
	file
	disk vfs.FS
}

func (d dir) Sync() error                    { return d.disk.SyncDir(d.Name()) }
func (d dir) SyncData() error                { return d.disk.SyncDir(d.Name()) }
func (d dir) Preallocate(int64, int64) error { return nil }

// fileInfo adds the device, which only Pebble's statistics ask for: there is one.
type fileInfo struct{ fs.FileInfo }

func (fileInfo) DeviceID() pebble.DeviceID { return pebble.DeviceID{} }

func info(i fs.FileInfo, err error) (pebble.FileInfo, error) {
	if err != nil {
		return nil, err
	}
	return fileInfo{i}, nil
}
