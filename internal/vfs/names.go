package vfs

import (
	"io"
	"io/fs"
	"path"
)

// Names are the methods that the file system interfaces of Pebble and of lni/vfs (a fork of an older Pebble's) have in
// common: those on names alone. Package pebblefs and package dragonfs add the open files.
type Names struct{ Disk FS }

// List gives the names in a directory.
func (n Names) List(dir string) ([]string, error) {
	entries, err := n.Disk.ReadDir(dir)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

// Link and the next five are the disk's.
func (n Names) Link(from, to string) error                   { return n.Disk.Link(from, to) }
func (n Names) Remove(name string) error                     { return n.Disk.Remove(name) }
func (n Names) RemoveAll(name string) error                  { return n.Disk.RemoveAll(name) }
func (n Names) Rename(from, to string) error                 { return n.Disk.Rename(from, to) }
func (n Names) MkdirAll(name string, perm fs.FileMode) error { return n.Disk.MkdirAll(name, perm) }
func (n Names) Lock(name string) (io.Closer, error)          { return n.Disk.Lock(name) }

// PathBase, PathJoin and PathDir treat slash-separated names.
func (Names) PathBase(name string) string    { return path.Base(name) }
func (Names) PathJoin(elem ...string) string { return path.Join(elem...) }
func (Names) PathDir(name string) string     { return path.Dir(name) }
