package main

import (
	"os"
	"syscall"
	"unsafe"
)

// mapped gives f a view of the file's bytes off to off+n.
func (t *tester) mapped(off, n, prot int, f func(b []byte) error) error {
	start := off &^ 4095
	m, err := syscall.Mmap(int(t.f.Fd()), int64(start), off-start+n, prot, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	err = f(m[off-start:])
	if e := syscall.Munmap(m); err == nil {
		err = e
	}
	return err
}

func (t *tester) mapRead() error {
	off, n, ok := t.place()
	if !ok {
		return nil
	}
	t.note("  mmap read %#x + %#x", off, n)
	return t.mapped(off, n, syscall.PROT_READ, func(b []byte) error {
		return same(b, t.want[off:off+n], int64(off))
	})
}

func (t *tester) mapWrite() error {
	off, n, ok := t.place()
	if !ok {
		return nil
	}
	t.note("  mmap write %#x + %#x", off, n)
	data := t.data(n)
	err := t.mapped(off, n, syscall.PROT_READ|syscall.PROT_WRITE, func(b []byte) error {
		copy(b, data)
		if t.rnd.IntN(2) == 0 {
			t.dirty = true
			return nil
		}
		page := uintptr(unsafe.Pointer(&b[0])) &^ 4095
		size := uintptr(unsafe.Pointer(&b[0])) - page + uintptr(len(b))
		if _, _, e := syscall.Syscall(syscall.SYS_MSYNC, page, size, syscall.MS_SYNC); e != 0 {
			return e
		}
		return nil
	})
	if err == nil {
		t.put(off, data)
	}
	return err
}

// directFile opens the file with O_DIRECT. Pages that were written through a mapping are flushed first: Linux's NFS
// client does that by itself only for pages of write(2).
func (t *tester) directFile() (*os.File, error) {
	if t.dirty {
		if err := t.f.Sync(); err != nil {
			return nil, err
		}
		t.dirty = false
	}
	return os.OpenFile(t.file, os.O_RDWR|syscall.O_DIRECT, 0)
}

// sectors moves a range to sector or page boundaries in three cases of four: NFS takes any.
func (t *tester) sectors(off, n int) (int, int) {
	unit := [...]int{1, 512, 4096, 4096}[t.rnd.IntN(4)]
	off -= off % unit
	return off, max(n-n%unit, unit)
}

func (t *tester) directWrite() error {
	if !t.guest {
		return t.write()
	}
	off, n := t.sectors(t.target())
	if off+n > int(t.size) {
		return nil
	}
	f, err := t.directFile()
	if err != nil {
		return err
	}
	t.note("  direct write %#x + %#x", off, n)
	b := t.data(n)
	if _, err := f.WriteAt(b, int64(off)); err != nil {
		_ = f.Close() // the write's error says more
		return err
	}
	t.put(off, b)
	return f.Close()
}

func (t *tester) directRead() error {
	off, n, ok := t.place()
	if !ok || !t.guest {
		return t.read()
	}
	if o, m := t.sectors(off, n); o+m <= len(t.want) {
		off, n = o, m
	}
	f, err := t.directFile()
	if err != nil {
		return err
	}
	t.note("  direct read %#x + %#x", off, n)
	if _, err := f.ReadAt(t.buf[:n], int64(off)); err != nil {
		_ = f.Close() // the read's error says more
		return err
	}
	if err := same(t.buf[:n], t.want[off:off+n], int64(off)); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
