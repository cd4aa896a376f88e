package memfs

import "ovs"

// Remove implements ovs.FileSystem.
func (fs *FS) Remove(r *ovs.Request, dir ovs.ObjectID, name string) (ovs.Wcc, error) {
	return fs.take("memfs.Remove", r, dir, name, false)
}

// Rmdir implements ovs.FileSystem.
func (fs *FS) Rmdir(r *ovs.Request, dir ovs.ObjectID, name string) (ovs.Wcc, error) {
	return fs.take("memfs.Rmdir", r, dir, name, true)
}

func (fs *FS) take(op string, r *ovs.Request, dir ovs.ObjectID, name string, wantDir bool) (ovs.Wcc, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	d, err := fs.dir(op, dir)
	if err != nil {
		return ovs.Wcc{}, err
	}
	return wcc(d, func() error {
		dots := ovs.KindInvalid
		if wantDir && name == ".." {
			dots = ovs.KindExists // it is there, and never empty: RFC 1813, section 3.3.13
		}
		if err := checkName(op, name, dots); err != nil {
			return err
		}
		if !may(&r.Cred, &d.attr, 3) {
			return ovs.E(op, ovs.KindAccess, dir, nil)
		}
		e := d.names[name]
		if e == nil {
			return ovs.E(op, ovs.KindNotFound, name, nil)
		}
		n := fs.nodes[e.id]
		if err := removable(op, &r.Cred, d, n, wantDir); err != nil {
			return err
		}
		fs.drop(d, e, n)
		return nil
	})
}

// removable says why n may not go from d.
func removable(op string, c *ovs.Cred, d, n *node, wantDir bool) error {
	isDir := n.attr.Type == ovs.TypeDir
	switch {
	case !mayDelete(c, &d.attr, &n.attr):
		return ovs.E(op, ovs.KindPermission, n.attr.ID, nil)
	case isDir && !wantDir:
		return ovs.E(op, ovs.KindIsDir, n.attr.ID, nil)
	case !isDir && wantDir:
		return ovs.E(op, ovs.KindNotDir, n.attr.ID, nil)
	case isDir && len(n.names) > 0:
		return ovs.E(op, ovs.KindNotEmpty, n.attr.ID, nil)
	}
	return nil
}

// drop takes an entry away, and one link of what it names.
func (fs *FS) drop(d *node, e *entry, n *node) {
	fs.delete(d, e)
	if n.attr.Type == ovs.TypeDir {
		d.attr.Links--
		delete(fs.nodes, n.attr.ID)
		return
	}
	fs.unlink(n)
}

// Rename implements ovs.FileSystem.
func (fs *FS) Rename(r *ovs.Request, fromDir ovs.ObjectID, from string, toDir ovs.ObjectID, to string) (fw, tw ovs.Wcc, err error) {
	const op = "memfs.Rename"
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f, err := fs.dir(op, fromDir)
	if err != nil {
		return fw, tw, err
	}
	t, err := fs.dir(op, toDir)
	if err != nil {
		return fw, tw, err
	}
	fw, err = wcc(f, func() error {
		var err error
		tw, err = wcc(t, func() error { return fs.rename(&r.Cred, f, from, t, to) })
		return err
	})
	return fw, tw, err
}

func (fs *FS) rename(c *ovs.Cred, f *node, from string, t *node, to string) error {
	const op = "memfs.Rename"
	for _, name := range []string{from, to} {
		if err := checkName(op, name, ovs.KindInvalid); err != nil {
			return err
		}
	}
	if !may(c, &f.attr, 3) || !may(c, &t.attr, 3) {
		return ovs.E(op, ovs.KindAccess, from, nil)
	}
	e := f.names[from]
	if e == nil {
		return ovs.E(op, ovs.KindNotFound, from, nil)
	}
	n := fs.nodes[e.id]
	if !mayDelete(c, &f.attr, &n.attr) {
		return ovs.E(op, ovs.KindPermission, from, nil)
	}
	isDir := n.attr.Type == ovs.TypeDir
	if isDir && fs.within(t, n.attr.ID) {
		return ovs.E(op, ovs.KindInvalid, to, nil)
	}
	if over := t.names[to]; over != nil {
		if over.id == e.id { // two names of one file: nothing to do
			return nil
		}
		if err := removable(op, c, t, fs.nodes[over.id], isDir); err != nil {
			return err
		}
		fs.drop(t, over, fs.nodes[over.id])
	}
	fs.delete(f, e)
	fs.insert(t, to, e.id)
	if isDir && f != t {
		f.attr.Links--
		t.attr.Links++
		n.parent = t.attr.ID
	}
	n.attr.Ctime = fs.now()
	return nil
}

// within reports whether directory d is id or lies below it.
func (fs *FS) within(d *node, id ovs.ObjectID) bool {
	for d.attr.ID != id {
		if d.attr.ID == ovs.RootID {
			return false
		}
		d = fs.nodes[d.parent]
	}
	return true
}
