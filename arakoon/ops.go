package arakoon

import (
	"context"
	"errors"

	"ovs"
)

// Arakoon's operations beside those that a Registry has: thin words for one call, or one sequence of one step.

// Exists tells whether key is there.
func Exists(ctx context.Context, g ovs.Registry, key []byte) (bool, error) {
	_, err := g.Get(ctx, key)
	if ovs.Is(err, ovs.KindNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Set sets key to value.
func Set(ctx context.Context, g ovs.Registry, key, value []byte) error {
	_, err := g.Sequence(ctx, ovs.Set(key, value))
	return err
}

// Delete deletes key; KindNotFound when it is absent.
func Delete(ctx context.Context, g ovs.Registry, key []byte) error {
	_, err := g.Sequence(ctx, ovs.Delete(key))
	return err
}

// DeletePrefix deletes all keys that begin with prefix; KindTooBig past 100,000 of them.
func DeletePrefix(ctx context.Context, g ovs.Registry, prefix []byte) error {
	_, err := g.Sequence(ctx, ovs.DeletePrefix(prefix))
	return err
}

// TestAndSet sets key to value (nil: deletes it) if its value is expect (nil: absent). It returns the value that it found,
// nil for absent; done tells whether that was expect.
func TestAndSet(ctx context.Context, g ovs.Registry, key, expect, value []byte) (found []byte, done bool, err error) {
	_, err = g.Sequence(ctx, ovs.TestAndSet(key, expect, value))
	var a *ovs.AssertError
	if errors.As(err, &a) {
		return a.Current, false, nil
	}
	return expect, err == nil, err
}

// Prefix gives the first pairs, at most limit (1 to 10,000), whose keys begin with prefix.
func Prefix(ctx context.Context, g ovs.Registry, prefix []byte, limit int) ([]ovs.Pair, error) {
	return g.Range(ctx, ovs.RangeOptions{From: prefix, To: ovs.PrefixEnd(prefix), Limit: limit})
}
