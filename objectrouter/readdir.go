package objectrouter

import (
	"context"

	"ovs"
)

const (
	cookieDot    = 1
	cookieDotDot = 2
	readdirPage  = 128
)

// ReadDir lists a directory in the order in which its names were made. A name that is there from before the first to
// after the last call is listed once, whatever else comes and goes meanwhile. Attributes that only a silent owner
// knows are left out.
func (r *Router) ReadDir(q *ovs.Request, dir ovs.ObjectID, cookie uint64, attrs bool, yield func(*ovs.DirEntry) bool) (eof bool, err error) {
	const op = "objectrouter.ReadDir"
	ctx, cancel := q.Context()
	defer cancel()
	d, err := r.load(ctx, dir)
	if err != nil {
		return false, wrap(op, err)
	}
	if err := checkDir(op, &d); err != nil {
		return false, err
	}
	if !d.rec.may(&q.Cred, wantR) {
		return false, ovs.E(op, ovs.KindAccess, dir, nil)
	}
	for _, e := range [...]ovs.DirEntry{{Name: ".", ID: dir, Cookie: cookieDot}, {Name: "..", ID: d.rec.parent, Cookie: cookieDotDot}} {
		if e.Cookie <= cookie {
			continue
		}
		if attrs {
			r.optional(&r.loadMany(ctx, []ovs.ObjectID{e.ID})[0], &e, new(ovs.Attr))
		}
		if !yield(&e) {
			return false, nil
		}
	}
	o := ovs.RangeOptions{To: ovs.PrefixEnd(idKey(spaceCookie, dir)), Limit: readdirPage}
	for cookie = max(cookie, cookieDotDot); cookie+1 != 0; {
		o.From = cookieKey(dir, cookie+1)
		page, err := r.reg.Range(ctx, o)
		if err != nil {
			return false, wrap(op, err)
		}
		more, last, err := r.list(ctx, page, attrs, yield)
		if err != nil || !more {
			return false, wrap(op, err)
		}
		if len(page) < o.Limit {
			return true, nil
		}
		cookie = last
	}
	return true, nil
}

// list yields a page of cookie keys; more is false when yield had enough.
func (r *Router) list(ctx context.Context, page []ovs.Pair, attrs bool, yield func(*ovs.DirEntry) bool) (more bool, last uint64, err error) {
	entries := make([]ovs.DirEntry, len(page))
	ids := make([]ovs.ObjectID, len(page))
	for i, p := range page {
		e, name, err := decodeCookie(p.Value)
		if err != nil {
			return false, 0, err
		}
		entries[i] = ovs.DirEntry{Name: name, ID: e.id, Cookie: cookieOf(p.Key)}
		ids[i] = e.id
	}
	var all []known
	var shown []ovs.Attr
	if attrs {
		all, shown = r.loadMany(ctx, ids), make([]ovs.Attr, len(page))
	}
	for i := range entries {
		if attrs {
			r.optional(&all[i], &entries[i], &shown[i])
		}
		if !yield(&entries[i]) {
			return false, 0, nil
		}
		last = entries[i].Cookie
	}
	return true, last, nil
}

// optional adds the attributes where they are known at once.
func (r *Router) optional(k *known, e *ovs.DirEntry, a *ovs.Attr) {
	if k.rec != nil && r.shown(k, a) {
		e.Attr = a
	}
}

// loadMany is load for many: what memory lacks comes in one read. What is gone or does not parse has no record.
func (r *Router) loadMany(ctx context.Context, ids []ovs.ObjectID) []known {
	all := make([]known, len(ids))
	var missing []int
	var keys [][]byte
	var gens []uint64
	for i, id := range ids {
		k, ok := r.table.peek(id)
		if ok {
			all[i] = k
			continue
		}
		missing = append(missing, i)
		gens = append(gens, r.table.generation(id))
		keys = append(keys, inodeKey(id), ownerKey(id))
	}
	if len(missing) == 0 {
		return all
	}
	v, err := r.reg.MultiGet(ctx, keys)
	if err != nil {
		return all
	}
	for j, i := range missing {
		k := known{id: ids[i]}
		if k.rec, err = decodeInode(v[2*j]); err != nil {
			continue
		}
		if v[2*j+1] != nil {
			k.own, _ = decodeEntry(v[2*j+1])
		}
		if k.complete() {
			r.table.fill(&k, gens[j])
			all[i] = k
		}
	}
	return all
}
