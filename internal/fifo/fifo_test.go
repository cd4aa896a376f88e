package fifo

import "testing"

type item struct {
	n    int
	next *item
}

func (i *item) Link() **item { return &i.next }

type queue = Queue[item, *item]

func TestOrder(t *testing.T) {
	var q, p queue
	if q.Pop() != nil || q.First() != nil {
		t.Fatal("something in an empty queue")
	}
	q.Join(&p)
	for n := range 10 { // two queues in turn, joined behind each other
		p.Push(&item{n: n, next: &item{}})
		if n%3 == 2 {
			q.Join(&p)
			if p.First() != nil || p.Pop() != nil {
				t.Fatal("what was moved is still there")
			}
		}
	}
	q.Join(&p)
	for n := range 10 {
		first := q.First()
		x := q.Pop()
		if x == nil || x != first || x.n != n || x.next != nil {
			t.Fatalf("%+v comes out at %d", x, n)
		}
	}
	if q.Pop() != nil {
		t.Fatal("one more than went in")
	}
	q.Push(&item{n: 1})
	if x := q.Pop(); x == nil || x.n != 1 {
		t.Fatal("not usable again")
	}
}
