package memregistry

import (
	"context"
	"testing"

	"ovs"
)

// TestGroups: a name always means the same group, and a fork goes its own way.
func TestGroups(t *testing.T) {
	ctx, key := context.Background(), []byte("k")
	g := NewGroups()
	if _, err := g.Get("a").Sequence(ctx, ovs.Set(key, []byte("1"))); err != nil {
		t.Fatal(err)
	}
	f := g.Fork()
	if _, err := g.Get("a").Sequence(ctx, ovs.Set(key, []byte("2"))); err != nil {
		t.Fatal(err)
	}
	for want, from := range map[string]*Groups{"1": f, "2": g} {
		r, err := from.Group(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		if v, err := r.Get(ctx, key); err != nil || string(v) != want {
			t.Errorf("%q, want %s (%v)", v, want, err)
		}
	}
	if _, err := g.Get("b").Get(ctx, key); !ovs.Is(err, ovs.KindNotFound) {
		t.Errorf("another group: %v", err)
	}
}
