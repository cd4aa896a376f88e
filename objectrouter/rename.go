package objectrouter

import (
	"bytes"
	"context"

	"ovs"
)

// move is a RENAME as it was found: what is where.
type move struct {
	from, to         known // the directories
	fromName, toName string
	src              victim
	dst              victim
	hasDst           bool
}

// turns says that a directory changes parents: only then a ring could close.
func (m *move) turns() bool { return m.src.k.rec.typ == ovs.TypeDir && m.from.id != m.to.id }

// Rename gives an object another name, in place of what has that name; all at once.
func (r *Router) Rename(q *ovs.Request, fromDir ovs.ObjectID, from string, toDir ovs.ObjectID, to string) (fw, tw ovs.Wcc, err error) {
	const op = "objectrouter.Rename"
	ctx, cancel := q.Context()
	defer cancel()
	at := r.attempt(q)
	var index uint64 // of the sequence, 0: there was none
	_, _, err = at.attempts(ctx, op, func() error {
		m, err := r.findMove(ctx, op, fromDir, from, toDir, to)
		if err == nil {
			err = m.check(op, &q.Cred)
		}
		if err != nil {
			return wrap(op, err)
		}
		if m.hasDst && m.src.entry.id == m.dst.entry.id {
			return wrap(op, r.together(ctx, &m)) // two names of one object, or the same name: nothing to do
		}
		u, gone, err := r.moveUpdates(ctx, op, &m)
		if err == nil {
			index, err = at.sequence(ctx, 0, u...)
		}
		if err != nil && m.hasDst {
			err = r.whyNot(ctx, &m.dst, err)
		}
		if err == nil && gone {
			r.retire(m.dst.entry.id)
		}
		return wrap(op, err)
	})
	if err != nil {
		return fw, tw, err
	}
	return r.dirWcc(fromDir, index), r.dirWcc(toDir, index), nil
}

// together says errAgain unless both names of m were there at one moment. They were read one after the other: if the first
// still stands, it stood when the second was read.
func (r *Router) together(ctx context.Context, m *move) error {
	v, err := r.reg.Get(ctx, entryKey(m.from.id, m.fromName))
	if ovs.Is(err, ovs.KindNotFound) || err == nil && !bytes.Equal(v, m.src.entry.encode()) {
		return errAgain
	}
	return err
}

// findMove reads what a RENAME is about.
func (r *Router) findMove(ctx context.Context, op string, fromDir ovs.ObjectID, from string, toDir ovs.ObjectID, to string) (m move, err error) {
	m.fromName, m.toName = from, to
	if m.from, err = r.dir(ctx, op, fromDir, from); err != nil {
		return m, err
	}
	if m.to, err = r.dir(ctx, op, toDir, to); err != nil {
		return m, err
	}
	if dots(from) || dots(to) {
		return m, ovs.E(op, ovs.KindInvalid, "dots", nil)
	}
	if m.src, err = r.victimOf(ctx, fromDir, from); err != nil {
		return m, err
	}
	m.dst, err = r.victimOf(ctx, toDir, to)
	m.hasDst = err == nil
	if ovs.Is(err, ovs.KindNotFound) {
		err = nil
	}
	return m, err
}

// check holds a RENAME against permissions and types.
func (m *move) check(op string, c *ovs.Cred) error {
	if err := mayUnlink(op, c, m.from.rec, m.src.k.rec); err != nil {
		return err
	}
	if !m.to.rec.may(c, wantW|wantX) {
		return ovs.E(op, ovs.KindAccess, m.toName, nil)
	}
	if m.turns() && !m.src.k.rec.may(c, wantW) { // its ".." changes
		return ovs.E(op, ovs.KindAccess, m.fromName, nil)
	}
	if !m.hasDst || m.src.entry.id == m.dst.entry.id {
		return nil
	}
	if err := mayUnlink(op, c, m.to.rec, m.dst.k.rec); err != nil {
		return err
	}
	srcDir, dstDir := m.src.k.rec.typ == ovs.TypeDir, m.dst.k.rec.typ == ovs.TypeDir
	switch {
	case srcDir && !dstDir:
		return ovs.E(op, ovs.KindNotDir, m.toName, nil)
	case !srcDir && dstDir:
		return ovs.E(op, ovs.KindIsDir, m.toName, nil)
	}
	return nil
}

// moveUpdates is the sequence of a RENAME; gone: the data of what had the name go.
func (r *Router) moveUpdates(ctx context.Context, op string, m *move) (u []ovs.Update, gone bool, err error) {
	src, from, to := &m.src, m.from.id, m.to.id
	now := r.stamp(max(m.from.shownCtime(), m.to.shownCtime(), r.ctimeOf(&src.k)) + 1)
	if m.turns() {
		// The directory must not come to stand below itself. Each change of parents asserts and bumps one key, which was
		// read before the ancestors: two that each saw no ring cannot both go through.
		if u, err = r.noRing(ctx, op, m); err != nil {
			return nil, false, err
		}
	}
	if m.hasDst {
		// First, while the old name still counts: a directory that holds what is to replace it is not empty.
		over, ends := r.displace(to, m.toName, &m.dst, now)
		u, gone = append(u, over...), ends
	}
	u = append(u, r.leaveName(from, m.fromName, src.entry, now)...)
	u = append(u, r.enterName(to, m.toName, dirent{id: src.entry.id, typ: src.entry.typ}, now)...)
	u = append(u, ovs.Add(inodeKey(src.entry.id), ctimeAt, 1), ovs.Max(inodeKey(src.entry.id), ctimeAt, timeBits(now)))
	if m.turns() {
		// The entry was asserted, and a directory has one: so its parent is the directory that the entry is in.
		u = append(u,
			ovs.Add(inodeKey(src.entry.id), parentAt, int64(to)-int64(from)),
			ovs.Add(inodeKey(from), linksAt, -1), ovs.Add(inodeKey(to), linksAt, 1))
	}
	return u, gone, nil
}

// noRing reads the ancestors of the new parent: the moved directory must not be among them.
func (r *Router) noRing(ctx context.Context, op string, m *move) ([]ovs.Update, error) {
	v, err := r.reg.Get(ctx, renameKey())
	if err != nil {
		return nil, err
	}
	turns, err := decodeCounter(v)
	if err != nil {
		return nil, err
	}
	id := m.to.id
	for range maxDepth {
		if id == m.src.entry.id {
			return nil, ovs.E(op, ovs.KindInvalid, "below itself", nil)
		}
		if id == ovs.RootID {
			return []ovs.Update{ovs.TestAndSet(renameKey(), v, encodeCounter(turns+1))}, nil
		}
		k, err := r.read(ctx, id)
		if ovs.Is(err, ovs.KindStale) && id != m.to.id {
			return nil, errAgain // an ancestor moved meanwhile
		}
		if err != nil {
			return nil, err
		}
		id = k.rec.parent
	}
	return nil, ovs.E(op, ovs.KindBusy, "too deep", nil)
}

// maxDepth bounds how many ancestors a directory that changes parents may come to have.
const maxDepth = 100_000
