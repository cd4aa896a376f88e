package gonfs

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-git/go-billy/v5"

	"ovs"
)

// FS is a directory of an ovs.FileSystem as go-billy's file system, with the rights of one request's credential. A path
// may begin with the name that ObjectPath gives: then it starts at that object, whatever its names are by now.
type FS struct {
	fs   ovs.FileSystem
	req  ovs.Request
	root ovs.ObjectID
	temp *atomic.Uint64
}

var (
	_ billy.Filesystem = (*FS)(nil)
	_ billy.Change     = (*FS)(nil)
)

// NewFS makes one that begins at root.
func NewFS(f ovs.FileSystem, r ovs.Request, root ovs.ObjectID) *FS {
	return &FS{fs: f, req: r, root: root, temp: new(atomic.Uint64)}
}

const objectPrefix = "\x00id:"

// ObjectPath is a path that leads to an object directly.
func ObjectPath(id ovs.ObjectID) string { return objectPrefix + strconv.FormatUint(uint64(id), 16) }

// wrap makes an error the one that package os would give: callers of go-billy ask os.IsNotExist and the like, which look
// for an errno and nothing else.
func wrap(err error) error {
	errno := syscall.EIO
	switch ovs.KindOf(err) {
	case ovs.KindNotFound, ovs.KindStale:
		errno = syscall.ENOENT
	case ovs.KindExists:
		errno = syscall.EEXIST
	case ovs.KindPermission:
		errno = syscall.EPERM
	case ovs.KindAccess:
		errno = syscall.EACCES
	case ovs.KindReadOnly:
		errno = syscall.EROFS
	case ovs.KindNoSpace:
		errno = syscall.ENOSPC
	case ovs.KindTooBig:
		errno = syscall.EFBIG
	case ovs.KindInvalid:
		errno = syscall.EINVAL
	case ovs.KindNotDir:
		errno = syscall.ENOTDIR
	case ovs.KindIsDir:
		errno = syscall.EISDIR
	case ovs.KindNotEmpty:
		errno = syscall.ENOTEMPTY
	case ovs.KindNameTooLong:
		errno = syscall.ENAMETOOLONG
	}
	return &fs.PathError{Op: "gonfs", Path: err.Error(), Err: errno}
}

func (f *FS) request() *ovs.Request { r := f.req; return &r }

// maxSymlinks is how many links one path may lead through.
const maxSymlinks = 40

// find walks a path. follow: a symbolic link at its end is followed too.
func (f *FS) find(p string, follow bool) (ovs.Attr, error) {
	return f.walk(f.root, p, follow, new(int))
}

func (f *FS) walk(at ovs.ObjectID, p string, follow bool, links *int) (ovs.Attr, error) {
	r := f.request()
	if rest, ok := strings.CutPrefix(strings.TrimPrefix(p, "/"), objectPrefix); ok {
		id, tail, _ := strings.Cut(rest, "/")
		n, err := strconv.ParseUint(id, 16, 64)
		if err != nil {
			return ovs.Attr{}, ovs.E("gonfs.find", ovs.KindNotFound, p, err)
		}
		at, p = ovs.ObjectID(n), tail
	} else if strings.HasPrefix(p, "/") {
		at = f.root
	}
	a, err := f.fs.GetAttr(r, at)
	if err != nil {
		return a, err
	}
	for p != "" {
		var name string
		name, p, _ = strings.Cut(p, "/")
		if name == "" || name == "." {
			continue
		}
		dir := a.ID
		if a, err = f.fs.Lookup(r, dir, name); err != nil {
			return a, err
		}
		if a.Type != ovs.TypeLnk || strings.Trim(p, "/") == "" && !follow {
			continue
		}
		if *links++; *links > maxSymlinks {
			return a, ovs.E("gonfs.find", ovs.KindInvalid, name, errors.New("too many symbolic links"))
		}
		target, err := f.fs.Readlink(r, a.ID)
		if err != nil {
			return a, err
		}
		if a, err = f.walk(dir, target, true, links); err != nil {
			return a, err
		}
	}
	return a, nil
}

// parent finds the directory that a path's last name is in.
func (f *FS) parent(p string) (ovs.ObjectID, string, error) {
	dir, name := path.Split(p)
	if name == "" {
		return 0, "", wrap(ovs.E("gonfs.parent", ovs.KindInvalid, p, nil))
	}
	a, err := f.find(dir, true)
	if err != nil {
		return 0, "", wrap(err)
	}
	return a.ID, name, nil
}

// Create makes a file or empties one.
func (f *FS) Create(name string) (billy.File, error) {
	return f.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
}

// Open opens for reading.
func (f *FS) Open(name string) (billy.File, error) { return f.OpenFile(name, os.O_RDONLY, 0) }

// OpenFile is os.OpenFile.
func (f *FS) OpenFile(name string, flag int, perm os.FileMode) (billy.File, error) {
	a, err := f.find(name, true)
	switch {
	case err == nil && flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, wrap(ovs.E("gonfs.OpenFile", ovs.KindExists, name, nil))
	case ovs.Is(err, ovs.KindNotFound) && flag&os.O_CREATE != 0:
		dir, last, err := f.parent(name)
		if err != nil {
			return nil, err
		}
		mode := uint32(perm.Perm())
		c := ovs.Create{Type: ovs.TypeReg, Attr: ovs.SetAttr{Mode: &mode}}
		if flag&os.O_EXCL != 0 {
			c.How = ovs.Guarded
		}
		if a, _, err = f.fs.Create(f.request(), dir, last, &c); err != nil {
			return nil, wrap(err)
		}
	case err != nil:
		return nil, wrap(err)
	}
	if a.Type != ovs.TypeReg && flag&(os.O_WRONLY|os.O_RDWR) != 0 {
		return nil, wrap(ovs.E("gonfs.OpenFile", ovs.KindIsDir, name, nil))
	}
	file := &openFile{fs: f, name: name, id: a.ID, append: flag&os.O_APPEND != 0}
	if flag&os.O_TRUNC != 0 {
		if err := file.Truncate(0); err != nil {
			return nil, err
		}
	}
	return file, nil
}

// Stat follows symbolic links.
func (f *FS) Stat(name string) (os.FileInfo, error) { return f.stat(name, true) }

// Lstat does not.
func (f *FS) Lstat(name string) (os.FileInfo, error) { return f.stat(name, false) }

func (f *FS) stat(name string, follow bool) (os.FileInfo, error) {
	a, err := f.find(name, follow)
	if err != nil {
		return nil, wrap(err)
	}
	return &info{path.Base(name), a}, nil
}

// Rename implements billy.Basic.
func (f *FS) Rename(from, to string) error {
	d1, n1, err := f.parent(from)
	if err != nil {
		return err
	}
	d2, n2, err := f.parent(to)
	if err != nil {
		return err
	}
	if _, _, err = f.fs.Rename(f.request(), d1, n1, d2, n2); err != nil {
		return wrap(err)
	}
	return nil
}

// Remove takes a file or an empty directory away.
func (f *FS) Remove(name string) error {
	dir, last, err := f.parent(name)
	if err != nil {
		return err
	}
	a, err := f.fs.Lookup(f.request(), dir, last)
	if err != nil {
		return wrap(err)
	}
	if a.Type == ovs.TypeDir {
		_, err = f.fs.Rmdir(f.request(), dir, last)
	} else {
		_, err = f.fs.Remove(f.request(), dir, last)
	}
	if err != nil {
		return wrap(err)
	}
	return nil
}

// Join implements billy.Basic.
func (f *FS) Join(elem ...string) string { return path.Join(elem...) }

// TempFile makes a file whose name nobody has.
func (f *FS) TempFile(dir, prefix string) (billy.File, error) {
	for range 10_000 {
		name := path.Join(dir, prefix+strconv.FormatUint(f.temp.Add(1), 36))
		file, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return file, err
		}
	}
	return nil, fs.ErrExist
}

// ReadDir gives all entries, without "." and "..".
func (f *FS) ReadDir(name string) ([]os.FileInfo, error) {
	a, err := f.find(name, true)
	if err != nil {
		return nil, wrap(err)
	}
	var all []os.FileInfo
	var missing []*info
	_, err = f.fs.ReadDir(f.request(), a.ID, 2, true, func(e *ovs.DirEntry) bool {
		i := &info{e.Name, ovs.Attr{ID: e.ID}}
		if e.Attr != nil {
			i.a = *e.Attr
		} else {
			missing = append(missing, i)
		}
		all = append(all, i)
		return true
	})
	if err != nil {
		return nil, wrap(err)
	}
	for _, i := range missing {
		if i.a, err = f.fs.GetAttr(f.request(), i.a.ID); err != nil {
			return nil, wrap(err)
		}
	}
	return all, nil
}

// MkdirAll implements billy.Dir.
func (f *FS) MkdirAll(name string, perm os.FileMode) error {
	a, err := f.find(name, true)
	if err == nil {
		if a.Type != ovs.TypeDir {
			return wrap(ovs.E("gonfs.MkdirAll", ovs.KindNotDir, name, nil))
		}
		return nil
	}
	if !ovs.Is(err, ovs.KindNotFound) {
		return wrap(err)
	}
	if dir := path.Dir(name); dir != "." && dir != "/" {
		if err := f.MkdirAll(dir, perm); err != nil {
			return err
		}
	}
	mode := uint32(perm.Perm())
	return f.make(name, &ovs.Create{Type: ovs.TypeDir, Attr: ovs.SetAttr{Mode: &mode}})
}

func (f *FS) make(name string, c *ovs.Create) error {
	dir, last, err := f.parent(name)
	if err != nil {
		return err
	}
	if _, _, err = f.fs.Create(f.request(), dir, last, c); err != nil {
		return wrap(err)
	}
	return nil
}

// Symlink implements billy.Symlink.
func (f *FS) Symlink(target, link string) error {
	return f.make(link, &ovs.Create{Type: ovs.TypeLnk, Target: target})
}

// Readlink implements billy.Symlink.
func (f *FS) Readlink(link string) (string, error) {
	a, err := f.find(link, false)
	if err != nil {
		return "", wrap(err)
	}
	target, err := f.fs.Readlink(f.request(), a.ID)
	if err != nil {
		return "", wrap(err)
	}
	return target, nil
}

// Chroot implements billy.Chroot.
func (f *FS) Chroot(p string) (billy.Filesystem, error) {
	a, err := f.find(p, true)
	if err != nil {
		return nil, wrap(err)
	}
	return &FS{f.fs, f.req, a.ID, f.temp}, nil
}

// Root implements billy.Chroot.
func (f *FS) Root() string { return "/" }

func (f *FS) change(name string, follow bool, s *ovs.SetAttr) error {
	a, err := f.find(name, follow)
	if err != nil {
		return wrap(err)
	}
	if _, err = f.fs.SetAttr(f.request(), a.ID, s); err != nil {
		return wrap(err)
	}
	return nil
}

// Chmod implements billy.Change.
func (f *FS) Chmod(name string, mode os.FileMode) error {
	m := uint32(mode) & 0o7777
	return f.change(name, true, &ovs.SetAttr{Mode: &m})
}

// Lchown implements billy.Change.
func (f *FS) Lchown(name string, uid, gid int) error {
	u, g := uint32(uid), uint32(gid)
	return f.change(name, false, &ovs.SetAttr{UID: &u, GID: &g})
}

// Chown implements billy.Change.
func (f *FS) Chown(name string, uid, gid int) error {
	u, g := uint32(uid), uint32(gid)
	return f.change(name, true, &ovs.SetAttr{UID: &u, GID: &g})
}

// Chtimes implements billy.Change.
func (f *FS) Chtimes(name string, atime, mtime time.Time) error {
	a, m := atime.UnixNano(), mtime.UnixNano()
	return f.change(name, true, &ovs.SetAttr{Atime: &a, Mtime: &m})
}
