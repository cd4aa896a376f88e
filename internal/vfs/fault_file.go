package vfs

import (
	"io"
	"io/fs"
	"syscall"
)

// faultFile is an open file of a Fault.
type faultFile struct {
	File
	fault *Fault
}

// transfer reads or writes p by move, wholly, by half, or not at all. plain is the error of a short call whose rule has
// none.
func (f *faultFile) transfer(op Op, p []byte, plain error, move func(p []byte) (int, error)) (int, error) {
	v := f.fault.begin(op, f.Name())
	failure := v.Err
	switch {
	case v.Short:
		half := len(p) / 2
		if f.Direct() {
			half &^= Align - 1
		}
		p = p[:half]
		if failure == nil {
			failure = plain
		}
	case failure != nil && !v.Late:
		return 0, pathError(op, f.Name(), failure)
	}
	n, err := move(p)
	if err == nil {
		err = pathError(op, f.Name(), failure)
	}
	return n, err
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	return f.transfer(OpRead, p, syscall.EIO, func(p []byte) (int, error) { return f.File.ReadAt(p, off) })
}

func (f *faultFile) Read(p []byte) (int, error) { return f.transfer(OpRead, p, nil, f.File.Read) }

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	return f.transfer(OpWrite, p, io.ErrShortWrite, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *faultFile) Write(p []byte) (int, error) {
	return f.transfer(OpWrite, p, io.ErrShortWrite, f.File.Write)
}

func (f *faultFile) do(op Op, call func() error) error { return f.fault.do(op, call, f.Name()) }

func (f *faultFile) flush(op Op, call func() error) error {
	v := f.fault.begin(op, f.Name())
	if v.Err == nil {
		return call()
	}
	if v.Late {
		if err := call(); err != nil {
			return err
		}
	} else if inner, ok := f.File.(interface{ failSync() }); ok {
		inner.failSync()
	}
	return pathError(op, f.Name(), v.Err)
}

// failSync passes through, for a Fault over a Fault.
func (f *faultFile) failSync() {
	if inner, ok := f.File.(interface{ failSync() }); ok {
		inner.failSync()
	}
}

func (f *faultFile) Datasync() error { return f.flush(OpDatasync, f.File.Datasync) }
func (f *faultFile) Sync() error     { return f.flush(OpSync, f.File.Sync) }
func (f *faultFile) Truncate(size int64) error {
	return f.do(OpTruncate, func() error { return f.File.Truncate(size) })
}
func (f *faultFile) PunchHole(off, n int64) error {
	return f.do(OpPunchHole, func() error { return f.File.PunchHole(off, n) })
}
func (f *faultFile) Preallocate(off, n int64) error {
	return f.do(OpPreallocate, func() error { return f.File.Preallocate(off, n) })
}
func (f *faultFile) Stat() (info fs.FileInfo, err error) {
	err = f.do(OpStat, func() (err error) { info, err = f.File.Stat(); return err })
	return info, err
}

// Close always closes the file; a rule only changes what the caller is told.
func (f *faultFile) Close() error {
	v := f.fault.begin(OpClose, f.Name())
	if err := f.File.Close(); err != nil {
		return err
	}
	return pathError(OpClose, f.Name(), v.Err)
}
