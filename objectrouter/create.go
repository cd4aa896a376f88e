package objectrouter

import (
	"context"

	"ovs"
)

// Create makes a file, directory, symbolic link, FIFO or socket: entry, cookie key, inode and, for a file, head and
// registry entry in one sequence.
func (r *Router) Create(q *ovs.Request, dir ovs.ObjectID, name string, c *ovs.Create) (a ovs.Attr, w ovs.Wcc, err error) {
	const op = "objectrouter.Create"
	ctx, cancel := q.Context()
	defer cancel()
	at := r.attempt(q)
	id, before, err := at.attempts(ctx, op, func() error {
		d, old, err := r.place(ctx, op, q, dir, name)
		switch {
		case err != nil:
			return err
		case old.id == 0:
			a, w, err = r.make(ctx, q, &at, &d, name, c)
			return wrap(op, err)
		}
		if a, err = r.existing(ctx, q, old, c); ovs.Is(err, ovs.KindStale) {
			return errAgain // it went away: then this one makes it
		}
		w = r.dirWcc(dir, 0)
		return wrap(op, err)
	})
	if before {
		a, err = r.GetAttr(q, id)
		w = r.dirWcc(dir, 0)
	}
	return a, w, err
}

// place looks where a new name is to be: at the directory, and what has the name already (id 0: nothing, and one may be made).
func (r *Router) place(ctx context.Context, op string, q *ovs.Request, dir ovs.ObjectID, name string) (d known, old dirent, err error) {
	d, err = r.dir(ctx, op, dir, name)
	switch {
	case err != nil:
		return d, old, err
	case dots(name):
		return d, old, ovs.E(op, ovs.KindExists, name, nil)
	case !d.rec.may(&q.Cred, wantX):
		return d, old, ovs.E(op, ovs.KindAccess, dir, nil)
	}
	if old, err = r.find(ctx, dir, name); !ovs.Is(err, ovs.KindNotFound) {
		return d, old, wrap(op, err)
	}
	if !d.rec.may(&q.Cred, wantW) {
		return d, old, ovs.E(op, ovs.KindAccess, dir, nil)
	}
	return d, dirent{}, nil
}

// existing answers a CREATE of a name that is there.
func (r *Router) existing(ctx context.Context, q *ovs.Request, e dirent, c *ovs.Create) (a ovs.Attr, err error) {
	const op = "objectrouter.Create"
	exists := ovs.E(op, ovs.KindExists, e.id, nil)
	if c.Type != ovs.TypeReg || e.typ != ovs.TypeReg || c.How == ovs.Guarded {
		return a, exists
	}
	k, err := r.load(ctx, e.id)
	if err != nil {
		return a, err
	}
	if c.How == ovs.Exclusive {
		if !k.rec.hasVerf || k.rec.verf != c.Verf {
			return a, exists
		}
	} else if c.Attr.Size != nil && *c.Attr.Size == 0 {
		var zero uint64
		w, err := r.SetAttr(q, e.id, &ovs.SetAttr{Size: &zero})
		if err != nil || w.HasAfter {
			return w.After, err
		}
		if k, err = r.load(ctx, e.id); err != nil {
			return a, err
		}
	}
	return a, r.attrs(ctx, &k, &a)
}

// newInode is the record of what CREATE makes in d at time now.
func (r *Router) newInode(op string, q *ovs.Request, d *known, name string, c *ovs.Create, now int64) (*inode, error) {
	n := &inode{
		typ: c.Type, mode: 0o644, links: 1, uid: q.Cred.UID, gid: q.Cred.GID,
		atime: now, mtime: now, ctime: now, settled: now, changed: now,
	}
	if d.rec.mode&modeSetGID != 0 {
		n.gid = d.rec.gid
	}
	switch c.Type {
	case ovs.TypeReg:
		n.driver = r.kindFor(name)
		if c.How == ovs.Exclusive {
			n.hasVerf, n.verf = true, c.Verf
			return n, nil // its attributes come by a SETATTR, which also ends the verifier's life
		}
		if c.Attr.Size != nil && *c.Attr.Size > ovs.MaxFileSize {
			return nil, ovs.E(op, ovs.KindTooBig, name, nil)
		}
	case ovs.TypeDir:
		n.mode, n.links, n.parent = 0o755, 2, d.id
	case ovs.TypeLnk:
		n.target, n.mode = c.Target, 0o777
		if c.Target == "" {
			return nil, ovs.E(op, ovs.KindInvalid, "empty target", nil)
		}
		if len(c.Target) > ovs.MaxPath {
			return nil, ovs.E(op, ovs.KindNameTooLong, "target", nil)
		}
	case ovs.TypeFIFO, ovs.TypeSock:
	default:
		return nil, ovs.E(op, ovs.KindNotSupported, "devices", nil)
	}
	s := c.Attr
	s.Size, s.Guard = nil, nil
	if s.UID != nil && *s.UID != n.uid && q.Cred.UID != 0 || s.GID != nil && *s.GID != n.gid && q.Cred.UID != 0 && !q.Cred.In(*s.GID) {
		return nil, ovs.E(op, ovs.KindPermission, name, nil)
	}
	n = changed(n, &q.Cred, &s, now)
	if c.Type == ovs.TypeDir {
		n.mode |= d.rec.mode & modeSetGID
	}
	return n, nil
}

// make does the sequence of a CREATE.
func (r *Router) make(ctx context.Context, q *ovs.Request, at *attempt, d *known, name string, c *ovs.Create) (a ovs.Attr, w ovs.Wcc, err error) {
	const op = "objectrouter.Create"
	now := r.stamp(d.shownCtime() + 1)
	rec, err := r.newInode(op, q, d, name, c, now)
	if err != nil {
		return a, w, err
	}
	id, err := r.ids.take(ctx)
	if err != nil {
		return a, w, err
	}
	u := append(r.enterName(d.id, name, dirent{id: id, typ: rec.typ}, now), ovs.Set(inodeKey(id), rec.encode()))
	if rec.typ == ovs.TypeDir {
		u = append(u, ovs.Add(inodeKey(d.id), linksAt, 1))
	}
	var index uint64
	if rec.typ == ovs.TypeReg {
		index, err = r.makeData(ctx, at, id, rec, u)
	} else {
		index, err = at.sequence(ctx, id, u...)
	}
	if err != nil {
		return a, w, err
	}
	k := known{id: id, rec: rec}
	if rec.typ == ovs.TypeReg {
		own := created(r.cfg.Node)
		k.own = &own
		if c.How != ovs.Exclusive && c.Attr.Size != nil && *c.Attr.Size > 0 {
			if err := r.resize(ctx, id, *c.Attr.Size); err != nil {
				at.keys = nil // the file is there, but not as it was asked for: this is no success
				return a, w, err
			}
		}
	}
	return a, r.dirWcc(d.id, index), r.attrs(ctx, &k, &a)
}

// enterName is the part of a sequence that gives a new name to an object: the name must be free and the directory alive (else
// its count could not be added to). The directory's time becomes now, and another one in any case: of two changes the one
// with the older time may be done last.
func (r *Router) enterName(dir ovs.ObjectID, name string, e dirent, now int64) []ovs.Update {
	return []ovs.Update{
		ovs.AssertAbsent(entryKey(dir, name)),
		ovs.SetStamped(entryKey(dir, name), e.encode(), -1, direntCookieAt),
		ovs.SetStamped(cookieKey(dir, 0), encodeCookie(e, name), cookieAt, -1),
		ovs.Add(inodeKey(dir), childrenAt, 1),
		ovs.Add(inodeKey(dir), changedAt, 1), ovs.Max(inodeKey(dir), changedAt, timeBits(now)),
	}
}

// leaveName is the part of a sequence that takes a name away: it must still mean the same entry.
func (r *Router) leaveName(dir ovs.ObjectID, name string, e dirent, now int64) []ovs.Update {
	return []ovs.Update{
		ovs.TestAndSet(entryKey(dir, name), e.encode(), nil),
		ovs.Delete(cookieKey(dir, e.cookie)),
		ovs.Add(inodeKey(dir), childrenAt, -1),
		ovs.Add(inodeKey(dir), changedAt, 1), ovs.Max(inodeKey(dir), changedAt, timeBits(now)),
	}
}

// shownCtime is the ctime that a directory shows.
func (k *known) shownCtime() int64 { return max(k.rec.ctime, k.rec.changed) }

// dirWcc is the weak cache consistency of a directory that the sequence of that index changed (0: none did): the
// record before it is known when memory followed the change.
func (r *Router) dirWcc(dir ovs.ObjectID, index uint64) (w ovs.Wcc) {
	before, after := r.table.change(dir, index)
	if before != nil && index != 0 {
		var a ovs.Attr
		before.show(dir, nil, &a)
		w.HasBefore, w.SizeBefore, w.MtimeB, w.CtimeB = true, a.Size, a.Mtime, a.Ctime
	}
	if after != nil {
		w.HasAfter = true
		after.show(dir, nil, &w.After)
	}
	return w
}

// ctimeOf is the ctime that k shows, as far as is known at once.
func (r *Router) ctimeOf(k *known) int64 {
	var a ovs.Attr
	if r.shown(k, &a) {
		return a.Ctime
	}
	return k.shownCtime()
}
