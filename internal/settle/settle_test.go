package settle

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ovs"
	"ovs/internal/memregistry"
)

func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		begin, tries, said := time.Now(), 0, 0
		say := func(error) { said++ }
		err := Do(ctx, time.Millisecond, say, func() error {
			if tries++; tries < 5 {
				return ovs.E("test", ovs.KindNoSpace, nil, nil)
			}
			return nil
		})
		if err != nil || tries != 5 || said != 1 || time.Since(begin) != 15*time.Millisecond {
			t.Errorf("%v after %d tries, %d words and %v", err, tries, said, time.Since(begin))
		}
		tries = 0
		err = Do(ctx, time.Millisecond, say, func() error {
			tries++
			return ovs.E("test", ovs.KindConflict, nil, nil)
		})
		if !ovs.Is(err, ovs.KindConflict) || tries != 1 {
			t.Errorf("%v after %d tries of what no try mends", err, tries)
		}
		begin = time.Now()
		time.AfterFunc(time.Minute, cancel)
		err = Do(ctx, time.Millisecond, say, func() error { return errors.New("no") })
		if err == nil || time.Since(begin) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestSwing(t *testing.T) {
	ctx, g := context.Background(), memregistry.New()
	c := &ovs.Claim{Ref: ovs.Ref{Pool: 1, Object: 2}, Entry: ovs.Pair{Key: []byte("o"), Value: []byte("me")}}
	set := func(key []byte, v string) {
		if _, err := g.Sequence(ctx, ovs.Set(key, []byte(v))); err != nil {
			t.Fatal(err)
		}
	}
	key := ovs.HeadKey(2)
	set(c.Entry.Key, "me")
	set(key, "a")
	beside := ovs.Set([]byte("beside"), []byte("it"))
	for range 2 { // the second finds it done
		if err := Swing(ctx, g, c, []byte("a"), []byte("b"), beside); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := g.Get(ctx, beside.Key); err != nil || string(v) != "it" {
		t.Errorf("%q, %v", v, err)
	}
	if err := Swing(ctx, g, c, []byte("a"), []byte("c")); !ovs.Is(err, ovs.KindFenced) {
		t.Errorf("over another head: %v", err)
	}
	set(c.Entry.Key, "you")
	for _, to := range []string{"b", "c"} {
		if err := Swing(ctx, g, c, []byte("b"), []byte(to)); !ovs.Is(err, ovs.KindFenced) {
			t.Errorf("without the claim: %v", err)
		}
	}
	if v, err := g.Get(ctx, key); err != nil || string(v) != "b" {
		t.Errorf("%q, %v", v, err)
	}
}
