package objectrouter

import (
	"context"

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

// Remove takes a name away from anything but a directory, and the object with its last name. A handle to it is stale
// from then on, also where it is still open.
func (r *Router) Remove(q *ovs.Request, dir ovs.ObjectID, name string) (ovs.Wcc, error) {
	ctx, cancel := q.Context()
	defer cancel()
	at := r.attempt(q)
	w, err := r.remove(ctx, q, &at, dir, name)
	if _, before := at.repeated(ctx, err); before {
		return r.dirWcc(dir, 0), nil
	}
	return w, err
}

func (r *Router) remove(ctx context.Context, q *ovs.Request, at *attempt, dir ovs.ObjectID, name string) (w ovs.Wcc, err error) {
	const op = "objectrouter.Remove"
	for range maxTries {
		d, err := r.dir(ctx, op, dir, name)
		switch {
		case err != nil:
			return w, err
		case dots(name):
			return w, ovs.E(op, ovs.KindInvalid, name, nil)
		case !d.rec.may(&q.Cred, wantX):
			return w, ovs.E(op, ovs.KindAccess, dir, nil)
		}
		v, err := r.victimOf(ctx, dir, name)
		if err != nil {
			return w, wrap(op, err)
		}
		if err := mayUnlink(op, &q.Cred, d.rec, v.k.rec); err != nil {
			return w, err
		}
		if v.k.rec.typ == ovs.TypeDir {
			return w, ovs.E(op, ovs.KindIsDir, name, nil)
		}
		now := r.stamp(max(d.shownCtime(), r.ctimeOf(&v.k)) + 1)
		u, gone := r.unlink(&v.k, now)
		index, err := r.reg.Sequence(ctx, at.once(append(r.leaveName(dir, name, v.entry, now), u...), 0)...)
		if err == nil {
			if gone {
				r.retire(v.k.id)
			}
			return r.dirWcc(dir, index), nil
		}
		if !at.again(ctx, err) {
			return w, wrap(op, err)
		}
	}
	return w, ovs.E(op, ovs.KindBusy, name, nil)
}

// Rmdir takes an empty directory away.
func (r *Router) Rmdir(q *ovs.Request, dir ovs.ObjectID, name string) (ovs.Wcc, error) {
	ctx, cancel := q.Context()
	defer cancel()
	at := r.attempt(q)
	w, err := r.rmdir(ctx, q, &at, dir, name)
	if _, before := at.repeated(ctx, err); before {
		return r.dirWcc(dir, 0), nil
	}
	return w, err
}

func (r *Router) rmdir(ctx context.Context, q *ovs.Request, at *attempt, dir ovs.ObjectID, name string) (w ovs.Wcc, err error) {
	const op = "objectrouter.Rmdir"
	for range maxTries {
		d, err := r.dir(ctx, op, dir, name)
		switch {
		case err != nil:
			return w, err
		case name == ".":
			return w, ovs.E(op, ovs.KindInvalid, name, nil)
		case name == "..":
			return w, ovs.E(op, ovs.KindExists, name, nil)
		case !d.rec.may(&q.Cred, wantX):
			return w, ovs.E(op, ovs.KindAccess, dir, nil)
		}
		v, err := r.victimOf(ctx, dir, name)
		if err != nil {
			return w, wrap(op, err)
		}
		if err := mayUnlink(op, &q.Cred, d.rec, v.k.rec); err != nil {
			return w, err
		}
		if v.k.rec.typ != ovs.TypeDir {
			return w, ovs.E(op, ovs.KindNotDir, name, nil)
		}
		now := r.stamp(d.shownCtime() + 1)
		index, err := r.reg.Sequence(ctx, at.once(append(r.leaveName(dir, name, v.entry, now), dropDir(dir, v.k.id)...), 0)...)
		if err == nil {
			return r.dirWcc(dir, index), nil
		}
		if !at.again(ctx, err) {
			return w, wrap(op, err)
		}
		if empty, err := r.empty(ctx, v.k.id); err != nil || !empty {
			if err == nil {
				err = ovs.E(op, ovs.KindNotEmpty, name, nil)
			}
			return w, err
		}
	}
	return w, ovs.E(op, ovs.KindBusy, name, nil)
}

// empty says whether a directory has no entry at this moment.
func (r *Router) empty(ctx context.Context, dir ovs.ObjectID) (bool, error) {
	prefix := idKey(spaceEntry, dir)
	page, err := r.reg.Range(ctx, ovs.RangeOptions{From: prefix, To: ovs.PrefixEnd(prefix), Limit: 1})
	return len(page) == 0, err
}
