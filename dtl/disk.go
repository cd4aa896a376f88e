package dtl

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"ovs/internal/vfs"
)

// All transfers are whole blocks from and to aligned memory, as O_DIRECT wants them.

// chunk is how much is moved at a time where a file is filled or read through, in bytes.
const chunk = 1 << 20

// writeFull writes all of b or fails.
func writeFull(f vfs.File, b []byte, off int64) error {
	n, err := f.WriteAt(b, off)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// readFull fills b or fails; the end of the file is a failure.
func readFull(f vfs.File, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// readRange reads n bytes, a multiple of block, into memory of its own.
func readRange(f vfs.File, off, n int64) ([]byte, error) {
	b := vfs.AlignedBuffer(int(n))
	for at := int64(0); at < n; at += chunk {
		if err := readFull(f, b[at:min(n, at+chunk)], off+at); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// writeRange writes b, which is aligned and a multiple of block, piece by piece, so that a flush elsewhere gets in between.
func writeRange(f vfs.File, b []byte, off int64) error {
	for len(b) > 0 {
		n := min(len(b), chunk)
		if err := writeFull(f, b[:n], off); err != nil {
			return err
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// halfMade ends the name of a file that is not complete.
const halfMade = ".new"

// create makes a file of the given size, zero but for its first block, that is there under its name either whole or not
// at all.
func create(fsys vfs.FS, dir, name string, size int64, first []byte) error {
	tmp := dir + "/" + name + halfMade
	f, err := fsys.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC|vfs.Direct, 0o600)
	if err != nil {
		return err
	}
	err = fill(f, size, first)
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(tmp, dir+"/"+name)
	}
	if err != nil {
		_ = fsys.Remove(tmp) // it is in nobody's way: the next attempt truncates it
		return err
	}
	return fsys.SyncDir(dir)
}

func fill(f vfs.File, size int64, first []byte) error {
	zeros := vfs.AlignedBuffer(int(min(size, chunk)))
	for at := int64(0); at < size; at += chunk {
		if err := writeFull(f, zeros[:min(size-at, chunk)], at); err != nil {
			return err
		}
	}
	copy(zeros, first)
	if err := writeFull(f, zeros[:block], 0); err != nil {
		return err
	}
	return f.Sync()
}

func exists(err error) bool { return err == nil || !errors.Is(err, fs.ErrNotExist) }
