package ovs

import (
	"context"
	"fmt"
)

// Pair is a key and its value.
type Pair struct{ Key, Value []byte }

// UpdateOp is one step of a sequence. Its numbers are on the wire and in Raft logs: append only.
type UpdateOp uint8

// The steps. An assertion that does not hold undoes the whole sequence.
const (
	OpSet          UpdateOp = 1 + iota // Key := Value
	OpDelete                           // fails with KindNotFound when absent
	OpDeletePrefix                     // all keys that begin with Key; KindTooBig past 100,000 of them
	OpAssert                           // Key's value is Value
	OpAssertAbsent                     // Key is absent
	OpAssertExists                     // Key is there
	OpAssertNone                       // no key begins with Key (an empty range)
	OpTestAndSet                       // Key's value must be Expect (nil: absent); becomes Value (nil: deleted)
	OpAdd                              // the big-endian uint64 at byte At of Key's value += Delta (two's complement); KindNotFound, KindInvalid: none there
	OpMax                              // the big-endian uint64 at byte At of Key's value = max(it, Delta); fails as OpAdd does
	OpSetStamped                       // Set, with the command's index written big-endian over 8 bytes at KeyAt, ValueAt (-1: not)
)

// Update is one step of a sequence.
type Update struct {
	Op             UpdateOp
	Key, Value     []byte
	Expect         []byte
	At             int
	Delta          uint64
	KeyAt, ValueAt int
}

// Set, Delete, … build updates.
func Set(key, value []byte) Update      { return Update{Op: OpSet, Key: key, Value: value} }
func Delete(key []byte) Update          { return Update{Op: OpDelete, Key: key} }
func DeletePrefix(prefix []byte) Update { return Update{Op: OpDeletePrefix, Key: prefix} }
func Assert(key, value []byte) Update   { return Update{Op: OpAssert, Key: key, Value: value} }
func AssertAbsent(key []byte) Update    { return Update{Op: OpAssertAbsent, Key: key} }
func AssertExists(key []byte) Update    { return Update{Op: OpAssertExists, Key: key} }
func AssertNone(prefix []byte) Update   { return Update{Op: OpAssertNone, Key: prefix} }
func Add(key []byte, at int, d int64) Update {
	return Update{Op: OpAdd, Key: key, At: at, Delta: uint64(d)}
}
func Max(key []byte, at int, v uint64) Update {
	return Update{Op: OpMax, Key: key, At: at, Delta: v}
}

// TestAndSet replaces expect (nil: absent) by value (nil: deleted).
func TestAndSet(key, expect, value []byte) Update {
	return Update{Op: OpTestAndSet, Key: key, Expect: expect, Value: value}
}

// SetStamped sets key to value after the command's index was written at keyAt and valueAt (-1: nowhere).
func SetStamped(key, value []byte, keyAt, valueAt int) Update {
	return Update{Op: OpSetStamped, Key: key, Value: value, KeyAt: keyAt, ValueAt: valueAt}
}

// AssertError says which step of a sequence did not hold; nothing was changed. It is wrapped in an *Error of
// KindConflict: errors.As finds it.
type AssertError struct {
	Step    int
	Key     []byte
	Current []byte // the value found; nil when absent
}

// Error names the step and key.
func (e *AssertError) Error() string {
	return fmt.Sprintf("step %d does not hold: key %q", e.Step, e.Key)
}

// RangeOptions choose keys From <= key < To (To nil: to the end).
type RangeOptions struct {
	From, To []byte
	Reverse  bool // from the last downwards
	Limit    int  // at most this many, 1 to 10,000
}

// Registry is one group of the replicated store. arakoon gives it; internal/memregistry is its twin in memory. Keys are 1
// to 1,024 bytes, values up to 512 KiB, a sequence up to 1 MiB in all. What a Sequence did is durable on return and done
// exactly once, whatever was retried underneath. Reads are linearizable. Values returned are the caller's.
type Registry interface {
	Get(ctx context.Context, key []byte) ([]byte, error)           // KindNotFound
	MultiGet(ctx context.Context, keys [][]byte) ([][]byte, error) // nil for the absent; at most 10,000 keys
	// Range gives pairs of one moment. Here and in MultiGet, more than 64 MiB is KindTooBig: ask for fewer.
	Range(ctx context.Context, o RangeOptions) ([]Pair, error)
	// Sequence applies all updates or none. Its index is the command's, and rises. KindConflict with an *AssertError: a
	// step did not hold. KindTimeout: the outcome is unknown.
	Sequence(ctx context.Context, u ...Update) (index uint64, err error)
	// Follow calls f for every change of a key that begins with prefix (value nil: deleted; a deleted prefix comes as its
	// keys), in order, in the apply path of the local member: before the Sequence that caused it returns. f must not block
	// or call the Registry. The follower also learns of a restored snapshot: f is called with key nil: forget all.
	Follow(prefix []byte, f func(index uint64, key, value []byte)) (cancel func())
}

// PrefixEnd is the first key after all that begin with prefix, nil if there is none.
func PrefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// Scan reads all pairs under prefix, in pages, and calls f for each until it fails.
func Scan(ctx context.Context, g Registry, prefix []byte, f func(Pair) error) error {
	o := RangeOptions{From: prefix, To: PrefixEnd(prefix), Limit: 1000}
	for {
		page, err := g.Range(ctx, o)
		if Is(err, KindTooBig) && o.Limit > 1 {
			o.Limit /= 2
			continue
		}
		if err != nil {
			return err
		}
		for _, p := range page {
			if err := f(p); err != nil {
				return err
			}
		}
		if len(page) < o.Limit {
			return nil
		}
		o.From = append(append([]byte(nil), page[len(page)-1].Key...), 0)
	}
}
