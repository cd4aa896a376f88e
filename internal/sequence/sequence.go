/*
Package sequence is what a sequence of updates means: the one evaluator that the replicated state machine and its twin in
memory share, and the bytes in which a command travels to the machine and its result is kept.

	updates ──► Apply ──► changes ──► the caller writes them, all in one batch
	              │ reads                 (or none: a step did not hold, Apply returns no changes)
	              ▼
	            Store, with the changes of earlier steps laid over it

Apply changes nothing itself, so undoing a sequence is to forget its changes. It uses no clock, no randomness and no
order of a map: the same store, index and updates give the same changes and result on every replica, for ever. What it
does for a given command version never changes.
*/
package sequence

import (
	"bytes"
	"encoding/binary"
	"sort"

	"ovs"
)

// Limits of keys, values and commands. They are part of the command format: no replica accepts more.
const (
	MaxKey     = 1024      // bytes in a key; at least 1
	MaxValue   = 512 << 10 // bytes in a value
	MaxCommand = 1 << 20   // bytes in an encoded command
	MaxUpdates = 65535     // steps in one command
	MaxRemoved = 100_000   // keys that the OpDeletePrefix steps of one command may meet: they are held in memory
)

// Store is the state that a sequence reads.
type Store interface {
	// Get gives the value of key and whether it is there. The value is valid until the store changes.
	Get(key []byte) (value []byte, found bool, err error)
	// Keys calls f with each key that begins with prefix, in rising order, until f returns false. The key is valid
	// during the call only.
	Keys(prefix []byte, f func(key []byte) bool) error
}

// Change is one key's new state. Value nil: it was deleted. Both may be kept, neither may be changed.
type Change struct{ Key, Value []byte }

// Apply evaluates updates over s, as the command with that index. It returns the changes in the order of the steps (a
// key may come more than once; the last counts), none if the result is a failure. The changes share memory with the
// updates. err is trouble of the store: then nothing is known about the sequence.
func Apply(s Store, index uint64, updates []ovs.Update) (changes []Change, r Result, err error) {
	e := evaluation{store: s, index: index}
	for i := range updates {
		f, err := e.step(&updates[i])
		if err != nil {
			return nil, Result{}, err
		}
		if f != nil {
			f.Index, f.Step = index, i
			return nil, *f, nil
		}
	}
	return e.changes, Result{Index: index}, nil
}

// evaluation is one run of Apply.
type evaluation struct {
	store   Store
	index   uint64
	changes []Change
	latest  map[string]int // key -> its last entry in changes
	removed int            // keys that OpDeletePrefix met
}

// step does one update. A step that does not hold gives a failure; err is trouble of the store.
func (e *evaluation) step(u *ovs.Update) (*Result, error) {
	switch u.Op {
	case ovs.OpSet:
		e.put(u.Key, present(u.Value))
		return nil, nil
	case ovs.OpSetStamped:
		e.put(e.stamped(u.Key, u.KeyAt), present(e.stamped(u.Value, u.ValueAt)))
		return nil, nil
	case ovs.OpDeletePrefix:
		return e.deletePrefix(u.Key)
	case ovs.OpAssertNone:
		found, err := e.first(u.Key)
		if err != nil || found == nil {
			return nil, err
		}
		v, _, err := e.get(found)
		return unheld(found, v, true), err
	}
	v, found, err := e.get(u.Key)
	if err != nil {
		return nil, err
	}
	return e.keyed(u, v, found), nil
}

// keyed does the steps that look at their key's value first.
func (e *evaluation) keyed(u *ovs.Update, v []byte, found bool) *Result {
	holds := true
	switch u.Op {
	case ovs.OpDelete:
		if !found {
			return &Result{Kind: ovs.KindNotFound, Key: u.Key}
		}
		e.put(u.Key, nil)
	case ovs.OpAssert:
		holds = found && bytes.Equal(v, u.Value)
	case ovs.OpAssertAbsent:
		holds = !found
	case ovs.OpAssertExists:
		holds = found
	case ovs.OpTestAndSet:
		if holds = found == (u.Expect != nil) && bytes.Equal(v, u.Expect); holds && (found || u.Value != nil) {
			e.put(u.Key, u.Value)
		}
	case ovs.OpAdd, ovs.OpMax:
		return e.number(u, v, found)
	default:
		return &Result{Kind: ovs.KindInvalid, Key: u.Key}
	}
	if !holds {
		return unheld(u.Key, v, found)
	}
	return nil
}

// number does OpAdd and OpMax.
func (e *evaluation) number(u *ovs.Update, v []byte, found bool) *Result {
	if !found {
		return &Result{Kind: ovs.KindNotFound, Key: u.Key}
	}
	if u.At < 0 || len(v) < 8 || u.At > len(v)-8 {
		return &Result{Kind: ovs.KindInvalid, Key: u.Key}
	}
	n := binary.BigEndian.Uint64(v[u.At:])
	switch {
	case u.Op == ovs.OpAdd:
		n += u.Delta
	case n >= u.Delta:
		return nil
	default:
		n = u.Delta
	}
	v = bytes.Clone(v)
	binary.BigEndian.PutUint64(v[u.At:], n)
	e.put(u.Key, v)
	return nil
}

// deletePrefix deletes all keys under a prefix, in rising order.
func (e *evaluation) deletePrefix(prefix []byte) (*Result, error) {
	var keys [][]byte
	err := e.store.Keys(prefix, func(k []byte) bool {
		if _, over := e.latest[string(k)]; !over {
			keys = append(keys, bytes.Clone(k))
		}
		return e.removed+len(keys) <= MaxRemoved
	})
	if err != nil {
		return nil, err
	}
	for k, i := range e.latest {
		if e.changes[i].Value != nil && bytes.HasPrefix([]byte(k), prefix) {
			keys = append(keys, []byte(k))
		}
	}
	if e.removed += len(keys); e.removed > MaxRemoved {
		return &Result{Kind: ovs.KindTooBig, Key: prefix}, nil
	}
	sort.Slice(keys, func(i, j int) bool { return bytes.Compare(keys[i], keys[j]) < 0 })
	for _, k := range keys {
		e.put(k, nil)
	}
	return nil, nil
}

// first is the lowest key under a prefix; nil if there is none.
func (e *evaluation) first(prefix []byte) (first []byte, err error) {
	err = e.store.Keys(prefix, func(k []byte) bool {
		if _, over := e.latest[string(k)]; over {
			return true
		}
		first = bytes.Clone(k)
		return false
	})
	for k, i := range e.latest {
		if e.changes[i].Value != nil && bytes.HasPrefix([]byte(k), prefix) && (first == nil || k < string(first)) {
			first = []byte(k)
		}
	}
	return first, err
}

func (e *evaluation) get(key []byte) ([]byte, bool, error) {
	if i, over := e.latest[string(key)]; over {
		v := e.changes[i].Value
		return v, v != nil, nil
	}
	return e.store.Get(key)
}

func (e *evaluation) put(key, value []byte) {
	if e.latest == nil {
		e.latest = make(map[string]int)
	}
	e.latest[string(key)] = len(e.changes)
	e.changes = append(e.changes, Change{key, value})
}

// stamped is b with the index over the 8 bytes at; b itself where at is -1. Check has seen that it fits.
func (e *evaluation) stamped(b []byte, at int) []byte {
	if at < 0 {
		return b
	}
	b = bytes.Clone(b)
	binary.BigEndian.PutUint64(b[at:], e.index)
	return b
}

// present is a value that counts as there: nil means deleted in a Change.
func present(v []byte) []byte {
	if v == nil {
		return []byte{}
	}
	return v
}

func unheld(key, current []byte, found bool) *Result {
	r := &Result{Kind: ovs.KindConflict, Key: bytes.Clone(key)}
	if found {
		r.Current = append([]byte{}, current...)
	}
	return r
}
