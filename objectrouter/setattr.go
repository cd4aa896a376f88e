package objectrouter

import (
	"context"

	"ovs"
)

// SetAttr changes attributes. The size goes to the owner of the data first and is durable there; all others stand in the
// inode record.
func (r *Router) SetAttr(q *ovs.Request, id ovs.ObjectID, s *ovs.SetAttr) (w ovs.Wcc, err error) {
	const op = "objectrouter.SetAttr"
	ctx, cancel := q.Context()
	defer cancel()
	resized, moved := false, false
	for range maxTries {
		k, err := r.load(ctx, id)
		var before ovs.Attr
		if err == nil {
			err = r.attrs(ctx, &k, &before)
		}
		if err != nil {
			return w, wrap(op, err)
		}
		if !resized {
			if s.Guard != nil && *s.Guard != before.Ctime {
				return w, ovs.E(op, ovs.KindConflict, id, nil)
			}
			if err := mayChange(op, &q.Cred, &k, s); err != nil {
				return w, err
			}
			if s.Size != nil {
				if moved, err = r.resize(ctx, id, *s.Size); err != nil {
					return w, wrap(op, err)
				}
				resized = true
				continue
			}
		}
		if moved && !k.rec.hasVerf && onlySize(s) {
			w.HasAfter, w.After = true, before
			return w, nil
		}
		next := changed(k.rec, &q.Cred, s, r.stamp(before.Ctime+1))
		_, err = r.reg.Sequence(ctx, ovs.Assert(inodeKey(id), k.rec.encode()), ovs.Set(inodeKey(id), next.encode()))
		switch {
		case err == nil:
			return r.wccOf(&k, next, before, !resized), nil
		case !conflicted(err):
			return w, wrap(op, err)
		}
	}
	return w, ovs.E(op, ovs.KindBusy, id, nil)
}

// wccOf is the weak cache consistency of a change of k's record to next. The attributes before count only when no
// write came between them and the change.
func (r *Router) wccOf(k *known, next *inode, before ovs.Attr, quiet bool) ovs.Wcc {
	var again ovs.Attr
	if quiet && r.shown(k, &again) && again == before {
		k.rec = next
		w := ovs.Wcc{HasBefore: true, SizeBefore: before.Size, MtimeB: before.Mtime, CtimeB: before.Ctime}
		w.HasAfter = r.shown(k, &w.After)
		return w
	}
	k.rec = next
	var w ovs.Wcc
	w.HasAfter = r.shown(k, &w.After)
	return w
}

func onlySize(s *ovs.SetAttr) bool {
	return s.Mode == nil && s.UID == nil && s.GID == nil && s.Atime == nil && s.Mtime == nil
}

// mayChange checks a SETATTR against type, limits and credentials.
func mayChange(op string, c *ovs.Cred, k *known, s *ovs.SetAttr) error {
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
	if s.Mtime != nil || s.Size != nil {
		n.mtime, n.settled = now, now
		if s.Mtime != nil && *s.Mtime != ovs.SetToServer {
			n.mtime = *s.Mtime
		}
	}
	return &n
}

// resize sets the size of the data and tells whether that moved the times that the owner shows.
func (r *Router) resize(ctx context.Context, id ovs.ObjectID, size uint64) (moved bool, err error) {
	for range maxTries {
		n, s, err := r.acquire(ctx, id, size)
		if err != nil {
			return false, err
		}
		before := s.object.Live().Time
		err = s.object.Resize(ctx, size)
		moved = s.object.Live().Time > before
		n.leave()
		if !ovs.Is(err, ovs.KindFenced) {
			return moved, err
		}
	}
	return false, ovs.E("objectrouter.resize", ovs.KindBusy, r.ref(id), nil)
}
