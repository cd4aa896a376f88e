package objectrouter

import (
	"context"
	"errors"

	"ovs"
)

// victim is the entry that an operation takes away, with what it leads to.
type victim struct {
	entry dirent
	k     known
}

// victimOf finds what name means; KindNotFound when nothing.
func (r *Router) victimOf(ctx context.Context, dir ovs.ObjectID, name string) (v victim, err error) {
	for range maxTries {
		if v.entry, err = r.find(ctx, dir, name); err != nil {
			return v, err
		}
		if v.k, err = r.load(ctx, v.entry.id); !ovs.Is(err, ovs.KindStale) {
			return v, err
		}
	}
	return v, ovs.E("objectrouter.victim", ovs.KindBusy, name, nil)
}

// unlink is the part of a sequence that takes one link away from what is no directory, with its whole record asserted. With
// the last link go inode, head and registry entry, and an orphan key remembers to drop the data: gone is then true.
func (r *Router) unlink(k *known, now int64) (u []ovs.Update, gone bool) {
	u = []ovs.Update{ovs.Assert(inodeKey(k.id), k.rec.encode())}
	if k.rec.links > 1 {
		next := *k.rec
		next.links--
		next.ctime = max(next.ctime, now)
		return append(u, ovs.Set(inodeKey(k.id), next.encode())), false
	}
	u = append(u, ovs.Delete(inodeKey(k.id)))
	if k.rec.typ == ovs.TypeReg {
		u = append(u, ovs.Delete(ownerKey(k.id)), ovs.DeletePrefix(ovs.HeadKey(k.id)),
			ovs.Set(orphanKey(k.id), orphan{driver: k.rec.driver, node: r.cfg.Node}.encode()))
	}
	return u, true
}

// dropDir is the part of a sequence that takes an empty directory away from its parent.
func dropDir(parent, id ovs.ObjectID) []ovs.Update {
	return []ovs.Update{
		ovs.AssertNone(idKey(spaceEntry, id)),
		ovs.Delete(inodeKey(id)),
		ovs.Add(inodeKey(parent), linksAt, -1),
	}
}

// displace is the part of a sequence that takes a name away, and the object with its last name.
func (r *Router) displace(dir ovs.ObjectID, name string, v *victim, now int64) (u []ovs.Update, gone bool) {
	u = r.leaveName(dir, name, v.entry, now)
	if v.k.rec.typ == ovs.TypeDir {
		return append(u, dropDir(dir, v.k.id)...), false
	}
	over, gone := r.unlink(&v.k, now)
	return append(u, over...), gone
}

// Remove takes a name away from anything but a directory, and the object with its last name. A handle to it is stale
// from then on, also where it is still open.
func (r *Router) Remove(q *ovs.Request, dir ovs.ObjectID, name string) (ovs.Wcc, error) {
	return r.remove("objectrouter.Remove", q, dir, name, false)
}

// Rmdir takes an empty directory away.
func (r *Router) Rmdir(q *ovs.Request, dir ovs.ObjectID, name string) (ovs.Wcc, error) {
	return r.remove("objectrouter.Rmdir", q, dir, name, true)
}

func (r *Router) remove(op string, q *ovs.Request, dir ovs.ObjectID, name string, rmdir bool) (w ovs.Wcc, err error) {
	ctx, cancel := q.Context()
	defer cancel()
	at := r.attempt(q)
	_, before, err := at.attempts(ctx, op, func() error {
		d, v, err := r.findVictim(ctx, op, q, dir, name, rmdir)
		if err != nil {
			return wrap(op, err)
		}
		now := r.stamp(max(d.shownCtime(), r.ctimeOf(&v.k)) + 1)
		u, gone := r.displace(dir, name, &v, now)
		index, err := at.sequence(ctx, 0, u...)
		if err != nil {
			return wrap(op, r.whyNot(ctx, &v, err))
		}
		if gone {
			r.retire(v.k.id)
		}
		w = r.dirWcc(dir, index)
		return nil
	})
	if before {
		w = r.dirWcc(dir, 0)
	}
	return w, err
}

// findVictim reads what a REMOVE or RMDIR is about, and says why it may not be.
func (r *Router) findVictim(ctx context.Context, op string, q *ovs.Request, dir ovs.ObjectID, name string, rmdir bool) (d known, v victim, err error) {
	d, err = r.dir(ctx, op, dir, name)
	switch {
	case err != nil:
		return d, v, err
	case rmdir && name == "..":
		return d, v, ovs.E(op, ovs.KindExists, name, nil)
	case dots(name):
		return d, v, ovs.E(op, ovs.KindInvalid, name, nil)
	case !d.rec.may(&q.Cred, wantX):
		return d, v, ovs.E(op, ovs.KindAccess, dir, nil)
	}
	if v, err = r.victimOf(ctx, dir, name); err != nil {
		return d, v, err
	}
	if err := mayUnlink(op, &q.Cred, d.rec, v.k.rec); err != nil {
		return d, v, err
	}
	switch isDir := v.k.rec.typ == ovs.TypeDir; {
	case isDir && !rmdir:
		return d, v, ovs.E(op, ovs.KindIsDir, name, nil)
	case !isDir && rmdir:
		return d, v, ovs.E(op, ovs.KindNotDir, name, nil)
	}
	return d, v, nil
}

// whyNot is the error of a sequence that should have taken v away and ended with err: a directory may have entries.
func (r *Router) whyNot(ctx context.Context, v *victim, err error) error {
	if !errors.Is(err, errAgain) || v.k.rec.typ != ovs.TypeDir {
		return err
	}
	empty, readErr := r.empty(ctx, v.k.id)
	switch {
	case readErr != nil:
		return readErr
	case !empty:
		return ovs.E("objectrouter.empty", ovs.KindNotEmpty, v.k.id, nil)
	}
	return err
}

// empty says whether a directory has no entry at this moment.
func (r *Router) empty(ctx context.Context, dir ovs.ObjectID) (bool, error) {
	prefix := idKey(spaceEntry, dir)
	page, err := r.reg.Range(ctx, ovs.RangeOptions{From: prefix, To: ovs.PrefixEnd(prefix), Limit: 1})
	return len(page) == 0, err
}
