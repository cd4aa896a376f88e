package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ovs/tests/measure"
)

// floorSize is the size of the file that the floors of the disk overwrite, in bytes.
const floorSize = 256 << 20

// disk measures the disk under the data directory: a file written once with zeros, then overwritten in place from its
// beginning to its end, past the page cache where the disk allows that.
type disk struct {
	file   *os.File
	buf    []byte // 1 MiB, aligned, random
	off    int64
	direct bool
}

func newDisk(dir string, random []byte) (*disk, error) {
	name := filepath.Join(dir, "floor")
	d := &disk{direct: true, buf: aligned(1 << 20)}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_DIRECT, 0o600)
	if err != nil {
		d.direct = false
		if f, err = os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
			return nil, err
		}
	}
	d.file = f
	for at := int64(0); at < floorSize; at += int64(len(d.buf)) {
		if _, err := f.WriteAt(d.buf, at); err != nil {
			return nil, err
		}
	}
	copy(d.buf, random)
	return d, f.Sync()
}

// aligned is memory that O_DIRECT takes.
func aligned(n int) []byte {
	b := make([]byte, n+4096)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & 4095
	return b[skip : skip+n : skip+n]
}

func (d *disk) close() { _ = d.file.Close() } // it is removed with its directory

func (d *disk) next(n int) int64 {
	if d.off+int64(n) > floorSize {
		d.off = 0
	}
	at := d.off
	d.off += int64(n)
	return at
}

// flush overwrites size bytes and makes them durable, again and again.
func (d *disk) flush(size int, during time.Duration, h *measure.Hist) error {
	for began := time.Now(); time.Since(began) < during; {
		t := time.Now()
		if _, err := d.file.WriteAt(d.buf[:size], d.next(size)); err != nil {
			return fmt.Errorf("floor of the disk: %w", err)
		}
		if err := unix.Fdatasync(int(d.file.Fd())); err != nil {
			return fmt.Errorf("floor of the disk: %w", err)
		}
		h.Add(time.Since(t))
	}
	return nil
}

// stream writes (or reads) 1 MiB after 1 MiB, flushed once at the end, and says how many went in a second.
func (d *disk) stream(read bool, during time.Duration) (float64, error) {
	began, n := time.Now(), 0
	for ; time.Since(began) < during; n++ {
		var err error
		if at := d.next(len(d.buf)); read {
			_, err = d.file.ReadAt(d.buf, at)
		} else {
			_, err = d.file.WriteAt(d.buf, at)
		}
		if err != nil {
			return 0, fmt.Errorf("floor of the disk: %w", err)
		}
	}
	if !read {
		if err := unix.Fdatasync(int(d.file.Fd())); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// forget drops what the page cache holds of all files under dir.
func forget(dir string) error {
	return filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}
