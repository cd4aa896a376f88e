package powercut

import (
	"fmt"
	"time"

	"ovs"
	"ovs/tests/oracle"
)

func request() ovs.Request { return ovs.Request{Deadline: time.Now().Add(patience)} }

// read waits for a READ, and asks again as long as the node says JUKEBOX and the power is there.
func (l *life) read(id ovs.ObjectID, off int64, dst []byte) (n int, eof bool, err error) {
	for began := time.Now(); ; {
		if n, eof, err = l.readOnce(id, off, dst); !again(err) || l.gone() || time.Since(began) > patience {
			return n, eof, err
		}
		time.Sleep(time.Millisecond) // it asked for that
	}
}

func (l *life) readOnce(id ovs.ObjectID, off int64, dst []byte) (n int, eof bool, err error) {
	done := make(chan struct{})
	r := &ovs.Read{Request: request(), File: id, Off: uint64(off), Dst: dst, Done: func(*ovs.Read) { close(done) }}
	if l.fs.TryRead(r) {
		return r.N, r.EOF, r.Err
	}
	l.fs.Read(r)
	select {
	case <-done:
		return r.N, r.EOF, r.Err
	case <-time.After(patience + 10*time.Second):
		return 0, false, fmt.Errorf("READ of object %d has no answer", id)
	}
}

// verify reads everything after a start and holds it against what may be there. When the power goes meanwhile, the error
// says nothing.
func (l *life) verify() error {
	r := request()
	want := map[string]ovs.ObjectID{}
	for _, o := range l.w.disks {
		a, err := l.fs.Lookup(&r, ovs.RootID, o.name)
		if err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
		if a.ID != o.id {
			return fmt.Errorf("%s: inode %d, was %d", o.name, a.ID, o.id)
		}
		want[o.name] = o.id
		if err := l.verifyObject(o); err != nil {
			return err
		}
	}
	if err := l.verifySpare(want); err != nil {
		return err
	}
	for i, name := range dirNames {
		want[name] = l.w.names.dirs[i]
	}
	if err := l.verifyNames(); err != nil {
		return err
	}
	found := map[string]ovs.ObjectID{}
	_, err := l.fs.ReadDir(&r, ovs.RootID, 2, false, func(e *ovs.DirEntry) bool {
		found[e.Name] = e.ID
		return true
	})
	if err != nil {
		return fmt.Errorf("the root directory: %w", err)
	}
	for name, id := range want {
		if found[name] != id {
			return fmt.Errorf("the root directory lists %s as inode %d, not %d", name, found[name], id)
		}
	}
	if len(found) != len(want) {
		return fmt.Errorf("the root directory holds %v, not %v", found, want)
	}
	return nil
}

func (l *life) verifySpare(want map[string]ovs.ObjectID) error {
	s := l.w.spare
	r := request()
	a, err := l.fs.Lookup(&r, ovs.RootID, s.name)
	if err != nil && !ovs.Is(err, ovs.KindNotFound) {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	if l.gone() {
		return nil
	}
	o, err := s.found(a.ID)
	if err != nil || o == nil {
		return err
	}
	want[s.name] = o.id
	return l.verifyObject(o)
}

// verifyObject holds size and every sector of an object against what may be there.
func (l *life) verifyObject(o *object) error {
	r := request()
	first := make([]byte, oracle.Sector)
	if _, _, err := l.read(o.id, 0, first); err != nil { // its size is only known for sure once it is served
		return fmt.Errorf("%s is not served: %w", o.name, err)
	}
	a, err := l.fs.GetAttr(&r, o.id)
	if err != nil {
		return fmt.Errorf("%s: %w", o.name, err)
	}
	if l.gone() {
		return nil
	}
	if err := o.found(a.Size); err != nil {
		return err
	}
	const step = 128
	buf := make([]byte, step*oracle.Sector)
	for at := int64(0); at < o.table.Sectors(); at += step {
		b := buf[:min(step, o.table.Sectors()-at)*oracle.Sector]
		clear(b)
		if has := min(int64(len(b)), (o.size()-at)*oracle.Sector); has > 0 {
			n, eof, err := l.read(o.id, at*oracle.Sector, b[:has])
			if err != nil {
				return fmt.Errorf("%s: read at sector %d: %w", o.name, at, err)
			}
			if end := at*oracle.Sector+has == o.size()*oracle.Sector; int64(n) != has || eof != end {
				return fmt.Errorf("%s: read at sector %d of %d: %d bytes of %d, end of file: %v", o.name, at, o.size(), n, has, eof)
			}
		}
		if l.gone() {
			return nil
		}
		if err := o.table.Recovered(at, b); err != nil {
			return fmt.Errorf("%s, %d sectors long: %w", o.name, o.size(), err)
		}
	}
	verf, err := l.commit(o.id)
	if err != nil {
		return fmt.Errorf("%s: COMMIT: %w", o.name, err)
	}
	return o.restarted(verf)
}

// commit waits for a COMMIT.
func (l *life) commit(id ovs.ObjectID) (verf uint64, err error) {
	for began := time.Now(); ; {
		done := make(chan error, 1)
		c := &ovs.Commit{Request: request(), File: id, Done: func(c *ovs.Commit) { done <- c.Err }}
		l.fs.Commit(c)
		select {
		case err = <-done:
		case <-time.After(patience + 10*time.Second):
			return 0, fmt.Errorf("no answer")
		}
		if !again(err) || l.gone() || time.Since(began) > patience {
			return uint64(c.Verf), err
		}
		time.Sleep(time.Millisecond) // it asked for that
	}
}
