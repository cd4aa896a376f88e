package objectrouter

import (
	"testing"

	"ovs"
)

// idle is an object that does nothing, so that what is measured is the router.
type idle struct{ ovs.Object }

func (idle) Write(w *ovs.Write)     { w.Done(w) }
func (idle) TryRead(*ovs.Read) bool { return true }
func (idle) Live() (live ovs.Live)  { return live }
func (idle) Close()                 {}
func (idle) Read(r *ovs.Read)       { r.Done(r) }
func (idle) Commit(c *ovs.Commit)   { c.Done(c) }
func (o idle) serve(r *Router, id ovs.ObjectID) {
	n := r.table.get(id)
	s := *n.serve.Load()
	s.object = o
	n.serve.Store(&s)
}

// BenchmarkRouter is the router's share of the calls that are answered at once.
func BenchmarkRouter(b *testing.B) {
	w := newWorld(b, nil)
	r := w.router()
	id := newUser(r).file(b, "f")
	idle{}.serve(r, id)
	q := newUser(r).rq
	b.Run("TryGetAttr", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			var a ovs.Attr
			for p.Next() {
				r.TryGetAttr(q, id, &a)
			}
		})
	})
	b.Run("TryLookup", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			var a ovs.Attr
			for p.Next() {
				r.TryLookup(q, ovs.RootID, "f", &a)
			}
		})
	})
	b.Run("TryRead", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			o := &ovs.Read{Request: *q, File: id}
			for p.Next() {
				r.TryRead(o)
			}
		})
	})
	b.Run("Write", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			o := &ovs.Write{Request: *q, File: id, Data: make([]byte, 4096), Done: func(*ovs.Write) {}}
			for p.Next() {
				r.Write(o)
			}
		})
	})
}
