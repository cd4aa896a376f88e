package vfstest

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"ovs/internal/vfs"
)

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
