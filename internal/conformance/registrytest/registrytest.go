/*
Package registrytest is the conformance suite of ovs.Registry. All implementations pass it: the replicated store and its
twin in memory.
*/
package registrytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ovs"
)

// Run runs the suite. open gives an empty registry of its own to each test and cleans it up with the test; it is called
// concurrently, since the tests run in parallel.
func Run(t *testing.T, open func(t *testing.T) ovs.Registry) {
	tests := []struct {
		name string
		f    func(*fixture)
	}{
		{"Reads", reads},
		{"Steps", steps},
		{"Undo", undo},
		{"Steps see earlier steps", overlay},
		{"Conflict tells", conflict},
		{"Numbers", numbers},
		{"Stamps", stamps},
		{"Prefixes", prefixes},
		{"Big prefix", bigPrefix},
		{"Range", ranges},
		{"Limits", limits},
		{"Big reads", bigReads},
		{"Ownership of memory", memory},
		{"Deadline", deadline},
		{"Follow", follow},
		{"Follow is in order under load", followLoad},
		{"Counter under load", counter},
		{"Model", model},
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			x.f(&fixture{T: t, Registry: open(t), ctx: ctx})
		})
	}
}

// fixture is one test on one registry.
type fixture struct {
	*testing.T
	ovs.Registry
	ctx context.Context
}

// do runs a sequence that must succeed.
func (x *fixture) do(u ...ovs.Update) uint64 {
	x.Helper()
	index, err := x.Sequence(x.ctx, u...)
	if err != nil {
		x.Fatalf("sequence: %v", err)
	}
	return index
}

// fails runs a sequence that must fail with kind.
func (x *fixture) fails(kind ovs.Kind, u ...ovs.Update) error {
	x.Helper()
	_, err := x.Sequence(x.ctx, u...)
	if !ovs.Is(err, kind) {
		x.Fatalf("sequence: got %v, want %v", err, kind)
	}
	return err
}

// is compares a key's value; "-" is absent.
func (x *fixture) is(key, want string) {
	x.Helper()
	v, err := x.Get(x.ctx, []byte(key))
	switch {
	case want == "-":
		if !ovs.Is(err, ovs.KindNotFound) {
			x.Fatalf("%s is %q, %v; want it absent", key, v, err)
		}
	case err != nil || string(v) != want:
		x.Fatalf("%s is %q, %v; want %q", key, v, err, want)
	}
}

// all is the registry's content, printed.
func (x *fixture) all() string {
	x.Helper()
	pairs, err := x.Range(x.ctx, ovs.RangeOptions{Limit: 10000})
	if err != nil {
		x.Fatal(err)
	}
	return text(pairs)
}

func text(pairs []ovs.Pair) string {
	var b bytes.Buffer
	for _, p := range pairs {
		fmt.Fprintf(&b, "%s=%s ", p.Key, p.Value)
	}
	return b.String()
}

func set(key, value string) ovs.Update { return ovs.Set([]byte(key), []byte(value)) }

func reads(x *fixture) {
	x.is("a", "-")
	x.do(set("a", "1"), set("b", ""))
	x.is("a", "1")
	v, err := x.Get(x.ctx, []byte("b"))
	if err != nil || v == nil || len(v) != 0 {
		x.Fatalf("an empty value came as %v, %v", v, err)
	}
	many, err := x.MultiGet(x.ctx, [][]byte{[]byte("b"), []byte("none"), []byte("a")})
	if err != nil || len(many) != 3 || many[0] == nil || many[1] != nil || string(many[2]) != "1" {
		x.Fatalf("multi-get: %q, %v", many, err)
	}
	x.is("", "-")
	x.is(strings.Repeat("a", 2000), "-")
	if many, err = x.MultiGet(x.ctx, nil); err != nil || len(many) != 0 {
		x.Fatalf("multi-get of nothing: %q, %v", many, err)
	}
}

func steps(x *fixture) {
	k, v, w := []byte("k"), []byte("v"), []byte("w")
	x.fails(ovs.KindNotFound, ovs.Delete(k))
	x.fails(ovs.KindConflict, ovs.Assert(k, nil))
	x.fails(ovs.KindConflict, ovs.AssertExists(k))
	x.do(ovs.AssertAbsent(k), ovs.AssertNone(k))
	x.do(ovs.TestAndSet(k, nil, nil))
	x.is("k", "-")
	x.fails(ovs.KindConflict, ovs.TestAndSet(k, []byte{}, v))
	first := x.do(ovs.TestAndSet(k, nil, v))
	x.is("k", "v")
	x.do(ovs.Assert(k, v), ovs.AssertExists(k))
	x.fails(ovs.KindConflict, ovs.AssertAbsent(k))
	x.fails(ovs.KindConflict, ovs.AssertNone(k))
	x.fails(ovs.KindConflict, ovs.Assert(k, w))
	x.fails(ovs.KindConflict, ovs.TestAndSet(k, w, v))
	x.fails(ovs.KindConflict, ovs.TestAndSet(k, nil, v))
	x.do(ovs.TestAndSet(k, v, []byte{}))
	x.is("k", "")
	x.do(ovs.Assert(k, nil), ovs.TestAndSet(k, []byte{}, w))
	x.is("k", "w")
	last := x.do(ovs.TestAndSet(k, w, nil))
	x.is("k", "-")
	x.do(ovs.Set(k, nil), ovs.Delete(k))
	x.is("k", "-")
	if x.do() <= last || last <= first {
		x.Fatal("indexes do not rise")
	}
}

func undo(x *fixture) {
	x.do(set("a", "1"), set("b/1", "2"), set("b/2", "3"), set("n", "12345678"))
	before := x.all()
	x.fails(ovs.KindConflict, set("a", "9"), set("c", "9"), ovs.DeletePrefix([]byte("b/")), ovs.Add([]byte("n"), 0, 1),
		ovs.Delete([]byte("a")), ovs.AssertExists([]byte("a")))
	x.fails(ovs.KindNotFound, set("a", "9"), ovs.Delete([]byte("none")))
	x.fails(ovs.KindInvalid, set("a", "9"), ovs.Add([]byte("a"), 0, 1))
	if after := x.all(); after != before {
		x.Fatalf("a failed sequence left %s, was %s", after, before)
	}
}

func overlay(x *fixture) {
	x.do(set("p/1", "a"), set("p/3", "c"))
	k := []byte("k")
	x.do(ovs.AssertAbsent(k), ovs.Set(k, []byte("1")), ovs.Assert(k, []byte("1")), ovs.Delete(k), ovs.AssertAbsent(k),
		ovs.TestAndSet(k, nil, []byte("2")), ovs.TestAndSet(k, []byte("2"), []byte("3")))
	x.is("k", "3")
	x.do(set("p/2", "b"), ovs.DeletePrefix([]byte("p/")), ovs.AssertNone([]byte("p/")), set("p/2", "d"),
		ovs.AssertAbsent([]byte("p/1")), ovs.AssertExists([]byte("p/2")))
	if got := x.all(); got != "k=3 p/2=d " {
		x.Fatal(got)
	}
	x.fails(ovs.KindConflict, ovs.Delete([]byte("p/2")), set("p/4", "d"), ovs.AssertNone([]byte("p/")))
	x.do(set("p/4", "d"), ovs.Delete([]byte("p/4")), ovs.Delete([]byte("p/2")), ovs.AssertNone([]byte("p/")))
}

func conflict(x *fixture) {
	x.do(set("a", "1"), set("p/x", "y"))
	for _, c := range []struct {
		u            ovs.Update
		key, current string
	}{
		{ovs.Assert([]byte("a"), []byte("2")), "a", "1"},
		{ovs.Assert([]byte("b"), []byte("2")), "b", "-"},
		{ovs.AssertExists([]byte("b")), "b", "-"},
		{ovs.AssertAbsent([]byte("a")), "a", "1"},
		{ovs.AssertNone([]byte("p/")), "p/x", "y"},
		{ovs.TestAndSet([]byte("a"), nil, []byte("2")), "a", "1"},
	} {
		err := x.fails(ovs.KindConflict, set("c", "1"), c.u)
		var a *ovs.AssertError
		if !errors.As(err, &a) {
			x.Fatalf("%v carries no AssertError", err)
		}
		current := string(a.Current)
		if a.Current == nil {
			current = "-"
		}
		if a.Step != 1 || string(a.Key) != c.key || current != c.current {
			x.Fatalf("op %d: %+v, want key %s, current %s", c.u.Op, a, c.key, c.current)
		}
	}
}
