package memfs

import "ovs"

// TryGetAttr implements ovs.FileSystem.
func (fs *FS) TryGetAttr(r *ovs.Request, id ovs.ObjectID, a *ovs.Attr) bool {
	if fs.opt.Cold() {
		return false
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.nodes[id]
	if n == nil {
		return false
	}
	*a = n.attr
	return true
}

// GetAttr implements ovs.FileSystem.
func (fs *FS) GetAttr(r *ovs.Request, id ovs.ObjectID) (ovs.Attr, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.node("memfs.GetAttr", id)
	if err != nil {
		return ovs.Attr{}, err
	}
	return n.attr, nil
}

// SetAttr implements ovs.FileSystem.
func (fs *FS) SetAttr(r *ovs.Request, id ovs.ObjectID, s *ovs.SetAttr) (ovs.Wcc, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.node("memfs.SetAttr", id)
	if err != nil {
		return ovs.Wcc{}, err
	}
	return wcc(n, func() error {
		if s.Guard != nil && *s.Guard != n.attr.Ctime {
			return ovs.E("memfs.SetAttr", ovs.KindConflict, id, nil)
		}
		if err := fs.maySet(&r.Cred, n, s); err != nil {
			return err
		}
		n.hasVerf = false
		fs.apply(&r.Cred, n, s)
		return nil
	})
}

// maySet checks all of s before any of it is done.
func (fs *FS) maySet(c *ovs.Cred, n *node, s *ovs.SetAttr) error {
	const op = "memfs.SetAttr"
	owner := c.UID == 0 || c.UID == n.attr.UID
	deny := func(k ovs.Kind) error { return ovs.E(op, k, n.attr.ID, nil) }
	switch {
	case s.Mode != nil && !owner:
		return deny(ovs.KindPermission)
	case s.UID != nil && c.UID != 0 && (*s.UID != n.attr.UID || !owner):
		return deny(ovs.KindPermission)
	case s.GID != nil && c.UID != 0 && (!owner || *s.GID != n.attr.GID && !c.In(*s.GID)):
		return deny(ovs.KindPermission)
	}
	for _, t := range []*int64{s.Atime, s.Mtime} {
		if t == nil || owner {
			continue
		}
		if *t != ovs.SetToServer {
			return deny(ovs.KindPermission)
		}
		if !may(c, &n.attr, 2) {
			return deny(ovs.KindAccess)
		}
	}
	if s.Size == nil {
		return nil
	}
	if _, err := fs.file(op, n.attr.ID); err != nil {
		return err
	}
	if !mayIO(c, &n.attr, 2) {
		return deny(ovs.KindAccess)
	}
	if *s.Size > ovs.MaxFileSize {
		return deny(ovs.KindTooBig)
	}
	return nil
}

// apply does what maySet allowed.
func (fs *FS) apply(c *ovs.Cred, n *node, s *ovs.SetAttr) {
	now := fs.now()
	if s.Size != nil {
		fs.resize(n, *s.Size)
		n.attr.Mtime = now
		dropSetID(c, &n.attr)
	}
	if s.UID != nil || s.GID != nil {
		dropSetID(c, &n.attr)
	}
	if s.UID != nil {
		n.attr.UID = *s.UID
	}
	if s.GID != nil {
		n.attr.GID = *s.GID
	}
	if s.Mode != nil {
		n.attr.Mode = *s.Mode & 0o7777
		if c.UID != 0 && !c.In(n.attr.GID) && n.attr.Type != ovs.TypeDir {
			n.attr.Mode &^= setGID
		}
	}
	setTime(&n.attr.Atime, s.Atime, now)
	setTime(&n.attr.Mtime, s.Mtime, now)
	n.attr.Ctime = now
	if n.stable.dirty { // attributes are durable at once
		n.stable.mtime, n.stable.ctime = n.attr.Mtime, n.attr.Ctime
	}
}

func setTime(t, to *int64, now int64) {
	switch {
	case to == nil:
	case *to == ovs.SetToServer:
		*t = now
	default:
		*t = *to
	}
}

// Stat implements ovs.FileSystem.
func (fs *FS) Stat(r *ovs.Request) (ovs.FSStat, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	free := fs.opt.Capacity - fs.pages*pageSize
	const files = 1 << 32
	return ovs.FSStat{
		TotalBytes: fs.opt.Capacity, FreeBytes: free, AvailBytes: free,
		TotalFiles: files, FreeFiles: files - uint64(len(fs.nodes)), AvailFiles: files - uint64(len(fs.nodes)),
	}, nil
}
