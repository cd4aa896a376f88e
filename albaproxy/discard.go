package albaproxy

import (
	"context"
	"encoding/binary"

	"go.uber.org/zap"

	"ovs"
	"ovs/albaproxy/asd"
)

// dropped is a fragment that a manifest named and no longer does. Its ASD is to delete it.
type dropped struct {
	disk uint64
	key  asd.Key
}

const (
	droppedSize   = 25                    // ASD, epoch, attempt, index; the namespace is in the entry's key
	discardKeyLen = 1 + 8 + 8 + 2         // kind, namespace, command's index, number within the sequence
	leftKeyLen    = 1 + 8 + 8 + 8 + 8 + 1 // kind, ASD, fragment's key
)

// standingFragments are all fragments that stand.
func (m *manifest) standingFragments(ns uint64) (list []dropped) {
	for i, f := range m.fragments {
		if f.disk != 0 {
			list = append(list, dropped{f.disk, m.key(ns, i)})
		}
	}
	return list
}

// discardUpdate queues fragments, in the sequence that takes them out of their manifest. n tells the entries of one
// sequence apart.
func discardUpdate(ns uint64, n int, list []dropped) ovs.Update {
	key := binary.BigEndian.AppendUint16(pairKey(keyDiscard, ns, 0), uint16(n))
	return ovs.SetStamped(key, encodeDropped(list), 9, -1)
}

func encodeDropped(list []dropped) []byte {
	b := make([]byte, 0, len(list)*droppedSize)
	for _, f := range list {
		b = binary.BigEndian.AppendUint64(b, f.disk)
		b = binary.BigEndian.AppendUint64(b, f.key.Epoch)
		b = binary.BigEndian.AppendUint64(b, f.key.Attempt)
		b = append(b, f.key.Index)
	}
	return b
}

// decodeDropped reads an entry of the queue.
func decodeDropped(key, value []byte) ([]dropped, error) {
	const op = "albaproxy.decodeDropped"
	if len(key) != discardKeyLen || len(value)%droppedSize != 0 {
		return nil, ovs.E(op, ovs.KindCorrupt, nil, errMalformed)
	}
	ns := binary.BigEndian.Uint64(key[1:])
	d := decoder{b: value}
	var list []dropped
	for len(d.b) > 0 {
		f := dropped{disk: d.uint64(), key: asd.Key{Namespace: ns}}
		f.key.Epoch, f.key.Attempt, f.key.Index = d.uint64(), d.uint64(), d.byte()
		list = append(list, f)
	}
	return list, nil
}

func leftKey(f dropped) []byte { return keyBytes(idKey(keyLeft, f.disk), f.key) }

func parseLeftKey(key []byte) (dropped, bool) {
	if len(key) != leftKeyLen {
		return dropped{}, false
	}
	d := decoder{b: key[1:]}
	return dropped{disk: d.uint64(), key: asd.Key{Namespace: d.uint64(), Epoch: d.uint64(), Attempt: d.uint64(), Index: d.byte()}}, true
}

const discardPage = 100 // entries of the queue that are worked off together

// discardQueue works a group's queue off.
func (p *Proxy) discardQueue(ctx context.Context, g *group) error {
	o := ovs.RangeOptions{From: []byte{keyDiscard}, To: []byte{keyDiscard + 1}, Limit: discardPage}
	for {
		page, err := g.reg.Range(ctx, o)
		if err != nil || len(page) == 0 {
			return err
		}
		if err := p.discardEntries(ctx, g, page); err != nil {
			return err
		}
		o.From = append(page[len(page)-1].Key, 0)
	}
}

// discardEntries deletes the fragments of some entries, then the entries. What belongs to an ASD that is not in use is
// written down for its return; an entry with an ASD that fails stays.
func (p *Proxy) discardEntries(ctx context.Context, g *group, page []ovs.Pair) error {
	entries := make([][]dropped, len(page))
	byDisk := map[uint64][]asd.Key{}
	for i, pair := range page {
		list, err := decodeDropped(pair.Key, pair.Value)
		if err != nil {
			return err
		}
		entries[i] = list
		for _, f := range list {
			byDisk[f.disk] = append(byDisk[f.disk], f.key)
		}
	}
	stuck := map[uint64]bool{}
	for id, keys := range byDisk {
		if d := p.byID[id]; d != nil {
			if err := d.Delete(ctx, keys...); err != nil {
				stuck[id] = true
				p.log.Warn("fragments cannot be deleted now", zap.Uint64("asd", id), zap.Error(err))
			}
		}
	}
	var updates []ovs.Update
	for i, list := range entries {
		var later []ovs.Update
		for _, f := range list {
			if stuck[f.disk] {
				later = nil
				list = nil
				break
			}
			if p.byID[f.disk] == nil {
				later = append(later, ovs.Set(leftKey(f), []byte{}))
			}
		}
		if list != nil || len(entries[i]) == 0 {
			updates = append(append(updates, later...), ovs.DeletePrefix(page[i].Key))
		}
	}
	if len(updates) == 0 {
		return nil
	}
	_, err := g.reg.Sequence(ctx, updates...)
	return err
}

// discardLeft deletes what was written down for ASDs that are in use again.
func (p *Proxy) discardLeft(ctx context.Context, g *group) error {
	for _, d := range p.disks {
		prefix := idKey(keyLeft, d.id)
		for {
			page, err := g.reg.Range(ctx, ovs.RangeOptions{From: prefix, To: ovs.PrefixEnd(prefix), Limit: discardPage})
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			var keys []asd.Key
			var updates []ovs.Update
			for _, pair := range page {
				if f, ok := parseLeftKey(pair.Key); ok {
					keys = append(keys, f.key)
				}
				updates = append(updates, ovs.DeletePrefix(pair.Key))
			}
			if err := d.Delete(ctx, keys...); err != nil {
				return err
			}
			if _, err := g.reg.Sequence(ctx, updates...); err != nil {
				return err
			}
		}
	}
	return nil
}
