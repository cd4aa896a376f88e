package objectrouter

import (
	"context"

	"ovs"
)

// Link gives a file another name.
func (r *Router) Link(q *ovs.Request, id, dir ovs.ObjectID, name string) (ovs.Attr, ovs.Wcc, error) {
	ctx, cancel := q.Context()
	defer cancel()
	at := r.attempt(q)
	a, w, err := r.link(ctx, q, &at, id, dir, name)
	if _, before := at.repeated(ctx, err); before {
		a, err = r.GetAttr(q, id)
		return a, r.dirWcc(dir, 0), err
	}
	return a, w, err
}

func (r *Router) link(ctx context.Context, q *ovs.Request, at *attempt, id, dir ovs.ObjectID, name string) (a ovs.Attr, w ovs.Wcc, err error) {
	const op = "objectrouter.Link"
	for range maxTries {
		k, err := r.load(ctx, id)
		if err != nil {
			return a, w, wrap(op, err)
		}
		d, err := r.dir(ctx, op, dir, name)
		switch {
		case err != nil:
			return a, w, err
		case dots(name):
			return a, w, ovs.E(op, ovs.KindExists, name, nil)
		case k.rec.typ == ovs.TypeDir:
			return a, w, ovs.E(op, ovs.KindPermission, "a directory", nil)
		case k.rec.links >= ovs.MaxLinks:
			return a, w, ovs.E(op, ovs.KindTooManyLinks, id, nil)
		case !d.rec.may(&q.Cred, wantX):
			return a, w, ovs.E(op, ovs.KindAccess, dir, nil)
		}
		if _, err := r.find(ctx, dir, name); err == nil {
			return a, w, ovs.E(op, ovs.KindExists, name, nil)
		} else if !ovs.Is(err, ovs.KindNotFound) {
			return a, w, wrap(op, err)
		}
		if !d.rec.may(&q.Cred, wantW) {
			return a, w, ovs.E(op, ovs.KindAccess, dir, nil)
		}
		now := r.stamp(max(d.shownCtime(), r.ctimeOf(&k)) + 1)
		next := *k.rec
		next.links++
		next.ctime = now
		index, err := r.reg.Sequence(ctx, at.once(append(r.enterName(dir, name, dirent{id: id, typ: next.typ}, now),
			ovs.Assert(inodeKey(id), k.rec.encode()), ovs.Set(inodeKey(id), next.encode())), id)...)
		if err == nil {
			k.rec = &next
			return a, r.dirWcc(dir, index), wrap(op, r.attrs(ctx, &k, &a))
		}
		if !at.again(ctx, err) {
			return a, w, wrap(op, err)
		}
	}
	return a, w, ovs.E(op, ovs.KindBusy, name, nil)
}
