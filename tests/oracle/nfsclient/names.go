package nfsclient

import (
	"context"
	"errors"
	"fmt"
)

var errMalformed = errors.New("malformed reply")

// Lookup finds a name.
func (c *Client) Lookup(ctx context.Context, dir Handle, name string) (Handle, Attr, error) {
	r, err := c.named(ctx, procLookup, dir, putOpaque(nil, name))
	if err != nil {
		return "", Attr{}, err
	}
	h := Handle(r.opaque())
	var a Attr
	r.postAttr(&a)
	return h, a, malformed(r, procLookup)
}

// How CREATE treats a name that exists (createmode3).
const (
	Unchecked uint32 = 0
	Guarded   uint32 = 1
	Exclusive uint32 = 2
)

// Create makes a regular file of mode 0644. verf matters for Exclusive.
func (c *Client) Create(ctx context.Context, dir Handle, name string, how uint32, verf uint64) (Handle, Attr, error) {
	args := put32(putOpaque(nil, name), how)
	if how == Exclusive {
		args = put64(args, verf)
	} else {
		args = sattr(args, 0o644, nil)
	}
	return c.made(ctx, procCreate, dir, name, args)
}

// Mkdir makes a directory of mode 0755.
func (c *Client) Mkdir(ctx context.Context, dir Handle, name string) (Handle, Attr, error) {
	return c.made(ctx, procMkdir, dir, name, sattr(putOpaque(nil, name), 0o755, nil))
}

func (c *Client) made(ctx context.Context, proc uint32, dir Handle, name string, args []byte) (Handle, Attr, error) {
	r, err := c.named(ctx, proc, dir, args)
	if err != nil {
		return "", Attr{}, err
	}
	var h Handle
	var a Attr
	if r.boolean() {
		h = Handle(r.opaque())
	}
	r.postAttr(&a)
	if err := malformed(r, proc); err != nil {
		return "", Attr{}, err
	}
	if h == "" { // post_op_fh3 is optional
		return c.Lookup(ctx, dir, name)
	}
	return h, a, nil
}

// Truncate sets a file's size.
func (c *Client) Truncate(ctx context.Context, h Handle, size uint64) error {
	_, err := c.named(ctx, procSetAttr, h, put32(sattr(nil, 0, &size), 0))
	return err
}

// sattr is sattr3 with a mode (unless 0) and a size (unless nil).
func sattr(b []byte, mode uint32, size *uint64) []byte {
	if mode != 0 {
		b = put32(put32(b, 1), mode)
	} else {
		b = put32(b, 0)
	}
	b = put64(b, 0) // uid, gid
	if size != nil {
		b = put64(put32(b, 1), *size)
	} else {
		b = put32(b, 0)
	}
	return put64(b, 0) // atime, mtime
}

// Remove unlinks a file.
func (c *Client) Remove(ctx context.Context, dir Handle, name string) error {
	_, err := c.named(ctx, procRemove, dir, putOpaque(nil, name))
	return err
}

// Rmdir removes an empty directory.
func (c *Client) Rmdir(ctx context.Context, dir Handle, name string) error {
	_, err := c.named(ctx, procRmdir, dir, putOpaque(nil, name))
	return err
}

// Rename moves a name.
func (c *Client) Rename(ctx context.Context, fromDir Handle, from string, toDir Handle, to string) error {
	_, err := c.named(ctx, procRename, fromDir, putOpaque(putOpaque(putOpaque(nil, from), toDir), to))
	return err
}

// Entry is one name of a directory.
type Entry struct {
	Name   string
	FileID uint64
}

// Page is one answer to READDIRPLUS: what stands in it, and where the next one goes on.
type Page struct {
	Entries      []Entry
	Cookie, Verf uint64
	EOF          bool
}

// ReadDir lists a directory by READDIRPLUS, without "." and "..".
func (c *Client) ReadDir(ctx context.Context, dir Handle) ([]Entry, error) {
	var p Page
	for !p.EOF {
		if err := c.ReadDirPage(ctx, dir, 32<<10, 64<<10, &p); err != nil {
			return nil, err
		}
	}
	return p.Entries, nil
}

// ReadDirPage asks for the page after p by READDIRPLUS and adds it to p. The zero Page is before the first.
func (c *Client) ReadDirPage(ctx context.Context, dir Handle, dirCount, maxCount uint32, p *Page) error {
	args := put32(put32(put64(put64(nil, p.Cookie), p.Verf), dirCount), maxCount)
	r, err := c.named(ctx, procReadDirPlus, dir, args)
	if err != nil {
		return err
	}
	var a Attr
	r.postAttr(&a)
	p.Verf = r.u64()
	last := p.Cookie
	for r.boolean() {
		e := Entry{FileID: r.u64(), Name: string(r.opaque())}
		p.Cookie = r.u64()
		r.postAttr(&a)
		if r.boolean() {
			r.opaque()
		}
		if e.Name != "." && e.Name != ".." {
			p.Entries = append(p.Entries, e)
		}
	}
	p.EOF = r.boolean()
	if err := malformed(r, procReadDirPlus); err != nil {
		return err
	}
	if p.Cookie == last && !p.EOF {
		return fmt.Errorf("READDIRPLUS: no entries and no end")
	}
	return nil
}

// Stat is FSSTAT's bytes: all and free.
func (c *Client) Stat(ctx context.Context) (total, free uint64, err error) {
	r, err := c.named(ctx, procFSStat, c.Root, nil)
	if err != nil {
		return 0, 0, err
	}
	var a Attr
	r.postAttr(&a)
	total, free = r.u64(), r.u64()
	return total, free, malformed(r, procFSStat)
}

func malformed(r *reader, proc uint32) error {
	if r.bad {
		return fmt.Errorf("nfs procedure %d: %w", proc, errMalformed)
	}
	return nil
}
