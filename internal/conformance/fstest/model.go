package fstest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"ovs"
)

// thing is what the model knows of an object.
type thing struct {
	typ    ovs.FileType
	links  uint32
	names  map[string]*thing // of a directory
	parent *thing            // of a directory
	data   string
	id     ovs.ObjectID
}

// model is a file system of the simplest kind, beside the real one.
type model struct {
	*session
	rand *rand.Rand
	root *thing
	ever map[ovs.ObjectID]bool
}

func newModel(s *session, seed uint64) *model {
	top := &thing{typ: ovs.TypeDir, links: 2, names: make(map[string]*thing), id: root}
	top.parent = top
	return &model{session: s, rand: rand.New(rand.NewPCG(seed, 1)), root: top, ever: map[ovs.ObjectID]bool{root: true}}
}

// dirs lists all directories, in an order that the seed decides alone.
func (m *model) dirs() (list []*thing) {
	var walk func(*thing)
	walk = func(d *thing) {
		list = append(list, d)
		for _, name := range slices.Sorted(maps.Keys(d.names)) {
			if c := d.names[name]; c.typ == ovs.TypeDir {
				walk(c)
			}
		}
	}
	walk(m.root)
	return list
}

func (m *model) dir() *thing {
	all := m.dirs()
	return all[m.rand.IntN(len(all))]
}

func (m *model) name() string { return string(rune('a' + m.rand.IntN(6))) }

// below says that d is at or below top.
func below(d, top *thing) bool {
	for ; ; d = d.parent {
		if d == top {
			return true
		}
		if d == d.parent {
			return false
		}
	}
}

// agree compares an error with what the model expects (KindUnknown: none).
func (m *model) agree(what string, want ovs.Kind, err error) bool {
	m.Helper()
	if want == ovs.KindUnknown {
		m.must(what, err)
		return true
	}
	m.want(what, want, err)
	return false
}

func (m *model) step() {
	d, name := m.dir(), m.name()
	old := d.names[name]
	switch m.rand.IntN(10) {
	case 0, 1:
		m.make(d, name, old)
	case 2:
		kind := ovs.KindUnknown
		switch {
		case old == nil:
			kind = ovs.KindNotFound
		case old.typ == ovs.TypeDir:
			kind = ovs.KindIsDir
		}
		if m.agree("Remove", kind, m.remove(d.id, name)) {
			delete(d.names, name)
			old.links--
		}
	case 3:
		kind := ovs.KindUnknown
		switch {
		case old == nil:
			kind = ovs.KindNotFound
		case old.typ != ovs.TypeDir:
			kind = ovs.KindNotDir
		case len(old.names) > 0:
			kind = ovs.KindNotEmpty
		}
		if m.agree("Rmdir", kind, m.rmdir(d.id, name)) {
			delete(d.names, name)
			d.links--
		}
	case 4, 5, 6:
		m.move(d, name, old)
	case 7:
		m.another(d, name, old)
	case 8:
		if old != nil && old.typ == ovs.TypeReg {
			old.data = fmt.Sprintf("data %d", m.rand.Uint64())
			m.must("Size", m.setattr(old.id, ovs.SetAttr{Size: ptr(uint64(0))}))
			m.must("Write", m.write(old.id, 0, []byte(old.data)))
		}
	case 9:
		a, err := m.lookup(d.id, name)
		if old == nil {
			m.want("Lookup", ovs.KindNotFound, err)
		} else if m.must("Lookup", err); a.ID != old.id || a.Links != old.links || a.Type != old.typ {
			m.Fatalf("Lookup gives %+v, the model has %+v", a, old)
		}
	}
}

func (m *model) make(d *thing, name string, old *thing) {
	c := ovs.Create{Type: []ovs.FileType{ovs.TypeReg, ovs.TypeReg, ovs.TypeDir, ovs.TypeDir, ovs.TypeLnk}[m.rand.IntN(5)], How: ovs.Guarded}
	if c.Type == ovs.TypeLnk {
		c.Target = "target"
	}
	kind := ovs.KindUnknown
	if old != nil {
		kind = ovs.KindExists
	}
	a, err := m.create(d.id, name, c)
	if !m.agree("Create", kind, err) {
		return
	}
	if m.ever[a.ID] {
		m.Fatalf("inode number %d came back", a.ID)
	}
	m.ever[a.ID] = true
	n := &thing{typ: c.Type, links: 1, id: a.ID}
	if c.Type == ovs.TypeDir {
		n.links, n.parent, n.names = 2, d, make(map[string]*thing)
		d.links++
	}
	d.names[name] = n
}

func (m *model) move(d *thing, name string, src *thing) {
	e, to := m.dir(), m.name()
	dst := e.names[to]
	kind := ovs.KindUnknown
	switch {
	case src == nil:
		kind = ovs.KindNotFound
	case src == dst:
	case src.typ == ovs.TypeDir && dst != nil && dst.typ != ovs.TypeDir:
		kind = ovs.KindNotDir
	case src.typ != ovs.TypeDir && dst != nil && dst.typ == ovs.TypeDir:
		kind = ovs.KindIsDir
	case src.typ == ovs.TypeDir && below(e, src):
		kind = ovs.KindInvalid
	case dst != nil && len(dst.names) > 0:
		kind = ovs.KindNotEmpty
	}
	err := m.rename(d.id, name, e.id, to)
	if kind == ovs.KindNotDir && below(e, src) && ovs.Is(err, ovs.KindInvalid) {
		return // both are wrong with it: either may be said
	}
	if !m.agree(fmt.Sprintf("Rename %d/%s to %d/%s", d.id, name, e.id, to), kind, err) || src == dst {
		return
	}
	delete(d.names, name)
	if dst != nil {
		dst.links--
	}
	e.names[to] = src
	if src.typ == ovs.TypeDir {
		src.parent = e
		d.links--
		if dst == nil {
			e.links++
		}
	}
}

func (m *model) another(d *thing, name string, old *thing) {
	e, from := m.dir(), m.name()
	src := e.names[from]
	if src == nil {
		return
	}
	kind := ovs.KindUnknown
	switch {
	case src.typ == ovs.TypeDir:
		kind = ovs.KindPermission
	case old != nil:
		kind = ovs.KindExists
	}
	if m.agree("Link", kind, m.link(src.id, d.id, name)) {
		d.names[name] = src
		src.links++
	}
}

// compare walks both trees.
func (m *model) compare() {
	m.Helper()
	for _, d := range m.dirs() {
		if a := m.attr(d.id); a.Links != d.links || a.Type != ovs.TypeDir {
			m.Fatalf("directory %d has %d links, the model %d", d.id, a.Links, d.links)
		}
		if up := m.find(d.id, ".."); up != d.parent.id {
			m.Fatalf("directory %d has the parent %d, the model %d", d.id, up, d.parent.id)
		}
		list := m.session.list(d.id)
		if len(list) != len(d.names) {
			m.Fatalf("directory %d has %d entries, the model %d", d.id, len(list), len(d.names))
		}
		for _, e := range list {
			n := d.names[e.Name]
			if n == nil || n.id != e.ID {
				m.Fatalf("directory %d lists %+v, the model %+v", d.id, e, n)
			}
			if a := m.attr(e.ID); a.Links != n.links || a.Type != n.typ {
				m.Fatalf("%s is %+v, the model %+v", e.Name, a, n)
			}
			if n.typ == ovs.TypeReg {
				if got, _, err := m.read(n.id, 0, 100); err != nil || string(got) != n.data {
					m.Fatalf("%s holds %q (%v), the model %q", e.Name, got, err, n.data)
				}
			}
		}
	}
}

func testModel(s *session) {
	m := newModel(s, 1)
	for i := range s.config.Steps {
		m.step()
		if i%500 == 499 {
			m.compare()
		}
	}
	m.compare()
}
