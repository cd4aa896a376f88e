package powercut

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"ovs"
)

// names are two directories in which small files are made, filled, emptied, renamed (over each other, from one directory to
// the other), linked and removed, one operation at a time. After a cut they are as before or after the one under way.
type names struct {
	dirs [2]ovs.ObjectID
	now  *tree
	then *tree          // with the operation that has no answer yet; nil without one
	gone []ovs.ObjectID // files that were removed, the newest last: their handles are stale for ever
}

// tree is what is there. It is not changed any more once it is somebody's now or then, but for identities that are learnt.
type tree struct {
	entries map[entryKey]uint64 // to a file's number here
	files   map[uint64]smallFile
	last    uint64 // number of a file or content given out
}

type entryKey struct {
	dir  int
	name string
}

type smallFile struct {
	id      ovs.ObjectID // 0: made by what has no answer yet
	content uint64       // see contentOf
}

var dirNames = [2]string{"n0", "n1"}

func newNames() *names {
	return &names{now: &tree{entries: map[entryKey]uint64{}, files: map[uint64]smallFile{}}}
}

func (t *tree) clone() *tree {
	if t == nil {
		return nil
	}
	return &tree{maps.Clone(t.entries), maps.Clone(t.files), t.last}
}

// links is how many names a file has.
func (t *tree) links(file uint64) (n uint32) {
	for _, f := range t.entries {
		if f == file {
			n++
		}
	}
	return n
}

// unlink takes a name away.
func (t *tree) unlink(k entryKey) {
	file := t.entries[k]
	delete(t.entries, k)
	if t.links(file) == 0 {
		delete(t.files, file)
	}
}

func (n *names) clone() *names {
	return &names{dirs: n.dirs, now: n.now.clone(), then: n.then.clone(), gone: slices.Clone(n.gone)}
}

// done makes then the state of affairs.
func (n *names) done() {
	for file, f := range n.now.files {
		if _, there := n.then.files[file]; !there && f.id != 0 {
			n.gone = append(n.gone, f.id)
		}
	}
	n.gone = n.gone[max(0, len(n.gone)-8):]
	n.now, n.then = n.then, nil
}

// contentOf is a file's content by number; 0 is nothing.
func contentOf(id uint64) []byte {
	if id == 0 {
		return nil
	}
	rnd := rand.New(rand.NewPCG(id, 99))
	b := make([]byte, 1+rnd.IntN(4000))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// create makes the directories; the power is there.
func (n *names) create(h *history) error {
	for i, name := range dirNames {
		r := request()
		a, _, err := h.l.fs.Create(&r, ovs.RootID, name, &ovs.Create{Type: ovs.TypeDir})
		if err != nil {
			return fmt.Errorf("mkdir %s: %w", name, err)
		}
		n.dirs[i] = a.ID
	}
	return nil
}

// names submits one operation on names.
func (h *history) names() {
	n := h.l.w.names
	k, other := h.drawName(), h.drawName()
	dice := h.rnd.IntN(10)
	h.block(n, fmt.Sprintf("an operation on %v, %v", k, other), func() error {
		then := n.now.clone()
		do, done := h.nameOperation(then, k, other, dice)
		if do == nil {
			return nil
		}
		h.l.tell(func() { n.then = then })
		tries := 0
		err := h.patiently(func(r *ovs.Request) error {
			tries++
			err := do(r)
			if tries > 1 && done != 0 && ovs.Is(err, done) { // the first try had an effect
				return nil
			}
			return err
		})
		switch {
		case err == nil:
			h.l.tell(n.done)
			h.acked(func(a *Acks) { a.Names++ })
		case refused(err):
			h.l.tell(func() { n.then = nil })
		}
		return err
	})
}

func (h *history) drawName() entryKey {
	return entryKey{h.rnd.IntN(2), fmt.Sprintf("f%d", h.rnd.IntN(6))}
}

// nameOperation makes then what an operation leads to, and gives the call, and the kind of error that says that an earlier
// try has done it. nil: nothing fits.
func (h *history) nameOperation(then *tree, k, other entryKey, dice int) (do func(*ovs.Request) error, done ovs.Kind) {
	n, fs := h.l.w.names, h.l.fs
	file, exists := then.entries[k]
	_, taken := then.entries[other]
	f := then.files[file]
	switch {
	case !exists:
		then.last++
		file := then.last
		then.entries[k], then.files[file] = file, smallFile{}
		return func(r *ovs.Request) error {
			a, _, err := fs.Create(r, n.dirs[k.dir], k.name, &ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded})
			if ovs.Is(err, ovs.KindExists) { // only after a try whose outcome was unknown
				if b, e := fs.Lookup(r, n.dirs[k.dir], k.name); e == nil {
					a = b
				}
			}
			if a.ID != 0 {
				h.l.tell(func() { then.files[file] = smallFile{id: a.ID} })
			}
			return err
		}, ovs.KindExists
	case dice < 3 && f.content == 0:
		then.last++
		f.content = then.last
		then.files[file] = f
		return func(r *ovs.Request) error {
			answer := make(chan error, 1)
			fs.Write(&ovs.Write{Request: *r, File: f.id, Data: contentOf(f.content), Stable: ovs.FileSync, Done: func(w *ovs.Write) { answer <- w.Err }})
			return <-answer
		}, 0
	case dice < 3:
		f.content = 0
		then.files[file] = f
		return func(r *ovs.Request) error {
			_, err := fs.SetAttr(r, f.id, &ovs.SetAttr{Size: new(uint64)})
			return err
		}, 0
	case k == other || taken && then.entries[other] == file: // a rename that does nothing
		return nil, 0
	case dice < 6:
		if taken {
			then.unlink(other)
		}
		delete(then.entries, k)
		then.entries[other] = file
		return func(r *ovs.Request) error {
			_, _, err := fs.Rename(r, n.dirs[k.dir], k.name, n.dirs[other.dir], other.name)
			return err
		}, ovs.KindNotFound
	case dice < 8 && !taken:
		then.entries[other] = file
		return func(r *ovs.Request) error {
			_, _, err := fs.Link(r, f.id, n.dirs[other.dir], other.name)
			return err
		}, ovs.KindExists
	}
	then.unlink(k)
	return func(r *ovs.Request) error {
		_, err := fs.Remove(r, n.dirs[k.dir], k.name)
		return err
	}, ovs.KindNotFound
}

// seen is a file as a start shows it.
type seen struct {
	id      ovs.ObjectID
	links   uint32
	content []byte
}

// verifyNames reads both directories and all files in them: they are as before or after the operation that was cut off.
func (l *life) verifyNames() error {
	n := l.w.names
	found := map[entryKey]seen{}
	for i, dir := range n.dirs {
		r := request()
		listed := map[string]ovs.ObjectID{}
		var twice string
		_, err := l.fs.ReadDir(&r, dir, 2, false, func(e *ovs.DirEntry) bool {
			if listed[e.Name] != 0 {
				twice = e.Name
			}
			listed[e.Name] = e.ID
			return true
		})
		if err != nil || twice != "" {
			return fmt.Errorf("directory %s: %w, twice: %q", dirNames[i], err, twice)
		}
		for name, id := range listed {
			s, err := l.lookAt(dir, name)
			if err != nil {
				return fmt.Errorf("%s/%s is listed, but: %w", dirNames[i], name, err)
			}
			if s.id != id {
				return fmt.Errorf("%s/%s: inode %d in the list, %d by LOOKUP", dirNames[i], name, id, s.id)
			}
			found[entryKey{i, name}] = s
		}
	}
	if l.gone() {
		return nil
	}
	now, err := n.now.match(found)
	if err != nil && n.then != nil {
		var other error
		if now, other = n.then.match(found); other == nil {
			n.done()
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("names: %w (an operation was under way: %v)", err, n.then != nil)
	}
	n.now, n.then = now, nil
	for _, id := range n.gone {
		r := request()
		if _, err := l.fs.GetAttr(&r, id); !ovs.Is(err, ovs.KindStale) && !l.gone() {
			return fmt.Errorf("inode %d was removed, GETATTR says %v", id, err)
		}
	}
	return nil
}

func (l *life) lookAt(dir ovs.ObjectID, name string) (s seen, err error) {
	r := request()
	a, err := l.fs.Lookup(&r, dir, name)
	if err != nil {
		return s, err
	}
	if _, _, err := l.read(a.ID, 0, make([]byte, 1)); err != nil { // its size is only known for sure once it is served
		return s, err
	}
	if a, err = l.fs.GetAttr(&r, a.ID); err != nil {
		return s, err
	}
	s = seen{a.ID, a.Links, make([]byte, min(a.Size, 1<<20))}
	n, _, err := l.read(a.ID, 0, s.content)
	if err == nil && uint64(n) != a.Size {
		err = fmt.Errorf("%d bytes of %d", n, a.Size)
	}
	return s, err
}

// match tells whether what was found is this tree, and gives it with the identities learnt.
func (t *tree) match(found map[entryKey]seen) (*tree, error) {
	t = t.clone()
	for k, file := range t.entries {
		s, there := found[k]
		f := t.files[file]
		switch {
		case !there:
			return nil, fmt.Errorf("%v is gone", k)
		case f.id != 0 && f.id != s.id:
			return nil, fmt.Errorf("%v is inode %d, was %d", k, s.id, f.id)
		case s.links != t.links(file):
			return nil, fmt.Errorf("%v has %d links, must have %d", k, s.links, t.links(file))
		case !bytes.Equal(s.content, contentOf(f.content)):
			return nil, fmt.Errorf("%v holds %d other bytes, must be content %d (%d bytes)", k, len(s.content), f.content, len(contentOf(f.content)))
		}
		f.id = s.id
		t.files[file] = f
	}
	for k := range found {
		if _, known := t.entries[k]; !known {
			return nil, fmt.Errorf("%v is there and must not be", k)
		}
	}
	return t, nil
}
