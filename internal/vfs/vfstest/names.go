package vfstest

import (
	"io/fs"
	"os"
	"slices"
	"syscall"
)

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
