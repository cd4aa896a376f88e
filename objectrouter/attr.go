package objectrouter

import (
	"context"
	"errors"

	"ovs"
)

// shown gives the attributes as they stand at this moment; false where only an owner knows them who does not serve yet.
// k.own was read before k.rec, and the served object is looked for last: whichever of the three answers was the
// authority at a moment of this call.
func (r *Router) shown(k *known, a *ovs.Attr) bool {
	if k.rec.typ != ovs.TypeReg {
		k.rec.show(k.id, nil, a)
		return true
	}
	n := k.n
	if n == nil {
		n = r.table.get(k.id)
	}
	if n != nil {
		if s := n.serve.Load(); s != nil {
			live := s.object.Live()
			k.rec.show(k.id, &live, a)
			return true
		}
	}
	if k.own.stands() {
		k.rec.show(k.id, nil, a)
		return true
	}
	return false
}

// attrs is shown, but waits for the owner. An object whose data are corrupt shows what its record says, so that it can be
// listed and removed.
func (r *Router) attrs(ctx context.Context, k *known, a *ovs.Attr) error {
	for range maxTries {
		if r.shown(k, a) {
			return nil
		}
		err := r.await(ctx, k.id, 0)
		if errors.Is(err, errHalted) {
			k.rec.show(k.id, nil, a)
			a.Size = max(a.Size, 1) // a client takes an empty file for read without asking us, who must say EIO
			return nil
		}
		if err != nil {
			return err
		}
		if *k, err = r.load(ctx, k.id); err != nil {
			return err
		}
	}
	return ovs.E("objectrouter.attrs", ovs.KindBusy, r.ref(k.id), nil)
}

// TryGetAttr answers from memory, or says false.
func (r *Router) TryGetAttr(_ *ovs.Request, id ovs.ObjectID, a *ovs.Attr) bool {
	k, ok := r.table.peek(id)
	return ok && r.shown(&k, a)
}

// GetAttr gives the attributes of id.
func (r *Router) GetAttr(q *ovs.Request, id ovs.ObjectID) (a ovs.Attr, err error) {
	if r.TryGetAttr(q, id, &a) {
		return a, nil
	}
	ctx, cancel := q.Context()
	defer cancel()
	k, err := r.load(ctx, id)
	if err == nil {
		err = r.attrs(ctx, &k, &a)
	}
	return a, wrap("objectrouter.GetAttr", err)
}

// wrap names the operation that failed, if nobody did yet; the kind stays.
func wrap(op string, err error) error {
	var e *ovs.Error
	if err == nil || errors.As(err, &e) && e.Op == op {
		return err
	}
	return ovs.E(op, ovs.KindUnknown, nil, err)
}

// TryLookup answers from memory, or says false. It never says that a name is absent.
func (r *Router) TryLookup(q *ovs.Request, dir ovs.ObjectID, name string, a *ovs.Attr) bool {
	d, ok := r.table.peek(dir)
	if !ok || d.rec.typ != ovs.TypeDir || !d.rec.may(&q.Cred, wantX) {
		return false
	}
	id := dir
	switch name {
	case ".":
	case "..":
		id = d.rec.parent
	default:
		e, ok := r.names.get(dir, name)
		if !ok {
			return false
		}
		id = e.id
	}
	return r.TryGetAttr(q, id, a)
}

// Lookup finds a name in a directory.
func (r *Router) Lookup(q *ovs.Request, dir ovs.ObjectID, name string) (a ovs.Attr, err error) {
	const op = "objectrouter.Lookup"
	ctx, cancel := q.Context()
	defer cancel()
	for range maxTries {
		d, err := r.dir(ctx, op, dir, name)
		if err != nil {
			return a, err
		}
		if !d.rec.may(&q.Cred, wantX) {
			return a, ovs.E(op, ovs.KindAccess, dir, nil)
		}
		var e dirent
		switch name {
		case ".":
			e.id = dir
		case "..":
			e.id = d.rec.parent
		default:
			if e, err = r.find(ctx, dir, name); err != nil {
				return a, wrap(op, err)
			}
		}
		k, err := r.load(ctx, e.id)
		if err == nil {
			err = r.attrs(ctx, &k, &a)
		}
		if !ovs.Is(err, ovs.KindStale) { // else the name went away, or means another object by now
			return a, wrap(op, err)
		}
	}
	return a, ovs.E(op, ovs.KindBusy, name, nil)
}

// dir loads the directory of an operation on a name, and checks both.
func (r *Router) dir(ctx context.Context, op string, id ovs.ObjectID, name string) (known, error) {
	k, err := r.load(ctx, id)
	if err != nil {
		return k, wrap(op, err)
	}
	if err := checkDir(op, &k); err != nil {
		return k, err
	}
	return k, checkName(op, name)
}

// Readlink gives a symbolic link's target.
func (r *Router) Readlink(q *ovs.Request, id ovs.ObjectID) (string, error) {
	const op = "objectrouter.Readlink"
	ctx, cancel := q.Context()
	defer cancel()
	k, err := r.load(ctx, id)
	if err != nil {
		return "", wrap(op, err)
	}
	if k.rec.typ != ovs.TypeLnk {
		return "", ovs.E(op, ovs.KindInvalid, id, nil)
	}
	return k.rec.target, nil
}
