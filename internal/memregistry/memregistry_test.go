package memregistry

import (
	"context"
	"testing"

	"ovs"
	"ovs/internal/conformance/registrytest"
)

func TestConformance(t *testing.T) {
	registrytest.Run(t, func(*testing.T) ovs.Registry { return New() })
}

// TestFaults: a timeout's sequence was done or not, and a seed repeats its mishaps.
func TestFaults(t *testing.T) {
	run := func() (outcome string, n int) {
		r := New()
		r.SetFaults(Faults{Seed: 3, LostCall: 0.2, LostDone: 0.2, Busy: 0.2})
		for i := range 200 {
			_, err := r.Sequence(context.Background(), ovs.Set([]byte{'k', byte(i)}, nil))
			outcome += ovs.KindOf(err).String()
		}
		return outcome, r.Len()
	}
	a, n := run()
	b, m := run()
	if a != b || n != m {
		t.Fatal("the same seed gave other faults")
	}
	if n < 80 || n > 160 {
		t.Fatalf("%d of 200 were done", n)
	}
}

// TestPages: the sorted map over many pages equals a plain scan, there and back.
func TestPages(t *testing.T) {
	var s sorted
	const n = 5000
	for i := range n {
		k := (i * 2654435761) % n
		s.set(string([]byte{byte(k >> 8), byte(k)}), []byte{1})
	}
	for k := 0; k < n; k += 3 {
		s.remove(string([]byte{byte(k >> 8), byte(k)}))
	}
	up, down := 0, 0
	last := ""
	s.ascend(nil, nil, func(k string, _ []byte) bool {
		if k <= last && up > 0 {
			t.Fatal("not in order")
		}
		last = k
		up++
		return true
	})
	s.descend(nil, nil, func(string, []byte) bool { down++; return true })
	if want := n - (n+2)/3; up != want || down != want || s.len() != want {
		t.Fatalf("%d up, %d down, %d in all; want %d", up, down, s.len(), want)
	}
}
