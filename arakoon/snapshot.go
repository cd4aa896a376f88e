package arakoon

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"ovs"
	"ovs/internal/sequence"
)

// A snapshot is a stream (docs/format/arakoon.md): magic, version and index; the pairs of data, then of results, each
// with its kind and lengths; an end with their count and a CRC32C of all before it.
const (
	snapshotMagic   = "OVSARAKN"
	snapshotVersion = 1
	snapshotEnd     = 0
	loadBatch       = 2 << 20 // bytes in one batch while a snapshot is loaded
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// PrepareSnapshot pins the state.
func (m *machine) PrepareSnapshot() (any, error) {
	return m.store.db.NewSnapshot(), nil
}

// SaveSnapshot writes the pinned state for a member that is too far behind Raft's log.
func (m *machine) SaveSnapshot(pinned any, to io.Writer, stop <-chan struct{}) (err error) {
	snapshot := pinned.(*pebble.Snapshot)
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	index, found, err := get(snapshot, m.index)
	if err != nil {
		return err
	}
	if !found {
		index = make([]byte, 8)
	}
	w := &summed{w: bufio.NewWriterSize(to, 256<<10), sum: crc32.New(castagnoli)}
	w.write([]byte(snapshotMagic), []byte{snapshotVersion}, index)
	count := uint64(0)
	for _, part := range []struct {
		kind   byte
		prefix []byte
	}{{keyData, m.data}, {keyResult, m.results}} {
		n, err := savePart(w, snapshot, part.kind, part.prefix, stop)
		if err != nil {
			return err
		}
		count += n
	}
	w.write([]byte{snapshotEnd}, binary.BigEndian.AppendUint64(nil, count))
	w.write(w.sum.Sum(nil))
	if w.err == nil {
		w.err = w.w.Flush()
	}
	return w.err
}

func savePart(w *summed, r pebble.Reader, kind byte, prefix []byte, stop <-chan struct{}) (n uint64, err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: ovs.PrefixEnd(prefix)})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok && w.err == nil; ok = it.Next() {
		select {
		case <-stop:
			return n, sm.ErrSnapshotStopped
		default:
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return n, err
		}
		key := it.Key()[len(prefix):]
		head := binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(key)))
		w.write(binary.BigEndian.AppendUint32(head, uint32(len(value))), key, value)
		n++
	}
	return n, errors.Join(w.err, it.Error())
}

// RecoverFromSnapshot replaces the state. The index goes first and comes last: after a crash in between, Raft begins again.
func (m *machine) RecoverFromSnapshot(from io.Reader, stop <-chan struct{}) error {
	m.recovery.Lock()
	defer m.recovery.Unlock()
	r := &summedReader{r: bufio.NewReaderSize(from, 256<<10), sum: crc32.New(castagnoli)}
	head := r.take(len(snapshotMagic) + 1 + 8)
	if r.err != nil || string(head[:len(snapshotMagic)]) != snapshotMagic || head[len(snapshotMagic)] != snapshotVersion {
		return ovs.E("arakoon.RecoverFromSnapshot", ovs.KindCorrupt, "header", r.err)
	}
	index := binary.BigEndian.Uint64(head[len(snapshotMagic)+1:])
	if err := m.clear(); err != nil {
		return err
	}
	if err := m.load(r, stop); err != nil {
		return err
	}
	if err := m.store.db.Set(m.index, binary.BigEndian.AppendUint64(nil, index), pebble.NoSync); err != nil {
		return err
	}
	m.store.written.Add(1)
	m.applied, m.bytes = index, 0
	if err := m.store.flush(); err != nil {
		return err
	}
	m.followers.forget(index)
	return nil
}

// clear removes the state, index first.
func (m *machine) clear() error {
	batch := m.store.db.NewBatch()
	defer batch.Close()
	err := batch.Delete(m.index, nil)
	for _, prefix := range [][]byte{m.data, m.results} {
		err = errors.Join(err, batch.DeleteRange(prefix, ovs.PrefixEnd(prefix), nil))
	}
	if err != nil {
		return err
	}
	return m.store.commit(batch)
}

// load reads the pairs of a snapshot into the store.
func (m *machine) load(r *summedReader, stop <-chan struct{}) error {
	batch := m.store.db.NewBatch()
	defer func() { batch.Close() }()
	for count := uint64(0); ; count++ {
		kind := r.take(1)
		if r.err == nil && kind[0] == snapshotEnd {
			if err := r.end(count); err != nil {
				return err
			}
			return m.store.commit(batch)
		}
		key, value := r.pair()
		if r.err != nil || kind[0] != keyData && kind[0] != keyResult {
			return ovs.E("arakoon.RecoverFromSnapshot", ovs.KindCorrupt, "pair", r.err)
		}
		prefix := m.data
		if kind[0] == keyResult {
			prefix = m.results
		}
		if err := batch.Set(join(prefix, key), value, nil); err != nil {
			return err
		}
		if batch.Len() < loadBatch {
			continue
		}
		if err := m.store.commit(batch); err != nil {
			return err
		}
		batch.Close()
		batch = m.store.db.NewBatch()
		select {
		case <-stop:
			return sm.ErrSnapshotStopped
		default:
		}
	}
}

// summed writes and sums. After an error it does nothing.
type summed struct {
	w   *bufio.Writer
	sum hash.Hash32
	err error
}

func (s *summed) write(parts ...[]byte) {
	for _, p := range parts {
		if s.err == nil {
			_, s.err = s.w.Write(p)
			s.sum.Write(p)
		}
	}
}

// summedReader reads and sums. After an error it gives zeros.
type summedReader struct {
	r   *bufio.Reader
	sum hash.Hash32
	err error
}

func (s *summedReader) take(n int) []byte {
	b := make([]byte, n)
	if s.err == nil {
		_, s.err = io.ReadFull(s.r, b)
		s.sum.Write(b)
	}
	return b
}

func (s *summedReader) pair() (key, value []byte) {
	head := s.take(6)
	k, v := int(binary.BigEndian.Uint16(head)), int(binary.BigEndian.Uint32(head[2:]))
	if s.err == nil && (k > sequence.MaxKey || v > maxKept) {
		s.err = errors.New("too long")
	}
	if s.err != nil {
		return nil, nil
	}
	return s.take(k), s.take(v)
}

// maxKept is the longest value in the store: a result with a value in it.
const maxKept = sequence.MaxValue + sequence.MaxKey + 64

// end checks count and sum.
func (s *summedReader) end(count uint64) error {
	said := binary.BigEndian.Uint64(s.take(8))
	sum := s.sum.Sum32()
	if got := binary.BigEndian.Uint32(s.take(4)); s.err != nil || said != count || got != sum {
		return ovs.E("arakoon.RecoverFromSnapshot", ovs.KindCorrupt, "end", s.err)
	}
	return nil
}
