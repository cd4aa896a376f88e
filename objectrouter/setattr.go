package objectrouter

import (
	"context"
	"errors"

	"ovs"
)

// SetAttr changes attributes. The size goes to the owner of the data first and is durable there; all others stand in the
// inode record.
func (r *Router) SetAttr(q *ovs.Request, id ovs.ObjectID, s *ovs.SetAttr) (w ovs.Wcc, err error) {
	const op = "objectrouter.SetAttr"
	ctx, cancel := q.Context()
	defer cancel()
	at := r.attempt(q)
	if s.Size == nil && s.Guard == nil {
		at.keys = nil // may be done twice
	}
	resized := false
	_, before, err := at.attempts(ctx, op, func() error {
		k, old, err := r.prepare(ctx, op, &q.Cred, id, s, resized)
		if err == nil && s.Size != nil && !resized {
			if err = r.cut(ctx, &at, id, *s.Size); err == nil {
				resized, err = true, errAgain // to see what it is now
			}
		}
		if err != nil {
			return wrap(op, err)
		}
		next := changed(k.rec, &q.Cred, s, r.stamp(old.Ctime+1))
		_, err = at.sequence(ctx, id, ovs.Assert(inodeKey(id), k.rec.encode()), ovs.Set(inodeKey(id), next.encode()))
		if err == nil {
			w = r.wccOf(&k, next, old, !resized)
		}
		return wrap(op, err)
	})
	if before {
		w.After, err = r.GetAttr(q, id)
		w.HasAfter = err == nil
	}
	return w, err
}

var errRepeated = ovs.E("objectrouter.cut", ovs.KindBusy, nil, errors.New("it was done when its request came before"))

// cut sets the size, unless that was done when the request came before: what was written since would be lost.
func (r *Router) cut(ctx context.Context, at *attempt, id ovs.ObjectID, size uint64) error {
	if _, before, err := at.known(ctx); err != nil {
		return err
	} else if before {
		return errRepeated
	}
	return r.resize(ctx, id, size)
}

// wccOf is the weak cache consistency of a change of k's record to next. The attributes before count only when no
// write came between them and those after.
func (r *Router) wccOf(k *known, next *inode, before ovs.Attr, quiet bool) (w ovs.Wcc) {
	later := *k
	later.rec = next
	w.HasAfter = r.shown(&later, &w.After)
	var again ovs.Attr
	if quiet && r.shown(k, &again) && again == before {
		w.HasBefore, w.SizeBefore, w.MtimeB, w.CtimeB = true, before.Size, before.Mtime, before.Ctime
	}
	return w
}

// prepare loads what a SETATTR is about, and checks guard, type, limits and credentials unless that was done before.
func (r *Router) prepare(ctx context.Context, op string, c *ovs.Cred, id ovs.ObjectID, s *ovs.SetAttr, checked bool) (k known, a ovs.Attr, err error) {
	if k, err = r.load(ctx, id); err != nil {
		return k, a, err
	}
	if err = r.attrs(ctx, &k, &a); err != nil || checked {
		return k, a, err
	}
	if s.Guard != nil && *s.Guard != a.Ctime {
		return k, a, ovs.E(op, ovs.KindConflict, id, nil)
	}
	return k, a, allowed(op, c, &k, s)
}

// allowed checks a SETATTR against type, limits and credentials.
func allowed(op string, c *ovs.Cred, k *known, s *ovs.SetAttr) error {
	if s.Size != nil {
		if err := checkData(op, k.id, k.rec.typ); err != nil {
			return err
		}
		if *s.Size > ovs.MaxFileSize {
			return ovs.E(op, ovs.KindTooBig, k.id, nil)
		}
		if !k.rec.mayWrite(c) {
			return ovs.E(op, ovs.KindAccess, k.id, nil)
		}
	}
	owns := k.rec.owns(c)
	switch {
	case s.Mode != nil && !owns,
		s.UID != nil && c.UID != 0 && (!owns || *s.UID != k.rec.uid),
		s.GID != nil && c.UID != 0 && (!owns || *s.GID != k.rec.gid && !c.In(*s.GID)):
		return ovs.E(op, ovs.KindPermission, k.id, nil)
	}
	for _, t := range [...]*int64{s.Atime, s.Mtime} {
		switch {
		case t == nil || owns:
		case *t != ovs.SetToServer:
			return ovs.E(op, ovs.KindPermission, k.id, nil)
		case !k.rec.may(c, wantW):
			return ovs.E(op, ovs.KindAccess, k.id, nil)
		}
	}
	return nil
}

// changed is the record after a SETATTR at time now, which is after every time shown of it. It ends an exclusive create.
func changed(old *inode, c *ovs.Cred, s *ovs.SetAttr, now int64) *inode {
	n := *old
	n.ctime, n.hasVerf, n.verf = now, false, 0
	if s.Mode != nil {
		n.mode = *s.Mode & 0o7777
		if c.UID != 0 && !c.In(n.gid) {
			n.mode &^= modeSetGID
		}
	}
	if s.UID != nil || s.GID != nil {
		if s.UID != nil {
			n.uid = *s.UID
		}
		if s.GID != nil {
			n.gid = *s.GID
		}
		if c.UID != 0 && n.typ == ovs.TypeReg {
			n.mode &^= modeSetUID | modeSetGID
		}
	}
	if s.Atime != nil {
		n.atime = *s.Atime
		if n.atime == ovs.SetToServer {
			n.atime = now
		}
	}
	if n.typ == ovs.TypeDir {
		// Settled each time: a change of names that is done after this one shows, whatever its time.
		n.mtime, n.settled, n.changed = n.shownMtime(n.changed), now, now
	}
	if s.Mtime != nil || s.Size != nil {
		n.mtime, n.settled = now, now
		if s.Mtime != nil && *s.Mtime != ovs.SetToServer {
			n.mtime = *s.Mtime
		}
	}
	return &n
}

// resize sets the size of the data.
func (r *Router) resize(ctx context.Context, id ovs.ObjectID, size uint64) error {
	for range maxTries {
		n, s, err := r.acquire(ctx, id, size)
		if err != nil {
			return err
		}
		err = s.object.Resize(ctx, size)
		n.leave()
		if !ovs.Is(err, ovs.KindFenced) {
			return err
		}
	}
	return ovs.E("objectrouter.resize", ovs.KindBusy, r.ref(id), nil)
}
