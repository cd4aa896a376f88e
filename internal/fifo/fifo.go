// Package fifo is a queue of items that carry their own link, so that to wait in one costs no allocation.
package fifo

// Linked is an item with a place for the link; it stands in one queue at a time.
type Linked[T any] interface {
	*T
	Link() **T
}

// Queue is first in, first out. The zero Queue is empty. It has no lock: its owner does.
type Queue[T any, P Linked[T]] struct{ first, last *T }

// First is the oldest item; nil where there is none.
func (q *Queue[T, P]) First() *T { return q.first }

// Push enters x behind all others.
func (q *Queue[T, P]) Push(x *T) {
	*P(x).Link() = nil
	q.Join(&Queue[T, P]{x, x})
}

// Pop takes the oldest item out; nil where there is none. Its link is free then.
func (q *Queue[T, P]) Pop() *T {
	x := q.first
	if x == nil {
		return nil
	}
	link := P(x).Link()
	if q.first = *link; q.first == nil {
		q.last = nil
	}
	*link = nil
	return x
}

// Join moves all of p to the end of q.
func (q *Queue[T, P]) Join(p *Queue[T, P]) {
	if p.first == nil {
		return
	}
	if q.last == nil {
		q.first = p.first
	} else {
		*P(q.last).Link() = p.first
	}
	q.last = p.last
	*p = Queue[T, P]{}
}
