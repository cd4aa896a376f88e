package membackend

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ovs"
	"ovs/internal/conformance/backendtest"
)

func TestConformance(t *testing.T) {
	backendtest.Run(t, func(*testing.T) ovs.Backend { return New() })
}

func TestFaults(t *testing.T) {
	ctx := t.Context()
	outcome := func(f Faults) (full, partial, lost, done int) {
		b := New()
		if err := b.CreateNamespace(ctx, "ns"); err != nil {
			t.Fatal(err)
		}
		b.SetFaults(f)
		for i := range 300 {
			name := string(rune('a'+i%26)) + string(rune('a'+i/26))
			isFull, err := b.Put(ctx, "ns", name, []byte{1}, ovs.PutOptions{})
			_, there := b.spaces["ns"][name]
			switch {
			case err == nil && isFull:
				full++
			case err == nil:
				partial++
			case ovs.Is(err, ovs.KindTimeout) && there:
				done++
			default:
				lost++
			}
		}
		return
	}
	f := Faults{Seed: 3, PutLost: 0.2, PutDone: 0.2, PutPartial: 0.3}
	full, partial, lost, done := outcome(f)
	if full == 0 || partial == 0 || lost == 0 || done == 0 {
		t.Fatalf("full %d, partial %d, lost %d, done %d", full, partial, lost, done)
	}
	if a, b, c, d := outcome(f); a != full || b != partial || c != lost || d != done {
		t.Fatal("the same seed gave other mishaps")
	}
}

func TestHookCorruptSpace(t *testing.T) {
	ctx, b, boom := t.Context(), New(), errors.New("boom")
	if err := b.CreateNamespace(ctx, "ns"); err != nil {
		t.Fatal(err)
	}
	b.SetHook(func(c Call) error {
		if c.Op == "Put" && (c.Name == "before" && !c.After || c.Name == "after" && c.After) {
			return boom
		}
		return nil
	})
	for name, there := range map[string]bool{"before": false, "after": true} {
		if _, err := b.Put(ctx, "ns", name, []byte("x"), ovs.PutOptions{}); !errors.Is(err, boom) {
			t.Fatal(err)
		}
		if b.Corrupt("ns", name) != there {
			t.Fatalf("%s: there is %v", name, !there)
		}
	}
	if _, err := b.Get(ctx, "ns", "after", 0, make([]byte, 1)); !ovs.Is(err, ovs.KindCorrupt) {
		t.Fatal(err)
	}
	b.SetTotal(3)
	if _, err := b.Put(ctx, "ns", "large", make([]byte, 3), ovs.PutOptions{}); !ovs.Is(err, ovs.KindNoSpace) {
		t.Fatal(err)
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		b.SetFaults(Faults{Latency: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond)
		defer cancel()
		if err := b.CreateNamespace(ctx, "ns"); !ovs.Is(err, ovs.KindTimeout) {
			t.Fatal(err)
		}
		if err := b.CreateNamespace(t.Context(), "ns"); err != nil {
			t.Fatal(err)
		}
	})
}
