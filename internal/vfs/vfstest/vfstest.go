/*
Package vfstest is what every vfs.FS must pass: one suite for the operating system, the crash twin without a cut and the
fault twin without rules, so that a program tested on one behaves alike on the others.

	disk_test.go -> Run(t, make) -> names, files, locks, space, O_DIRECT, concurrent use
*/
package vfstest

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"testing"

	"ovs/internal/vfs"
)

// Run checks the disks that open makes, a fresh one for each part. The tests work below t.TempDir(), whose path they make
// on the disk where it is missing.
func Run(t *testing.T, open func(t *testing.T) vfs.FS) {
	for _, part := range []struct {
		name string
		run  func(d disk)
	}{
		{"Open", disk.open}, {"ReadWrite", disk.readWrite}, {"Position", disk.position}, {"Append", disk.appendMode},
		{"Truncate", disk.truncate}, {"PunchHole", disk.punchHole}, {"Preallocate", disk.preallocate},
		{"Unlinked", disk.unlinked}, {"Closed", disk.closed}, {"Rename", disk.rename}, {"RenameDir", disk.renameDir},
		{"Link", disk.link}, {"Remove", disk.remove}, {"Dirs", disk.dirs}, {"Lock", disk.lock}, {"Space", disk.space},
		{"Direct", disk.direct}, {"Concurrent", disk.concurrent},
	} {
		t.Run(part.name, func(t *testing.T) {
			d := disk{T: t, FS: open(t), dir: t.TempDir()}
			d.ok(d.MkdirAll(d.dir, 0o755))
			part.run(d)
		})
	}
}

type disk struct {
	*testing.T
	vfs.FS
	dir string
}

func (d disk) at(name string) string { return path.Join(d.dir, name) }

func (d disk) ok(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d disk) fails(err, want error) {
	d.Helper()
	if !errors.Is(err, want) {
		d.Fatalf("got error %v, want %v", err, want)
	}
}

func (d disk) file(name string, flag int) vfs.File {
	d.Helper()
	f, err := d.OpenFile(d.at(name), flag, 0o644)
	d.ok(err)
	d.Cleanup(func() { f.Close() }) // a second Close is harmless
	return f
}

func (d disk) put(name, content string) {
	d.Helper()
	f := d.file(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	_, err := f.Write([]byte(content))
	d.ok(err)
	d.ok(f.Close())
}

func (d disk) holds(name, content string) {
	d.Helper()
	got, err := io.ReadAll(d.file(name, os.O_RDONLY))
	d.ok(err)
	if string(got) != content {
		d.Fatalf("%s holds %.60q, want %.60q", name, got, content)
	}
	info, err := d.Stat(d.at(name))
	d.ok(err)
	if info.Size() != int64(len(content)) || info.Name() != path.Base(name) || info.IsDir() {
		d.Fatalf("Stat: %d bytes, name %s, dir %v", info.Size(), info.Name(), info.IsDir())
	}
}

func (d disk) missing(name string) {
	d.Helper()
	_, err := d.Stat(d.at(name))
	d.fails(err, fs.ErrNotExist)
}
