package asd

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestGroup: a call serves all that came before it began, none that came later, and all of them get its error.
func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var begun, changes atomic.Int64 // changes made; how many of them the last call saw
		var calls atomic.Int64
		var fail atomic.Bool
		boom := errors.New("boom")
		g := &group{sync: func() error {
			seen := changes.Load()
			calls.Add(1)
			time.Sleep(time.Millisecond)
			if fail.Load() {
				return boom
			}
			begun.Store(seen)
			return nil
		}}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 20 * time.Microsecond)
				mine := changes.Add(1)
				if err := g.wait(); err != nil || begun.Load() < mine {
					t.Errorf("%v: change %d was not covered, only %d", err, mine, begun.Load())
				}
			})
		}
		wg.Wait()
		if n := calls.Load(); n > 5 {
			t.Errorf("%d calls for 100 waiters over 2 ms, each call 1 ms", n)
		}
		fail.Store(true)
		for range 10 {
			wg.Go(func() {
				if err := g.wait(); err != boom {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}
