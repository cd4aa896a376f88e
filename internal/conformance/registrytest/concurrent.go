package registrytest

import (
	"bytes"
	"fmt"
	"sync"

	"ovs"
)

// event is what a follower was told.
type event struct {
	index      uint64
	key, value []byte
}

func (e event) String() string {
	if e.value == nil {
		return fmt.Sprintf("-%s", e.key)
	}
	return fmt.Sprintf("%s=%s", e.key, e.value)
}

// recorder is a follower that keeps what it was told.
type recorder struct {
	mu     sync.Mutex
	events []event
}

func (r *recorder) f(index uint64, key, value []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event{index, key, value})
}

func (r *recorder) take() []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.events
	r.events = nil
	return e
}

func follow(x *fixture) {
	x.do(set("a/0", "old"), set("b/0", "old"))
	var a, all recorder
	cancel := x.Follow([]byte("a/"), a.f)
	x.Cleanup(x.Follow(nil, all.f))

	expect := func(index uint64, events []event, want string) {
		x.Helper()
		if got := fmt.Sprint(events); got != want {
			x.Fatalf("told %s, want %s", got, want)
		}
		for _, e := range events {
			if e.index != index {
				x.Fatalf("index %d, want %d", e.index, index)
			}
		}
	}
	index := x.do(set("a/1", "1"), set("b/1", ""), ovs.AssertExists([]byte("a/0")))
	expect(index, a.take(), "[a/1=1]")
	expect(index, all.take(), "[a/1=1 b/1=]")
	index = x.do(ovs.DeletePrefix([]byte("a/")), set("a/2", "x"), ovs.TestAndSet([]byte("b/0"), []byte("old"), nil))
	expect(index, a.take(), "[-a/0 -a/1 a/2=x]")
	expect(index, all.take(), "[-a/0 -a/1 a/2=x -b/0]")
	x.fails(ovs.KindConflict, set("a/3", "1"), ovs.AssertExists([]byte("none")))
	expect(0, a.take(), "[]")
	cancel()
	cancel()
	index = x.do(set("a/2", "y"))
	expect(0, a.take(), "[]")
	expect(index, all.take(), "[a/2=y]")
}

// followLoad: a follower's copy equals the registry after many writers, and its indexes never fall.
func followLoad(x *fixture) {
	var r recorder
	x.Cleanup(x.Follow([]byte("k"), r.f))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				key := []byte(fmt.Sprintf("k%d", (w+i)%7))
				u := ovs.Set(key, []byte(fmt.Sprintf("%d.%d", w, i)))
				if i%5 == 4 {
					u = ovs.DeletePrefix(key)
				}
				if _, err := x.Sequence(x.ctx, u); err != nil {
					x.Errorf("sequence: %v", err)
				}
			}
		})
	}
	wg.Wait()
	last, content := uint64(0), map[string][]byte{}
	for _, e := range r.take() {
		if e.index < last {
			x.Fatalf("index %d after %d", e.index, last)
		}
		last = e.index
		if content[string(e.key)] = e.value; e.value == nil {
			delete(content, string(e.key))
		}
	}
	pairs, err := x.Range(x.ctx, ovs.RangeOptions{From: []byte("k"), Limit: 100})
	if err != nil || len(pairs) != len(content) {
		x.Fatalf("%d pairs, the follower has %d; %v", len(pairs), len(content), err)
	}
	for _, p := range pairs {
		if !bytes.Equal(content[string(p.Key)], p.Value) {
			x.Fatalf("%s is %s, the follower has %s", p.Key, p.Value, content[string(p.Key)])
		}
	}
}

// counter: read, then test-and-set, from many sides; nothing is lost or done twice.
func counter(x *fixture) {
	key := []byte("counter")
	x.do(set("counter", ""))
	const writers, each = 4, 15
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				v, err := x.Get(x.ctx, key)
				if err != nil {
					x.Errorf("get: %v", err)
					return
				}
				switch _, err := x.Sequence(x.ctx, ovs.TestAndSet(key, v, append(bytes.Clone(v), '.'))); {
				case err == nil:
					done++
				case !ovs.Is(err, ovs.KindConflict):
					x.Errorf("sequence: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if v, err := x.Get(x.ctx, key); err != nil || len(v) != writers*each {
		x.Fatalf("counted to %d, %v", len(v), err)
	}
}
