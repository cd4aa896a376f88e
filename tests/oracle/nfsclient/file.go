package nfsclient

import (
	"context"
	"fmt"
	"io"
)

// File is one file over one connection, for callers that wait. Its ReadAt and WriteAt are those of package io, in calls
// of at most 1 MiB; all may be called from many goroutines.
type File struct {
	Conn   *Conn
	Handle Handle
	Stable uint32 // of WriteAt
	// Context bounds every call; nil is context.Background.
	Context context.Context
}

const maxIO = 1 << 20

func (f *File) ctx() context.Context {
	if f.Context != nil {
		return f.Context
	}
	return context.Background()
}

// ReadAt fills b; io.EOF where the file ends first.
func (f *File) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) {
		c := Call{File: f.Handle, Off: uint64(off) + uint64(n), Dst: b[n:min(len(b), n+maxIO)]}
		if err := Do(f.ctx(), f.Conn, &c, f.Conn.Read); err != nil {
			return n, err
		}
		n += c.N
		if n < len(b) && c.EOF {
			return n, io.EOF
		}
		if c.N == 0 {
			return n, fmt.Errorf("READ at %d gave nothing and no end of file", c.Off)
		}
	}
	return n, nil
}

// WriteAt writes all of b with f.Stable.
func (f *File) WriteAt(b []byte, off int64) (n int, err error) {
	for n < len(b) {
		c := Call{File: f.Handle, Off: uint64(off) + uint64(n), Data: b[n:min(len(b), n+maxIO)], Stable: f.Stable}
		if err := Do(f.ctx(), f.Conn, &c, f.Conn.Write); err != nil {
			return n, err
		}
		if c.N <= 0 || c.N > len(c.Data) || c.Committed < f.Stable {
			return n, fmt.Errorf("WRITE of %d bytes, stable %d, was answered with %d bytes, stable %d", len(c.Data), f.Stable, c.N, c.Committed)
		}
		n += c.N
	}
	return n, nil
}

// Commit makes durable what was written before, and gives the verifier.
func (f *File) Commit() (verf uint64, err error) {
	c := Call{File: f.Handle}
	err = Do(f.ctx(), f.Conn, &c, f.Conn.Commit)
	return c.Verf, err
}

// GetAttr asks for the attributes.
func (f *File) GetAttr() (Attr, error) {
	c := Call{File: f.Handle}
	err := Do(f.ctx(), f.Conn, &c, f.Conn.GetAttr)
	return c.Attr, err
}
