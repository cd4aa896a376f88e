/*
Package vfs is the door between the product and its disks. Everything that writes goes through it: the write log, the
ASDs, Pebble and Dragonboat alike. Three implementations stand behind it:

	OS      the operating system's files
	Crash   a disk in memory that can lose its power: what was not flushed survives in any subset of its
	        sectors, directory entries that were not synced may be gone
	Fault   a wrapper that makes chosen calls fail, be short or slow

A power cut may keep any subset of what was not flushed, so a correct program flushes a file (Datasync) before it relies
on its content, and the directory (SyncDir) before it relies on its name.
*/
package vfs

import (
	"io"
	"io/fs"
)

// Direct in OpenFile's flag asks for O_DIRECT: offsets, lengths and memory are multiples of 4096. An OS that refuses it
// opens the file buffered; File.Direct tells. Its value lies outside the flags that package os uses.
const Direct = 1 << 30

// FS is a file system. Names are slash-separated paths. All methods are safe for concurrent use.
type FS interface {
	// OpenFile takes the flags of package os (O_RDONLY, O_RDWR, O_CREATE, O_EXCL, O_TRUNC, O_APPEND) and Direct.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	MkdirAll(dir string, perm fs.FileMode) error
	Remove(name string) error
	RemoveAll(name string) error
	Rename(from, to string) error
	Link(from, to string) error
	ReadDir(dir string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the entries of dir durable: what was created, renamed and removed in it.
	SyncDir(dir string) error
	// Lock takes an exclusive lock on the file, which it creates, until the closer is closed or the process ends. A second
	// taker gets an error at once.
	Lock(name string) (io.Closer, error)
	// Space tells the bytes in all and free (for us) of the file system under dir.
	Space(dir string) (total, free uint64, err error)
}

// File is an open file. ReadAt, WriteAt and Datasync may run concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Reader // from a position of its own, as in package os
	io.Writer
	io.Closer
	// Datasync makes the content and size durable that all writes which returned before it left (fdatasync).
	Datasync() error
	// Sync is Datasync and the other metadata too (fsync).
	Sync() error
	Truncate(size int64) error
	// PunchHole gives the space of a range back; it reads as zeros then. Durable with the next Datasync.
	PunchHole(off, n int64) error
	// Preallocate reserves space up to size without changing the file's size; it may do nothing.
	Preallocate(off, n int64) error
	Stat() (fs.FileInfo, error)
	Name() string
	// Fd is the descriptor, or ^uintptr(0) where there is none.
	Fd() uintptr
	// Direct tells whether O_DIRECT holds.
	Direct() bool
}
