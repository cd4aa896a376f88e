package memfs

import (
	"strings"

	"ovs"
)

// checkName says why no object can have a name. "." and ".." are of kind dots.
func checkName(op, name string, dots ovs.Kind) error {
	switch {
	case len(name) > ovs.MaxName:
		return ovs.E(op, ovs.KindNameTooLong, nil, nil)
	case name == "" || strings.ContainsAny(name, "/\x00"):
		return ovs.E(op, ovs.KindInvalid, name, nil)
	case name == "." || name == "..":
		return ovs.E(op, dots, name, nil)
	}
	return nil
}

// TryLookup implements ovs.FileSystem.
func (fs *FS) TryLookup(r *ovs.Request, dir ovs.ObjectID, name string, a *ovs.Attr) bool {
	if fs.opt.Cold() {
		return false
	}
	found, err := fs.Lookup(r, dir, name)
	if err != nil {
		return false
	}
	*a = found
	return true
}

// Lookup implements ovs.FileSystem.
func (fs *FS) Lookup(r *ovs.Request, dir ovs.ObjectID, name string) (ovs.Attr, error) {
	const op = "memfs.Lookup"
	fs.mu.Lock()
	defer fs.mu.Unlock()
	d, err := fs.dir(op, dir)
	if err != nil {
		return ovs.Attr{}, err
	}
	if !may(&r.Cred, &d.attr, 1) {
		return ovs.Attr{}, ovs.E(op, ovs.KindAccess, dir, nil)
	}
	switch name {
	case ".":
		return d.attr, nil
	case "..":
		return fs.nodes[d.parent].attr, nil
	}
	if err := checkName(op, name, ovs.KindInvalid); err != nil {
		return ovs.Attr{}, err
	}
	e := d.names[name]
	if e == nil {
		return ovs.Attr{}, ovs.E(op, ovs.KindNotFound, name, nil)
	}
	return fs.nodes[e.id].attr, nil
}

// Readlink implements ovs.FileSystem.
func (fs *FS) Readlink(r *ovs.Request, id ovs.ObjectID) (string, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.node("memfs.Readlink", id)
	if err != nil {
		return "", err
	}
	if n.attr.Type != ovs.TypeLnk {
		return "", ovs.E("memfs.Readlink", ovs.KindInvalid, id, nil)
	}
	return n.target, nil
}

// changeable finds a directory in which the caller may change names.
func (fs *FS) changeable(op string, c *ovs.Cred, dir ovs.ObjectID) (*node, error) {
	d, err := fs.dir(op, dir)
	if err == nil && !may(c, &d.attr, 3) {
		err = ovs.E(op, ovs.KindAccess, dir, nil)
	}
	return d, err
}

// Create implements ovs.FileSystem.
func (fs *FS) Create(r *ovs.Request, dir ovs.ObjectID, name string, c *ovs.Create) (a ovs.Attr, w ovs.Wcc, err error) {
	const op = "memfs.Create"
	fs.mu.Lock()
	defer fs.mu.Unlock()
	d, err := fs.dir(op, dir)
	if err != nil {
		return a, w, err
	}
	w, err = wcc(d, func() error {
		if err := checkName(op, name, ovs.KindExists); err != nil {
			return err
		}
		if e := d.names[name]; e != nil {
			a, err = fs.existing(r, fs.nodes[e.id], name, c)
			return err
		}
		if _, err := fs.changeable(op, &r.Cred, dir); err != nil {
			return err
		}
		if err := mayMake(&r.Cred, name, c); err != nil {
			return err
		}
		a = fs.make(r, d, name, c)
		return nil
	})
	return a, w, err
}

// mayMake says why c is not made.
func mayMake(cred *ovs.Cred, name string, c *ovs.Create) error {
	const op = "memfs.Create"
	s := &c.Attr
	switch {
	case c.Type == ovs.TypeBlk || c.Type == ovs.TypeChr:
		return ovs.E(op, ovs.KindNotSupported, name, nil)
	case len(c.Target) > ovs.MaxPath:
		return ovs.E(op, ovs.KindNameTooLong, name, nil)
	case s.Size != nil && *s.Size > ovs.MaxFileSize:
		return ovs.E(op, ovs.KindTooBig, name, nil)
	case cred.UID != 0 && (s.UID != nil && *s.UID != cred.UID || s.GID != nil && !cred.In(*s.GID)):
		return ovs.E(op, ovs.KindPermission, name, nil)
	}
	return nil
}

// existing is CREATE on a name that is there.
func (fs *FS) existing(r *ovs.Request, n *node, name string, c *ovs.Create) (ovs.Attr, error) {
	const op = "memfs.Create"
	exists := ovs.E(op, ovs.KindExists, name, nil)
	if c.Type != ovs.TypeReg || c.How == ovs.Guarded {
		return ovs.Attr{}, exists
	}
	if c.How == ovs.Exclusive {
		if n.attr.Type == ovs.TypeReg && n.hasVerf && n.verf == c.Verf {
			return n.attr, nil
		}
		return ovs.Attr{}, exists
	}
	if n.attr.Type != ovs.TypeReg {
		return ovs.Attr{}, exists
	}
	if c.Attr.Size != nil && *c.Attr.Size == 0 {
		s := ovs.SetAttr{Size: c.Attr.Size}
		if err := fs.maySet(&r.Cred, n, &s); err != nil {
			return ovs.Attr{}, err
		}
		n.hasVerf = false
		fs.apply(&r.Cred, n, &s)
	}
	return n.attr, nil
}

// make puts a new object under a name that is absent.
func (fs *FS) make(r *ovs.Request, d *node, name string, c *ovs.Create) ovs.Attr {
	fs.lastID++
	now := fs.now()
	n := &node{attr: ovs.Attr{ID: fs.lastID, Type: c.Type, Mode: 0o644, Links: 1, UID: r.Cred.UID, GID: r.Cred.GID,
		Atime: now, Mtime: now, Ctime: now}}
	if d.attr.Mode&setGID != 0 {
		n.attr.GID = d.attr.GID
	}
	switch c.Type {
	case ovs.TypeDir:
		n.attr.Mode, n.attr.Links, n.attr.Size, n.attr.Used = 0o755, 2, ovs.ClusterSize, ovs.ClusterSize
		n.names, n.parent = map[string]*entry{}, d.attr.ID
		d.attr.Links++
	case ovs.TypeLnk:
		n.attr.Mode, n.attr.Size, n.target = 0o777, uint64(len(c.Target)), c.Target
	default:
		n.pages = map[uint64]*page{}
	}
	fs.nodes[n.attr.ID] = n
	fs.insert(d, name, n.attr.ID)
	if c.How == ovs.Exclusive && c.Type == ovs.TypeReg {
		n.verf, n.hasVerf = c.Verf, true
		return n.attr
	}
	s := c.Attr
	if c.Type != ovs.TypeReg {
		s.Size = nil
	}
	fs.apply(&ovs.Cred{}, n, &s)
	if c.Type == ovs.TypeDir && d.attr.Mode&setGID != 0 {
		n.attr.Mode |= setGID
	}
	return n.attr
}

// Link implements ovs.FileSystem.
func (fs *FS) Link(r *ovs.Request, id, dir ovs.ObjectID, name string) (a ovs.Attr, w ovs.Wcc, err error) {
	const op = "memfs.Link"
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.node(op, id)
	if err != nil {
		return a, w, err
	}
	d, err := fs.dir(op, dir)
	if err != nil {
		return n.attr, w, err
	}
	w, err = wcc(d, func() error {
		if err := checkName(op, name, ovs.KindExists); err != nil {
			return err
		}
		switch {
		case n.attr.Type == ovs.TypeDir:
			return ovs.E(op, ovs.KindPermission, id, nil)
		case d.names[name] != nil:
			return ovs.E(op, ovs.KindExists, name, nil)
		case !may(&r.Cred, &d.attr, 3):
			return ovs.E(op, ovs.KindAccess, dir, nil)
		case n.attr.Links >= ovs.MaxLinks:
			return ovs.E(op, ovs.KindTooManyLinks, id, nil)
		}
		n.attr.Links++
		n.attr.Ctime = fs.now()
		fs.insert(d, name, id)
		return nil
	})
	return n.attr, w, err
}

// ReadDir implements ovs.FileSystem.
func (fs *FS) ReadDir(r *ovs.Request, dir ovs.ObjectID, cookie uint64, attrs bool, yield func(*ovs.DirEntry) bool) (bool, error) {
	const op = "memfs.ReadDir"
	fs.mu.Lock()
	d, err := fs.dir(op, dir)
	if err == nil && !may(&r.Cred, &d.attr, 4) {
		err = ovs.E(op, ovs.KindAccess, dir, nil)
	}
	if err != nil {
		fs.mu.Unlock()
		return false, err
	}
	var page []ovs.DirEntry
	add := func(name string, id ovs.ObjectID, c uint64) {
		if c <= cookie {
			return
		}
		e := ovs.DirEntry{Name: name, ID: id, Cookie: c}
		if n := fs.nodes[id]; attrs && n != nil {
			a := n.attr
			e.Attr = &a
		}
		page = append(page, e)
	}
	add(".", dir, 1)
	add("..", d.parent, 2)
	for _, e := range d.entries {
		add(e.name, e.id, e.cookie)
	}
	fs.mu.Unlock()
	for i := range page {
		if !yield(&page[i]) {
			return false, nil
		}
	}
	return true, nil
}
