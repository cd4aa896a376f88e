package objectrouter

import "ovs"

// Link gives a file another name.
func (r *Router) Link(q *ovs.Request, id, dir ovs.ObjectID, name string) (a ovs.Attr, w ovs.Wcc, err error) {
	const op = "objectrouter.Link"
	ctx, cancel := q.Context()
	defer cancel()
	at := r.attempt(q)
	_, before, err := at.attempts(ctx, op, func() error {
		k, err := r.load(ctx, id)
		if err != nil {
			return wrap(op, err)
		}
		d, old, err := r.place(ctx, op, q, dir, name)
		switch {
		case err != nil:
			return err
		case k.rec.typ == ovs.TypeDir:
			return ovs.E(op, ovs.KindPermission, "a directory", nil)
		case old.id != 0:
			return ovs.E(op, ovs.KindExists, name, nil)
		case k.rec.links >= ovs.MaxLinks:
			return ovs.E(op, ovs.KindTooManyLinks, id, nil)
		}
		now := r.stamp(max(d.shownCtime(), r.ctimeOf(&k)) + 1)
		next := *k.rec
		next.links++
		next.ctime = now
		index, err := at.sequence(ctx, id, append(r.enterName(dir, name, dirent{id: id, typ: next.typ}, now),
			ovs.Assert(inodeKey(id), k.rec.encode()), ovs.Set(inodeKey(id), next.encode()))...)
		if err == nil {
			k.rec, w = &next, r.dirWcc(dir, index)
			err = r.attrs(ctx, &k, &a)
		}
		return wrap(op, err)
	})
	if before {
		a, err = r.GetAttr(q, id)
		w = r.dirWcc(dir, 0)
	}
	return a, w, err
}
