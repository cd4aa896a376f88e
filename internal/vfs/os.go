package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"ovs/internal/planted"
)

// Align is what O_DIRECT asks of offsets, lengths and memory addresses, in bytes.
const Align = 4096

// OS is the operating system's file system. Errors are those of package os: errors.Is with fs.ErrNotExist, syscall.ENOSPC
// and the like works.
func OS() FS { return osFS{} }

// AlignedBuffer makes n zero bytes whose address is a multiple of Align, as File.Direct wants it.
func AlignedBuffer(n int) []byte {
	raw := make([]byte, n+Align)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(raw))) & (Align - 1))
	return raw[skip : skip+n : skip+n]
}

// Aligned reports whether a transfer of p at off keeps O_DIRECT's contract.
func Aligned(p []byte, off int64) bool {
	return (uintptr(off)|uintptr(len(p))|uintptr(unsafe.Pointer(unsafe.SliceData(p))))&(Align-1) == 0
}

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag&^Direct, perm)
	if err != nil {
		return nil, err
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	o := &osFile{File: f, conn: conn}
	if flag&Direct != 0 {
		// Set on the open file, not in open(2): a file system that refuses O_DIRECT there may have created the file
		// already, and a second open with O_EXCL would then fail.
		o.direct = o.control("fcntl", setDirect) == nil
	}
	return o, nil
}

func setDirect(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_DIRECT)
	return err
}

func (osFS) MkdirAll(dir string, perm fs.FileMode) error { return os.MkdirAll(dir, perm) }
func (osFS) Remove(name string) error                    { return os.Remove(name) }
func (osFS) RemoveAll(name string) error                 { return os.RemoveAll(name) }
func (osFS) Rename(from, to string) error                { return os.Rename(from, to) }
func (osFS) Link(from, to string) error                  { return os.Link(from, to) }
func (osFS) ReadDir(dir string) ([]fs.DirEntry, error)   { return os.ReadDir(dir) }
func (osFS) Stat(name string) (fs.FileInfo, error)       { return os.Stat(name) }

func (osFS) SyncDir(dir string) error {
	if planted.SkipFlush(dir) {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock is flock(2): it holds against a second taker in this process too, and dies with the process.
func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		return nil, errors.Join(&fs.PathError{Op: "lock", Path: name, Err: err}, f.Close())
	}
	return f, nil
}

func (osFS) Space(dir string) (total, free uint64, err error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return st.Blocks * uint64(st.Bsize), st.Bavail * uint64(st.Bsize), nil
}

// osFile is os.File and the calls that it lacks. direct does not change after the open.
type osFile struct {
	*os.File
	conn   syscall.RawConn
	direct bool
}

func (f *osFile) Direct() bool { return f.direct }

// ReadAt of a direct file stops at a short read: one that ends off a block is the end of the file, and package os would
// ask again at an offset that O_DIRECT refuses.
func (f *osFile) ReadAt(p []byte, off int64) (int, error) {
	if !f.direct {
		return f.File.ReadAt(p, off)
	}
	done := 0
	for done < len(p) {
		n := 0
		err := f.control("read", func(fd int) (err error) {
			n, err = unix.Pread(fd, p[done:], off+int64(done))
			return err
		})
		if err != nil {
			return done, err
		}
		done += n
		if n == 0 || n%Align != 0 {
			break
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

func (f *osFile) Datasync() error {
	if planted.SkipFlush(f.Name()) {
		return nil
	}
	return f.control("fdatasync", unix.Fdatasync)
}

func (f *osFile) PunchHole(off, n int64) error {
	if n <= 0 {
		return nil
	}
	err := f.control("fallocate", func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return f.writeZeros(off, n)
	}
	return err
}

// writeZeros stands in where the file system cannot punch: the range reads as zeros, its space is not given back.
func (f *osFile) writeZeros(off, n int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	n = min(n, info.Size()-off)
	zeros := AlignedBuffer(int(max(0, min(n, 1<<20))))
	for n > 0 {
		wrote, err := f.WriteAt(zeros[:min(n, int64(len(zeros)))], off)
		if err != nil {
			return err
		}
		off, n = off+int64(wrote), n-int64(wrote)
	}
	return nil
}

func (f *osFile) Preallocate(off, n int64) error {
	if n <= 0 {
		return nil
	}
	err := f.control("fallocate", func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, off, n)
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// control runs a system call on the descriptor, which cannot be closed (and reused) meanwhile.
func (f *osFile) control(op string, call func(fd int) error) error {
	var err error
	if closed := f.conn.Control(func(fd uintptr) { err = retry(func() error { return call(int(fd)) }) }); closed != nil {
		err = os.ErrClosed
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: f.Name(), Err: err}
	}
	return nil
}

// retry repeats a call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
