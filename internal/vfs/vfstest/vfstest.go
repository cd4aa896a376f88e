/*
Package vfstest is what every vfs.FS must pass: one suite for the operating system, the crash twin without a cut and the
fault twin without rules, so that a program tested on one behaves alike on the others.

	disk_test.go -> Run(t, make) -> names, files, locks, space, O_DIRECT, concurrent use
*/
package vfstest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"syscall"
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

func (d disk) open() {
	_, err := d.OpenFile(d.at("none"), os.O_RDWR, 0)
	d.fails(err, fs.ErrNotExist)
	_, err = d.OpenFile(d.at("no/dir"), os.O_RDWR|os.O_CREATE, 0o644)
	d.fails(err, fs.ErrNotExist)
	f := d.file("f", os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if f.Name() != d.at("f") {
		d.Fatalf("Name is %s", f.Name())
	}
	_, err = d.OpenFile(d.at("f"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	d.fails(err, fs.ErrExist)
	_, err = d.OpenFile(d.at("f/x"), os.O_RDWR|os.O_CREATE, 0o644)
	d.fails(err, syscall.ENOTDIR)
	_, err = d.OpenFile(d.dir, os.O_RDWR, 0)
	d.fails(err, syscall.EISDIR)

	d.put("f", "content")
	d.file("f", os.O_RDWR|os.O_CREATE)
	d.holds("f", "content")
	_, err = d.file("f", os.O_RDONLY).WriteAt([]byte("x"), 0)
	d.fails(err, syscall.EBADF)
	_, err = d.file("f", os.O_WRONLY).ReadAt(make([]byte, 1), 0)
	d.fails(err, syscall.EBADF)
	d.file("f", os.O_RDWR|os.O_TRUNC)
	d.holds("f", "")
}

func (d disk) readWrite() {
	f := d.file("f", os.O_RDWR|os.O_CREATE)
	_, err := f.WriteAt([]byte("far"), 10000)
	d.ok(err)
	_, err = f.WriteAt([]byte("near"), 4094) // across a page
	d.ok(err)
	want := make([]byte, 10003)
	copy(want[4094:], "near")
	copy(want[10000:], "far")
	d.holds("f", string(want))

	p := make([]byte, 100)
	n, err := f.ReadAt(p, 9990)
	if n != 13 || err != io.EOF || !bytes.Equal(p[:n], want[9990:]) {
		d.Fatalf("read across the end: %d bytes, %v", n, err)
	}
	if n, err := f.ReadAt(p, 10003); n != 0 || err != io.EOF {
		d.Fatalf("read at the end: %d bytes, %v", n, err)
	}
	if n, err := f.ReadAt(p, 1<<40); n != 0 || err != io.EOF {
		d.Fatalf("read far past the end: %d bytes, %v", n, err)
	}
	if n, err := f.ReadAt(p[:13], 9990); n != 13 || err != nil {
		d.Fatalf("read up to the end: %d bytes, %v", n, err)
	}
	if _, err := f.ReadAt(p, -1); err == nil {
		d.Fatal("read before the start")
	}
	if _, err := f.WriteAt(p, -1); err == nil {
		d.Fatal("write before the start")
	}
	// The caller may use its buffer again at once.
	copy(p, "mine")
	_, err = f.WriteAt(p[:4], 0)
	d.ok(err)
	copy(p, "else")
	_, err = d.file("f", os.O_RDONLY).ReadAt(p[:4], 0)
	d.ok(err)
	if string(p[:4]) != "mine" {
		d.Fatalf("another handle reads %q", p[:4])
	}
	d.ok(f.Datasync())
	d.ok(f.Sync())
}

func (d disk) position() {
	f := d.file("f", os.O_RDWR|os.O_CREATE)
	for _, s := range []string{"one ", "two ", "three"} {
		n, err := f.Write([]byte(s))
		d.ok(err)
		if n != len(s) {
			d.Fatalf("wrote %d of %d", n, len(s))
		}
	}
	_, err := f.WriteAt([]byte("ONE"), 0) // does not move the position
	d.ok(err)
	_, err = f.Write([]byte("."))
	d.ok(err)
	d.holds("f", "ONE two three.")
	r, p := d.file("f", os.O_RDONLY), make([]byte, 8)
	for _, want := range []string{"ONE two ", "three."} {
		n, err := r.Read(p)
		d.ok(err)
		if string(p[:n]) != want {
			d.Fatalf("read %q, want %q", p[:n], want)
		}
	}
	if n, err := r.Read(p); n != 0 || err != io.EOF {
		d.Fatalf("at the end: %d, %v", n, err)
	}
}

func (d disk) appendMode() {
	d.put("f", "start")
	a, b := d.file("f", os.O_WRONLY|os.O_APPEND), d.file("f", os.O_WRONLY|os.O_APPEND)
	for _, f := range []vfs.File{a, b, a} {
		_, err := f.Write([]byte("+more"))
		d.ok(err)
	}
	d.holds("f", "start+more+more+more")
	if _, err := a.WriteAt([]byte("x"), 0); err == nil {
		d.Fatal("WriteAt in append mode")
	}
}

func (d disk) truncate() {
	f := d.file("f", os.O_RDWR|os.O_CREATE)
	content := bytes.Repeat([]byte("0123456789abcdef"), 1024) // 16 KiB
	_, err := f.WriteAt(content, 0)
	d.ok(err)
	d.ok(f.Datasync())
	d.ok(f.Truncate(5000))
	d.holds("f", string(content[:5000]))
	d.ok(f.Truncate(12000))
	want := make([]byte, 12000)
	copy(want, content[:5000])
	d.holds("f", string(want))
	d.ok(f.Truncate(0))
	d.ok(f.Truncate(3))
	d.holds("f", "\x00\x00\x00")
	d.fails(f.Truncate(-1), syscall.EINVAL)
	d.fails(d.file("f", os.O_RDONLY).Truncate(1), syscall.EINVAL)
}

func (d disk) punchHole() {
	f := d.file("f", os.O_RDWR|os.O_CREATE)
	want := bytes.Repeat([]byte("x"), 40000)
	_, err := f.WriteAt(want, 0)
	d.ok(err)
	for _, hole := range [][2]int64{{4096, 8192}, {20001, 7000}, {39000, 5000}, {50000, 4096}, {100, 5}} {
		d.ok(f.PunchHole(hole[0], hole[1]))
		clear(want[min(hole[0], 40000):min(hole[0]+hole[1], 40000)])
		d.holds("f", string(want))
	}
	_, err = f.WriteAt([]byte("again"), 5000)
	d.ok(err)
	copy(want[5000:], "again")
	d.holds("f", string(want))
	d.ok(f.Datasync())
}

func (d disk) preallocate() {
	f := d.file("f", os.O_RDWR|os.O_CREATE)
	_, err := f.WriteAt([]byte("x"), 0)
	d.ok(err)
	d.ok(f.Preallocate(0, 1<<20))
	d.holds("f", "x")
}

func (d disk) unlinked() {
	d.put("f", "still here")
	f := d.file("f", os.O_RDWR)
	d.ok(d.Remove(d.at("f")))
	d.missing("f")
	_, err := f.WriteAt([]byte("S"), 0)
	d.ok(err)
	d.ok(f.Datasync())
	p := make([]byte, 10)
	_, err = f.ReadAt(p, 0)
	d.ok(err)
	info, err := f.Stat()
	d.ok(err)
	if string(p) != "Still here" || info.Size() != 10 {
		d.Fatalf("%q, %d bytes", p, info.Size())
	}
	d.put("f", "other")
	d.holds("f", "other")
}

func (d disk) closed() {
	f := d.file("f", os.O_RDWR|os.O_CREATE)
	d.ok(f.Close())
	_, err := f.ReadAt(make([]byte, 1), 0)
	for _, err := range []error{err, f.Close(), f.Datasync(), f.Sync(), f.Truncate(0), f.PunchHole(0, 1)} {
		d.fails(err, os.ErrClosed)
	}
}

func (d disk) rename() {
	d.ok(d.MkdirAll(d.at("sub"), 0o755))
	d.put("a", "a")
	d.put("b", "b")
	f := d.file("a", os.O_RDWR)
	d.ok(d.Rename(d.at("a"), d.at("b")))
	d.missing("a")
	d.holds("b", "a")
	d.ok(d.Rename(d.at("b"), d.at("sub/c")))
	_, err := f.WriteAt([]byte("A"), 0) // the handle follows the file
	d.ok(err)
	d.holds("sub/c", "A")
	d.ok(d.Rename(d.at("sub/c"), d.at("sub/c")))
	d.holds("sub/c", "A")
	d.fails(d.Rename(d.at("none"), d.at("x")), fs.ErrNotExist)
	d.fails(d.Rename(d.at("sub/c"), d.at("none/x")), fs.ErrNotExist)
	d.fails(d.Rename(d.at("sub/c"), d.at("sub")), fs.ErrExist)
	d.ok(d.SyncDir(d.dir))
}

func (d disk) renameDir() {
	for _, name := range []string{"from/deep", "empty"} {
		d.ok(d.MkdirAll(d.at(name), 0o755))
	}
	d.put("from/deep/f", "f")
	d.put("file", "f")
	d.fails(d.Rename(d.at("from"), d.at("file")), syscall.ENOTDIR)
	d.fails(d.Rename(d.at("from"), d.at("empty")), fs.ErrExist) // package os never puts one in a directory's place
	d.fails(d.Rename(d.at("from"), d.at("from/deep/x")), syscall.EINVAL)
	d.ok(d.Rename(d.at("from"), d.at("to")))
	d.holds("to/deep/f", "f")
	d.missing("from")
}

func (d disk) link() {
	d.put("a", "shared")
	d.ok(d.Link(d.at("a"), d.at("b")))
	_, err := d.file("b", os.O_RDWR).WriteAt([]byte("S"), 0)
	d.ok(err)
	d.holds("a", "Shared")
	d.ok(d.Remove(d.at("a")))
	d.holds("b", "Shared")
	d.fails(d.Link(d.at("b"), d.at("b")), fs.ErrExist)
	d.fails(d.Link(d.at("a"), d.at("c")), fs.ErrNotExist)
	if d.Link(d.dir, d.at("c")) == nil {
		d.Fatal("a hard link to a directory")
	}
}

func (d disk) remove() {
	d.ok(d.MkdirAll(d.at("sub/deep"), 0o755))
	d.put("sub/deep/f", "f")
	d.fails(d.Remove(d.at("none")), fs.ErrNotExist)
	d.fails(d.Remove(d.at("sub")), syscall.ENOTEMPTY)
	d.ok(d.RemoveAll(d.at("none")))
	d.ok(d.RemoveAll(d.at("none/deep")))
	d.ok(d.RemoveAll(d.at("sub")))
	d.missing("sub")
	d.ok(d.MkdirAll(d.at("sub"), 0o755))
	d.missing("sub/deep")
	d.ok(d.Remove(d.at("sub")))
}

func (d disk) dirs() {
	d.ok(d.MkdirAll(d.at("x/y/z"), 0o755))
	d.ok(d.MkdirAll(d.at("x/y/z"), 0o755))
	d.put("x/f", "12345")
	d.fails(d.MkdirAll(d.at("x/f/z"), 0o755), syscall.ENOTDIR)
	list, err := d.ReadDir(d.at("x"))
	d.ok(err)
	var names []string
	for _, e := range list {
		info, err := e.Info()
		d.ok(err)
		if e.IsDir() != (e.Name() == "y") || info.IsDir() != e.IsDir() || !e.IsDir() && info.Size() != 5 {
			d.Fatalf("entry %s: dir %v, %d bytes", e.Name(), e.IsDir(), info.Size())
		}
		names = append(names, e.Name())
	}
	if !slices.Equal(names, []string{"f", "y"}) { // sorted
		d.Fatalf("ReadDir: %v", names)
	}
	_, err = d.ReadDir(d.at("none"))
	d.fails(err, fs.ErrNotExist)
	_, err = d.ReadDir(d.at("x/f"))
	d.fails(err, syscall.ENOTDIR)
	d.ok(d.SyncDir(d.at("x")))
	d.fails(d.SyncDir(d.at("none")), fs.ErrNotExist)
	info, err := d.Stat(d.at("x"))
	d.ok(err)
	if !info.IsDir() {
		d.Fatal("not a directory")
	}
}

func (d disk) lock() {
	l, err := d.Lock(d.at("LOCK"))
	d.ok(err)
	_, err = d.Lock(d.at("LOCK"))
	d.fails(err, syscall.EWOULDBLOCK)
	other, err := d.Lock(d.at("OTHER"))
	d.ok(err)
	d.ok(l.Close())
	l, err = d.Lock(d.at("LOCK"))
	d.ok(err)
	d.ok(l.Close())
	d.ok(other.Close())
	_, err = d.Lock(d.at("none/LOCK"))
	d.fails(err, fs.ErrNotExist)
	d.holds("LOCK", "")
}

func (d disk) space() {
	total, free, err := d.FS.Space(d.dir)
	d.ok(err)
	if total == 0 || free > total {
		d.Fatalf("total %d, free %d", total, free)
	}
	_, _, err = d.FS.Space(d.at("none"))
	d.fails(err, fs.ErrNotExist)
}

func (d disk) direct() {
	f := d.file("f", os.O_RDWR|os.O_CREATE|os.O_EXCL|vfs.Direct)
	p := vfs.AlignedBuffer(3 * vfs.Align)
	for i := range p {
		p[i] = byte(i >> 9)
	}
	_, err := f.WriteAt(p, vfs.Align)
	d.ok(err)
	d.ok(f.Datasync())
	d.ok(f.Truncate(4*vfs.Align - 100)) // an end off the blocks
	got := vfs.AlignedBuffer(8 * vfs.Align)
	n, err := f.ReadAt(got, 0)
	if n != 4*vfs.Align-100 || err != io.EOF || !bytes.Equal(got[vfs.Align:n], p[:n-vfs.Align]) {
		d.Fatalf("read %d bytes, %v", n, err)
	}
	d.ok(f.PunchHole(2*vfs.Align, vfs.Align))
	_, err = f.ReadAt(got[:vfs.Align], 2*vfs.Align)
	d.ok(err)
	if !bytes.Equal(got[:vfs.Align], make([]byte, vfs.Align)) {
		d.Fatal("the hole is not zeros")
	}
	if d.file("f", os.O_RDWR).Direct() {
		d.Fatal("direct without having asked")
	}
}

func (d disk) concurrent() {
	f := d.file("f", os.O_RDWR|os.O_CREATE)
	const workers, blocks = 4, 16
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			p := bytes.Repeat([]byte{byte(w + 1)}, 1000)
			for b := range blocks {
				off := int64(b*workers+w) * 1000
				if _, err := f.WriteAt(p, off); err != nil {
					d.Error(err)
				}
				if err := f.Datasync(); err != nil {
					d.Error(err)
				}
				got := make([]byte, 1000)
				if _, err := f.ReadAt(got, off); err != nil || !bytes.Equal(got, p) {
					d.Errorf("read back at %d: %v", off, err)
				}
			}
		})
	}
	wg.Wait()
	var want []byte
	for i := range workers * blocks {
		want = append(want, bytes.Repeat([]byte{byte(i%workers + 1)}, 1000)...)
	}
	d.holds("f", string(want))
}
