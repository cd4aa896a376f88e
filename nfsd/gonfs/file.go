package gonfs

import (
	"errors"
	"io"
	"os"
	"time"

	gofile "github.com/willscott/go-nfs/file"

	"ovs"
)

// info is os.FileInfo of an object. Its mode holds the permission bits as NFS has them, since go-nfs sends the mode as it
// is; IsDir tells directories.
type info struct {
	name string
	a    ovs.Attr
}

func (i *info) Name() string       { return i.name }
func (i *info) Size() int64        { return int64(i.a.Size) }
func (i *info) ModTime() time.Time { return time.Unix(0, i.a.Mtime) }
func (i *info) IsDir() bool        { return i.a.Type == ovs.TypeDir }

func (i *info) Mode() os.FileMode {
	m := os.FileMode(i.a.Mode & 0o7777)
	switch i.a.Type {
	case ovs.TypeLnk:
		m |= os.ModeSymlink
	case ovs.TypeSock:
		m |= os.ModeSocket
	case ovs.TypeFIFO:
		m |= os.ModeNamedPipe
	}
	return m
}

func (i *info) Sys() any {
	return &gofile.FileInfo{Nlink: i.a.Links, UID: i.a.UID, GID: i.a.GID, Major: i.a.Major, Minor: i.a.Minor, Fileid: uint64(i.a.ID)}
}

// openFile is an open file. Its writes are stable when they return. It is for one goroutine, as os.File's position is.
type openFile struct {
	fs     *FS
	name   string
	id     ovs.ObjectID
	pos    int64
	append bool
}

func (f *openFile) Name() string  { return f.name }
func (f *openFile) Close() error  { return nil }
func (f *openFile) Lock() error   { return errors.ErrUnsupported }
func (f *openFile) Unlock() error { return errors.ErrUnsupported }

func (f *openFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (f *openFile) ReadAt(p []byte, off int64) (int, error) {
	total := 0
	for total < len(p) {
		done := make(chan struct{})
		r := ovs.Read{Request: f.fs.req, File: f.id, Off: uint64(off) + uint64(total), Dst: p[total:min(len(p), total+ovs.MaxIO)],
			Done: func(*ovs.Read) { close(done) }}
		if !f.fs.fs.TryRead(&r) {
			f.fs.fs.Read(&r)
			<-done
		}
		if r.Err != nil {
			return total, wrap(r.Err)
		}
		total += r.N
		if r.N == 0 || r.EOF && total < len(p) {
			return total, io.EOF
		}
	}
	return total, nil
}

func (f *openFile) Write(p []byte) (int, error) {
	if f.append {
		if _, err := f.Seek(0, io.SeekEnd); err != nil {
			return 0, err
		}
	}
	total := 0
	for total < len(p) {
		done := make(chan struct{})
		w := ovs.Write{Request: f.fs.req, File: f.id, Off: uint64(f.pos), Data: p[total:min(len(p), total+ovs.MaxIO)],
			Stable: ovs.FileSync, Done: func(*ovs.Write) { close(done) }}
		n := len(w.Data)
		f.fs.fs.Write(&w)
		<-done
		if w.Err != nil {
			return total, wrap(w.Err)
		}
		total += n
		f.pos += int64(n)
	}
	return total, nil
}

func (f *openFile) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += f.pos
	case io.SeekEnd:
		a, err := f.fs.fs.GetAttr(f.fs.request(), f.id)
		if err != nil {
			return 0, wrap(err)
		}
		off += int64(a.Size)
	}
	if off < 0 {
		return 0, os.ErrInvalid
	}
	f.pos = off
	return off, nil
}

func (f *openFile) Truncate(size int64) error {
	n := uint64(size)
	if _, err := f.fs.fs.SetAttr(f.fs.request(), f.id, &ovs.SetAttr{Size: &n}); err != nil {
		return wrap(err)
	}
	return nil
}
