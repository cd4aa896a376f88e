package arakoon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"go.uber.org/zap"

	"ovs"
	"ovs/internal/sequence"
	"ovs/internal/vfs"
	"ovs/internal/vfs/pebblefs"
)

// storeVersion is the newest layout of the store that we know (docs/format/arakoon.md).
const storeVersion = 1

// The first byte of a key in the store; shard and replica follow, 8 bytes each.
const (
	keyVersion = 'v' // alone: storeVersion
	keyIndex   = 'i' // -> index of the last command applied
	keyData    = 'd' // + the user's key -> the user's value
	keyResult  = 'r' // + node, slot -> incarnation, number, result
)

// store is the Pebble store that all groups of the process share. It writes no log: what was not flushed is lost in a
// crash, always from the end (of all groups together), and Raft applies it again.
type store struct {
	db      *pebble.DB
	written atomic.Uint64 // batches committed
	trouble chan error    // holds the error of a flush that Pebble repeats, for close

	mu      sync.Mutex // one flush at a time; guards flushed
	flushed uint64     // of written, at the last flush
}

func openStore(fs vfs.FS, dir string, log *zap.Logger) (*store, error) {
	s := &store{trouble: make(chan error, 1)}
	cache := pebble.NewCache(32 << 20)
	defer cache.Unref()
	o := &pebble.Options{
		FS:                 pebblefs.New(fs),
		Cache:              cache,
		DisableWAL:         true,
		MemTableSize:       16 << 20,
		MaxOpenFiles:       500,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             pebbleLog{log.Named("store")},
		EventListener:      &pebble.EventListener{BackgroundError: s.backgroundError},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(dir, o)
	if err != nil {
		return nil, ovs.E("arakoon.openStore", ovs.KindIO, dir, err)
	}
	s.db = db
	if err := s.checkVersion(); err != nil {
		db.Close()
		return nil, err
	}
	return s, nil
}

func (s *store) checkVersion() error {
	v, found, err := get(s.db, []byte{keyVersion})
	switch {
	case err != nil:
		return ovs.E("arakoon.openStore", ovs.KindIO, nil, err)
	case !found:
		if err := s.db.Set([]byte{keyVersion}, []byte{storeVersion}, pebble.NoSync); err != nil {
			return ovs.E("arakoon.openStore", ovs.KindIO, nil, err)
		}
		s.written.Add(1)
		return nil
	case len(v) != 1 || v[0] != storeVersion:
		return ovs.E("arakoon.openStore", ovs.KindNotSupported, nil, fmt.Errorf("version %x", v))
	}
	return nil
}

// commit writes a batch: all of it or nothing survives a crash, and nothing of it before what was committed earlier.
func (s *store) commit(b *pebble.Batch) error {
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	s.written.Add(1)
	return nil
}

// flush makes durable what was committed before.
func (s *store) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	written := s.written.Load()
	if written == s.flushed {
		return nil
	}
	if err := s.db.Flush(); err != nil {
		return err
	}
	s.flushed = written
	return nil
}

// flushPause is what Pebble waits before it repeats a flush that failed. It does so for ever, at once, with its lock held.
const flushPause = 10 * time.Millisecond

func (s *store) backgroundError(err error) {
	select {
	case s.trouble <- err:
	default:
	}
	time.Sleep(flushPause)
}

// close flushes once: on a full disk it gives up, since all is in Raft's log too.
func (s *store) close() error {
	return errors.Join(s.tryFlush(), s.db.Close())
}

func (s *store) tryFlush() error {
	if s.written.Load() == s.flushed {
		return nil
	}
	select {
	case <-s.trouble: // of an earlier flush
	default:
	}
	done, err := s.db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case err := <-s.trouble:
		return err
	}
}

// get reads one key; the value is the caller's.
func get(r pebble.Reader, key []byte) (value []byte, found bool, err error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value = append([]byte{}, v...)
	return value, true, closer.Close()
}

// groupKey is the beginning of a replica's keys of one kind.
func groupKey(kind byte, shard, replica uint64) []byte {
	k := append(make([]byte, 0, 17), kind)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(k, shard), replica)
}

// join is a key of its own: prefix and rest.
func join(prefix, rest []byte) []byte {
	return append(append(make([]byte, 0, len(prefix)+len(rest)), prefix...), rest...)
}

// view is what a sequence or a read sees of a group: the keys under prefix, without it.
type view struct {
	r      pebble.Reader
	prefix []byte
}

// Get gives the value of key. It is the caller's.
func (v view) Get(key []byte) ([]byte, bool, error) { return get(v.r, join(v.prefix, key)) }

// Keys calls f with each key under prefix, in order, until it returns false.
func (v view) Keys(prefix []byte, f func(key []byte) bool) (err error) {
	from := join(v.prefix, prefix)
	it, err := v.r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: ovs.PrefixEnd(from)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok && f(it.Key()[len(v.prefix):]); ok = it.Next() {
	}
	return it.Error()
}

// pairs reads a range.
func (v view) pairs(o ovs.RangeOptions) (pairs []ovs.Pair, err error) {
	bounds := &pebble.IterOptions{LowerBound: join(v.prefix, o.From), UpperBound: ovs.PrefixEnd(v.prefix)}
	if o.To != nil {
		bounds.UpperBound = join(v.prefix, o.To)
	}
	it, err := v.r.NewIter(bounds)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	start, next := it.First, it.Next
	if o.Reverse {
		start, next = it.Last, it.Prev
	}
	var budget sequence.Budget
	for ok := start(); ok && len(pairs) < o.Limit; ok = next() {
		value, err := it.ValueAndErr()
		if err == nil {
			err = budget.Take(len(it.Key()) - len(v.prefix) + len(value))
		}
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, ovs.Pair{
			Key:   append([]byte{}, it.Key()[len(v.prefix):]...),
			Value: append([]byte{}, value...),
		})
	}
	return pairs, it.Error()
}
