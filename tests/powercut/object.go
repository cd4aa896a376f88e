package powercut

import (
	"fmt"
	"slices"
	"sync"

	"ovs"
	"ovs/tests/oracle"
)

// object is what is known of one file or volume: what its sectors may hold (table), and what its size may be.
//
// Sizes are whole sectors. What changes the size runs alone on its object, so that the size is known at each moment.
type object struct {
	name  string
	table *oracle.Table

	mu    sync.Mutex // guards all below
	id    ovs.ObjectID
	sizes []int64 // in sectors: what a cut may leave; the last one is the live size
	loose bool    // the live size is that of an UNSTABLE write, under verf
	verf  uint64
	from  uint64 // the first write that a COMMIT has to look at
	last  uint64 // the verifier of the newest UNSTABLE write; 0: there was none
}

func newObject(name string, volume uint64, sectors int64) *object {
	return &object{name: name, table: oracle.NewTable(volume, sectors), sizes: []int64{0}}
}

func (o *object) clone() *object {
	o.mu.Lock()
	defer o.mu.Unlock()
	return &object{name: o.name, table: o.table.Clone(), id: o.id, sizes: slices.Clone(o.sizes), loose: o.loose, verf: o.verf, from: o.from, last: o.last}
}

// crash: what is under way will not be told any more.
func (o *object) crash() {
	o.table.Crash()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.loose, o.from = false, 0
}

func (o *object) size() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sizes[len(o.sizes)-1]
}

// sizing: the size is about to become n.
func (o *object) sizing(n int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sizes = append(o.sizes, n)
}

// unsized: what began by sizing was refused.
func (o *object) unsized() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sizes = append(o.sizes, o.sizes[len(o.sizes)-2])
}

// sized: the size is n for good, or (loose) as good as the verifier.
func (o *object) sized(n int64, loose bool, verf uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.loose, o.verf = loose, verf; !loose {
		o.sizes = []int64{n}
	}
}

// wrote: what ends there is stable, so no smaller size is possible.
func (o *object) wrote(end int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sizes = slices.DeleteFunc(o.sizes, func(n int64) bool { return n < end })
}

// unstable: a write was acknowledged under that verifier.
func (o *object) unstable(verf uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = verf
}

// restarted takes the verifier of a COMMIT after a recovery: a client learns from it that UNSTABLE data may be lost.
func (o *object) restarted(verf uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last != 0 && o.last == verf {
		return fmt.Errorf("%s: the write verifier %x is the same as before the cut", o.name, verf)
	}
	return nil
}

// committed takes a COMMIT's answer.
func (o *object) committed(c oracle.Commit, verf uint64) (kept, lost int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	kept, lost, o.from = o.table.AckCommit(c, verf, o.from)
	if o.loose && verf == o.verf {
		o.loose, o.sizes = false, o.sizes[len(o.sizes)-1:]
	}
	return kept, lost
}

// found takes the size that a recovery shows.
func (o *object) found(bytes uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := int64(bytes / oracle.Sector)
	if bytes%oracle.Sector != 0 || !slices.Contains(o.sizes, n) {
		return fmt.Errorf("%s: its size is %d bytes (%d sectors), may be %v sectors", o.name, bytes, n, o.sizes)
	}
	o.sizes = []int64{n}
	return nil
}

// spare is an object that is made and removed again and again, by one operation at a time.
type spare struct {
	name  string
	count uint64    // of those made
	may   []*object // what a cut may leave, nil: nothing; the last is the live one
}

func (s *spare) live() *object { return s.may[len(s.may)-1] }

func (s *spare) clone() *spare {
	c := &spare{name: s.name, count: s.count}
	for _, o := range s.may {
		if o != nil {
			o = o.clone()
		}
		c.may = append(c.may, o)
	}
	return c
}

func (s *spare) crash() {
	for _, o := range s.may {
		if o != nil {
			o.crash()
		}
	}
}

// found takes what a recovery shows under the name: id 0 is nothing. It gives the object to verify.
func (s *spare) found(id ovs.ObjectID) (*object, error) {
	for _, o := range s.may {
		if o == nil && id == 0 || o != nil && id != 0 && (o.id == id || o.id == 0) {
			if o != nil {
				o.id = id
			}
			s.may = []*object{o}
			return o, nil
		}
	}
	var may []ovs.ObjectID
	for _, o := range s.may {
		if o == nil {
			may = append(may, 0)
		} else {
			may = append(may, o.id)
		}
	}
	return nil, fmt.Errorf("%s: inode %d is there (0: none), may be %d (0 beside others: none, or one not acknowledged)", s.name, id, may)
}
