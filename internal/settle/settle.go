/*
Package settle carries one step of a flush through, whatever happens on the way.

	Do      tries again while the trouble may pass: the log keeps the data meanwhile
	Swing   sets a head by compare-and-set under its owner's claim; a try whose answer was lost is recognised
	Log     waits until what was replayed is durable, where it was written by this process
*/
package settle

import (
	"bytes"
	"context"
	"errors"
	"time"

	"ovs"
)

// mostPause bounds the pause between two tries; sayFirst and sayEvery are the tries after which the trouble is told.
const (
	mostPause = 5 * time.Second
	sayFirst  = 3
	sayEvery  = 20
)

// Final tells whether no other try can mend this.
func Final(err error) bool {
	switch ovs.KindOf(err) {
	case ovs.KindConflict, ovs.KindFenced, ovs.KindCorrupt, ovs.KindInvalid, ovs.KindNotSupported:
		return true
	}
	return false
}

// Do tries a step until it succeeds, fails for good, or ctx ends: then with the step's last error. The first pause is
// first, then they double. say hears now and then what the trouble is.
func Do(ctx context.Context, first time.Duration, say func(cause error), step func() error) error {
	for try := 0; ; try++ {
		err := step()
		if err == nil || Final(err) || ctx.Err() != nil {
			return err
		}
		if try%sayEvery == sayFirst {
			say(err)
		}
		t := time.NewTimer(min(first<<min(try, 10), mostPause))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}

// Log returns when everything appended to the log so far is durable. An epoch may be closed at no record before.
func Log(ctx context.Context, l ovs.Log) error {
	done := make(chan error, 1)
	l.Sync(&ovs.LogSync{Done: func(_ *ovs.LogSync, err error) { done <- err }})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ovs.E("settle.Log", ovs.KindTimeout, nil, ctx.Err())
	}
}

// Swing replaces an object's head, which the claim's owner wrote last, and does more with it in the same sequence.
// KindFenced: another one is in charge. It may be called again where the outcome is unknown.
func Swing(ctx context.Context, g ovs.Registry, c *ovs.Claim, from, to []byte, more ...ovs.Update) error {
	key := ovs.HeadKey(c.Object)
	_, err := g.Sequence(ctx, append([]ovs.Update{c.Assert(), ovs.TestAndSet(key, from, to)}, more...)...)
	var failed *ovs.AssertError
	switch {
	case errors.As(err, &failed) && bytes.Equal(failed.Key, key) && bytes.Equal(failed.Current, to):
		return nil // an earlier try, whose answer was lost, had done it
	case ovs.Is(err, ovs.KindConflict):
		return ovs.E("settle.Swing", ovs.KindFenced, c.Ref, err)
	}
	return err
}
