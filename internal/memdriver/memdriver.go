/*
Package memdriver is a twin in memory of the drivers: ovs.Driver, ovs.Adopter and ovs.Object over a map of pages, for the
tests of those who route to them.

	Store ── content by object, which outlives every router ──┬─ Driver (files)
	   └── watches: who writes must be the owner              └─ Driver (volumes)

All that was written is durable at once. Given a registry, the store holds every write against the claim under which it
is made, and remembers those that nobody had the right to make.
*/
package memdriver

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"ovs"
)

const page = 4096

type content struct {
	size  uint64
	pages map[uint64][]byte
	time  int64
	last  ovs.RecordNo
	epoch ovs.Epoch // the newest that an operation came under
	open  int       // objects served and not closed

	halted error // why it takes no changes; until it is recovered
}

// Store holds what objects contain. Its fields are set before it is used.
type Store struct {
	Now      func() int64 // nanoseconds since 1970
	Registry ovs.Registry // nil: claims are not checked
	// OnRecover and OnDrop, where set, are called first and make the call fail by an error.
	OnRecover func(ctx context.Context, id ovs.ObjectID) error
	OnDrop    func(id ovs.ObjectID) error

	mu      sync.Mutex // guards all below
	objects map[ovs.ObjectID]*content
	wrong   []string
	flushes int
}

// Driver serves a Store's content. Two of them may share it: one for files, one for volumes.
type Driver struct{ store *Store }

var (
	_ ovs.Driver  = (*Driver)(nil)
	_ ovs.Adopter = (*Driver)(nil)
	_ ovs.Object  = (*Object)(nil)
)

// Driver gives a driver over the store.
func (s *Store) Driver() *Driver { return &Driver{s} }

// Wrong lists what happened and must not.
func (s *Store) Wrong() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.wrong...)
}

// Has says whether the store still holds an object's content.
func (s *Store) Has(id ovs.ObjectID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[id] != nil
}

// Flushes is the number of Flush calls so far.
func (s *Store) Flushes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flushes
}

// Halt has an object take no more changes until it is recovered.
func (s *Store) Halt(id ovs.ObjectID, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[id].halted = cause
}

func (s *Store) blame(format string, args ...any) {
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

func head(e ovs.Epoch) []byte { return binary.BigEndian.AppendUint64([]byte{1}, uint64(e)) }

// NewHead is the head of an empty object.
func (d *Driver) NewHead(ovs.ObjectID) []byte { return head(1) }

// Create serves a new object.
func (d *Driver) Create(c ovs.Claim) ovs.Object {
	s := d.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		s.objects = make(map[ovs.ObjectID]*content)
	}
	if s.objects[c.Object] != nil {
		s.blame("object %v made twice", c.Ref)
	}
	s.objects[c.Object] = &content{pages: make(map[uint64][]byte), epoch: c.Epoch, open: 1}
	return &Object{store: s, claim: c}
}

// Recover serves an object again.
func (d *Driver) Recover(ctx context.Context, c ovs.Claim) (ovs.Recovery, error) {
	s := d.store
	if s.OnRecover != nil {
		if err := s.OnRecover(ctx, c.Object); err != nil {
			return ovs.Recovery{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		s.objects = make(map[ovs.ObjectID]*content)
	}
	if s.objects[c.Object] == nil { // made, but never written to
		s.objects[c.Object] = &content{pages: make(map[uint64][]byte)}
	}
	if s.objects[c.Object].epoch >= c.Epoch {
		s.blame("object %v recovered under epoch %d after %d", c.Ref, c.Epoch, s.objects[c.Object].epoch)
	}
	s.objects[c.Object].open++
	s.objects[c.Object].halted = nil
	return ovs.Recovery{
		Close:  []ovs.Update{ovs.AssertExists(ovs.HeadKey(c.Object)), ovs.Set(ovs.HeadKey(c.Object), head(c.Epoch))},
		Object: &Object{store: s, claim: c},
	}, nil
}

// Drop forgets an object.
func (d *Driver) Drop(_ context.Context, id ovs.ObjectID) error {
	s := d.store
	if s.OnDrop != nil {
		if err := s.OnDrop(id); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.objects[id]; c != nil && c.open > 0 {
		s.blame("object %d dropped while it is served", id)
	}
	delete(s.objects, id)
	return nil
}

// Adopt takes over what another driver of the same store kept.
func (d *Driver) Adopt(c ovs.Claim, _ ovs.Layer) ([]ovs.Update, error) {
	return []ovs.Update{ovs.Set(ovs.HeadKey(c.Object), head(c.Epoch))}, nil
}

// Object is one object served.
type Object struct {
	store *Store
	claim ovs.Claim

	closed, rested bool // guarded by store.mu
}

// use gives the content for an operation; the caller holds store.mu.
func (o *Object) use(op string, change bool) (*content, error) {
	s := o.store
	c := s.objects[o.claim.Object]
	if o.closed || o.rested || c == nil {
		return nil, ovs.E("memdriver."+op, ovs.KindFenced, o.claim.Ref, nil)
	}
	if c.epoch > o.claim.Epoch {
		s.blame("%s of %v under epoch %d, when %d was there", op, o.claim.Ref, o.claim.Epoch, c.epoch)
	}
	c.epoch = o.claim.Epoch
	if c.halted != nil && op != "Read" {
		return nil, ovs.E("memdriver."+op, ovs.KindIO, o.claim.Ref, c.halted)
	}
	if s.Registry != nil && change {
		v, err := s.Registry.Get(context.Background(), o.claim.Entry.Key)
		if err == nil && !bytes.Equal(v, o.claim.Entry.Value) {
			s.blame("%s of %v without the right to: entry %x, claim %x", op, o.claim.Ref, v, o.claim.Entry.Value)
		}
	}
	return c, nil
}

// TryRead reads.
func (o *Object) TryRead(r *ovs.Read) bool {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	c, err := o.use("Read", false)
	if err != nil {
		return false
	}
	r.Err = nil
	r.N = 0
	for r.N < len(r.Dst) && r.Off+uint64(r.N) < c.size {
		off := r.Off + uint64(r.N)
		n := min(page-off%page, c.size-off, uint64(len(r.Dst)-r.N))
		dst := r.Dst[r.N : r.N+int(n)]
		clear(dst)
		if p := c.pages[off/page]; p != nil {
			copy(dst, p[off%page:])
		}
		r.N += int(n)
	}
	r.EOF = r.Off+uint64(r.N) >= c.size
	return true
}

// Read reads.
func (o *Object) Read(r *ovs.Read) {
	if !o.TryRead(r) {
		r.Err = ovs.E("memdriver.Read", ovs.KindFenced, o.claim.Ref, nil)
	}
	r.Done(r)
}

// Write writes; all is durable at once.
func (o *Object) Write(w *ovs.Write) {
	w.Err = o.write(w.Off, w.Data)
	w.Committed, w.Verf = ovs.FileSync, ovs.VerifierOf(o.claim.Ref, o.claim.Epoch)
	w.Done(w)
}

func (o *Object) write(off uint64, data []byte) error {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	c, err := o.use("Write", true)
	if err != nil {
		return err
	}
	for n := 0; n < len(data); {
		p := c.pages[off/page]
		if p == nil {
			p = make([]byte, page)
			c.pages[off/page] = p
		}
		m := copy(p[off%page:], data[n:])
		n += m
		off += uint64(m)
	}
	if len(data) > 0 {
		c.size = max(c.size, off)
		o.record(c)
	}
	return nil
}

func (o *Object) record(c *content) {
	c.last++
	c.time = max(c.time+1, o.store.Now())
}

// Commit has nothing left to do.
func (o *Object) Commit(c *ovs.Commit) {
	o.store.mu.Lock()
	_, c.Err = o.use("Commit", false)
	o.store.mu.Unlock()
	c.Verf = ovs.VerifierOf(o.claim.Ref, o.claim.Epoch)
	c.Done(c)
}

// Resize sets the size.
func (o *Object) Resize(_ context.Context, size uint64) error {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	c, err := o.use("Resize", true)
	if err != nil {
		return err
	}
	if size == c.size {
		return nil
	}
	for i, p := range c.pages {
		switch from := i * page; {
		case from >= size:
			delete(c.pages, i)
		case from+page > size:
			clear(p[size-from:])
		}
	}
	c.size = size
	o.record(c)
	return nil
}

// Live tells size and times.
func (o *Object) Live() ovs.Live {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	c := o.store.objects[o.claim.Object]
	if c == nil {
		return ovs.Live{}
	}
	return ovs.Live{Size: c.size, Used: uint64(len(c.pages)) * page, Time: c.time, Halted: c.halted}
}

// Flush counts.
func (o *Object) Flush(context.Context) error {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	o.store.flushes++
	if o.closed {
		return ovs.E("memdriver.Flush", ovs.KindFenced, o.claim.Ref, nil)
	}
	return nil
}

// Rest closes the epoch.
func (o *Object) Rest(_ context.Context, shut func() error) ([]ovs.Update, error) {
	if err := shut(); err != nil {
		return nil, ovs.E("memdriver.Rest", ovs.KindUnknown, o.claim.Ref, err)
	}
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	if o.closed || o.rested {
		return nil, ovs.E("memdriver.Rest", ovs.KindFenced, o.claim.Ref, nil)
	}
	o.rested = true
	return []ovs.Update{o.claim.Assert(), ovs.Set(ovs.HeadKey(o.claim.Object), head(o.claim.Epoch))}, nil
}

// Close ends it.
func (o *Object) Close() {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	if c := o.store.objects[o.claim.Object]; c != nil && !o.closed {
		c.open--
	}
	o.closed = true
}

// Layer is the content, after a Rest.
func (o *Object) Layer() (ovs.Layer, error) {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	c := o.store.objects[o.claim.Object]
	if !o.rested || c == nil {
		return ovs.Layer{}, ovs.E("memdriver.Layer", ovs.KindInvalid, o.claim.Ref, nil)
	}
	return ovs.Layer{Namespace: "mem", Piece: 1 << 20, Size: c.size, Last: c.last, Time: c.time}, nil
}
