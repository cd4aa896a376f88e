package powercut

import (
	"fmt"

	"ovs"
	"ovs/tests/oracle"
)

// spareSectors is the size of the object that comes and goes.
const spareSectors = 256

// spare makes the spare object, writes to it, or removes it.
func (h *history) spare() {
	s := h.l.w.spare
	if !h.enter(s, always) {
		return
	}
	o := s.live()
	n := h.rnd.IntN(4)
	h.mu.Lock() // it goes on in an operation of its own
	h.flying--
	h.busy[s]--
	h.alone[s] = false
	h.mu.Unlock()
	switch {
	case o == nil:
		h.makeSpare(s)
	case n == 0:
		h.removeSpare(s)
	default:
		first, count := h.place(o)
		h.writeAt(s, o, ovs.FileSync, false, first, count)
	}
}

func (h *history) makeSpare(s *spare) {
	h.block(s, "CREATE of "+s.name, func() error {
		o := &object{name: s.name, sizes: []int64{0}}
		h.l.tell(func() {
			s.count++
			o.table = oracle.NewTable(1000+s.count, spareSectors)
			s.may = append(s.may, o)
		})
		var a ovs.Attr
		tries := 0
		err := h.patiently(func(r *ovs.Request) (err error) {
			tries++
			a, _, err = h.l.fs.Create(r, ovs.RootID, s.name, &ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded})
			if tries > 1 && ovs.Is(err, ovs.KindExists) {
				a, err = h.l.fs.Lookup(r, ovs.RootID, s.name)
			}
			return err
		})
		if err == nil {
			h.l.tell(func() {
				o.id = a.ID
				s.may = []*object{o}
			})
		}
		return err
	})
}

func (h *history) removeSpare(s *spare) {
	h.block(s, "REMOVE of "+s.name, func() error {
		h.l.tell(func() { s.may = append(s.may, nil) })
		tries := 0
		err := h.patiently(func(r *ovs.Request) error {
			tries++
			_, err := h.l.fs.Remove(r, ovs.RootID, s.name)
			if tries > 1 && ovs.Is(err, ovs.KindNotFound) {
				return nil
			}
			return err
		})
		if err == nil {
			h.l.tell(func() { s.may = []*object{nil} })
		}
		if err != nil {
			return fmt.Errorf("inode %d: %w", s.may[0].id, err)
		}
		return nil
	})
}
