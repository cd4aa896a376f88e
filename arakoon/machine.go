package arakoon

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"ovs"
	"ovs/internal/sequence"
)

// windowSize is how many results of a node a group keeps, and so how far a node's commands may be ahead of the oldest
// one that it still awaits. It is part of the store's format.
const windowSize = 4096

// snapshotBytes of commands ask for a snapshot, before snapshotEntries do.
const snapshotBytes = 64 << 20

// machine is one group's state machine. All calls but Lookup and SaveSnapshot come one at a time.
//
// A command is done once: its result is kept under its node and number, modulo the window. What finds its own result
// there was done; what finds a later one there is too old to matter to anybody. A node's incarnations count as one
// sequence, so a dead incarnation's results make room by themselves.
type machine struct {
	store                *store
	data, results, index []byte        // beginnings of keys; index is a whole one
	applied              uint64        // index of the last command in the store
	bytes                int           // of commands since large was last told
	large                chan struct{} // told when bytes passes snapshotBytes: Raft's log is to be cut
	followers            followers

	// recovery is held while a snapshot replaces the state; reads hold it shared, and do not wait for it.
	recovery sync.RWMutex
}

var _ sm.IOnDiskStateMachine = (*machine)(nil)

func newMachine(s *store, shard, replica uint64) *machine {
	return &machine{
		store:   s,
		data:    groupKey(keyData, shard, replica),
		results: groupKey(keyResult, shard, replica),
		index:   groupKey(keyIndex, shard, replica),
		large:   make(chan struct{}, 1),
	}
}

// Open tells the last command that is in the store.
func (m *machine) Open(<-chan struct{}) (uint64, error) {
	v, found, err := get(m.store.db, m.index)
	if err != nil || !found {
		return 0, err
	}
	if len(v) != 8 {
		return 0, ovs.E("arakoon.Open", ovs.KindCorrupt, "index", nil)
	}
	m.applied = binary.BigEndian.Uint64(v)
	return m.applied, nil
}

// Update applies commands as one batch, then tells the followers. An error halts the process: the store failed, or a
// command is of a version that we do not know.
func (m *machine) Update(entries []sm.Entry) ([]sm.Entry, error) {
	batch := m.store.db.NewIndexedBatch()
	defer batch.Close()
	var told []published
	for i := range entries {
		e := &entries[i]
		if e.Index <= m.applied {
			return nil, fmt.Errorf("command %d comes after %d", e.Index, m.applied)
		}
		changes, result, err := m.command(batch, e)
		if err != nil {
			return nil, err
		}
		if len(changes) > 0 {
			told = append(told, published{e.Index, changes})
		}
		e.Result = sm.Result{Value: result.Index, Data: result.Append(nil)}
		m.applied = e.Index
		m.bytes += len(e.Cmd)
	}
	if err := batch.Set(m.index, binary.BigEndian.AppendUint64(nil, m.applied), nil); err != nil {
		return nil, err
	}
	if err := m.store.commit(batch); err != nil {
		return nil, err
	}
	m.followers.tell(told)
	if m.bytes > snapshotBytes {
		select {
		case m.large <- struct{}{}:
			m.bytes = 0
		default:
		}
	}
	return entries, nil
}

// command applies one command to the batch. The changes are for the followers: none if it had been done before.
func (m *machine) command(batch *pebble.Batch, e *sm.Entry) ([]sequence.Change, sequence.Result, error) {
	if len(e.Cmd) > 0 && e.Cmd[0] != sequence.Version {
		return nil, sequence.Result{}, fmt.Errorf("command %d has version %d: this member is too old", e.Index, e.Cmd[0])
	}
	c, err := sequence.Decode(e.Cmd)
	if err != nil || c.Lowest > c.Seq || c.Seq-c.Lowest >= windowSize {
		return nil, sequence.Result{Index: e.Index, Kind: ovs.KindInvalid}, nil
	}
	slot := m.slot(&c)
	if old, found, err := get(batch, slot); err != nil {
		return nil, sequence.Result{}, err
	} else if found {
		if r, done, err := recall(old, &c, e.Index); done || err != nil {
			return nil, r, err
		}
	}
	changes, result, err := sequence.Apply(view{batch, m.data}, e.Index, c.Updates)
	if err != nil {
		return nil, result, err
	}
	for _, change := range changes {
		key := join(m.data, change.Key)
		if change.Value == nil {
			err = batch.Delete(key, nil)
		} else {
			err = batch.Set(key, change.Value, nil)
		}
		if err != nil {
			return nil, result, err
		}
	}
	kept := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, c.Incarnation), c.Seq)
	return changes, result, batch.Set(slot, result.Append(kept), nil)
}

// slot is the key of a command's result.
func (m *machine) slot(c *sequence.Command) []byte {
	k := binary.BigEndian.AppendUint64(join(m.results, nil), c.Node)
	return binary.BigEndian.AppendUint16(k, uint16(c.Seq%windowSize))
}

// recall looks at what stands in a command's slot. done: the command is not to be applied, r is its result.
func recall(kept []byte, c *sequence.Command, index uint64) (r sequence.Result, done bool, err error) {
	if len(kept) < 16 {
		return r, false, ovs.E("arakoon.recall", ovs.KindCorrupt, nil, nil)
	}
	incarnation, seq := binary.BigEndian.Uint64(kept), binary.BigEndian.Uint64(kept[8:])
	switch {
	case incarnation == c.Incarnation && seq == c.Seq:
		r, err = sequence.DecodeResult(kept[16:])
		return r, true, err
	case incarnation > c.Incarnation || incarnation == c.Incarnation && seq > c.Seq:
		return sequence.Result{Index: index, Kind: ovs.KindFenced}, true, nil
	}
	return r, false, nil
}

// Lookup is not used: after a read index the store is read directly.
func (m *machine) Lookup(any) (any, error) { return nil, nil }

// Sync makes the state durable; Dragonboat drops commands from Raft's log after that.
func (m *machine) Sync() error { return m.store.flush() }

// Close does nothing: the store is the node's.
func (m *machine) Close() error { return nil }
