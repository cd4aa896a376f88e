package albaproxy

import (
	"context"
	"encoding/binary"
	"errors"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/decode"
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
	d := decode.Of(value)
	var list []dropped
	for d.Left() > 0 {
		f := dropped{disk: d.Uint64(), key: asd.Key{Namespace: ns}}
		f.key.Epoch, f.key.Attempt, f.key.Index = d.Uint64(), d.Uint64(), d.Uint8()
		list = append(list, f)
	}
	return list, nil
}

func leftKey(f dropped) []byte { return keyBytes(idKey(keyLeft, f.disk), f.key) }

func parseLeftKey(key []byte) (dropped, bool) {
	if len(key) != leftKeyLen {
		return dropped{}, false
	}
	d := decode.Of(key[1:])
	return dropped{disk: d.Uint64(), key: asd.Key{Namespace: d.Uint64(), Epoch: d.Uint64(), Attempt: d.Uint64(), Index: d.Uint8()}}, true
}

const discardPage = 50 // entries of the queue that are worked off together

// discardQueue works a group's queue off.
func (p *Proxy) discardQueue(ctx context.Context, g *group) error {
	o := ovs.RangeOptions{From: []byte{keyDiscard}, To: []byte{keyDiscard + 1}, Limit: discardPage}
	var errs []error
	for {
		page, err := g.reg.Range(ctx, o)
		if err != nil || len(page) == 0 || ctx.Err() != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, p.discardEntries(ctx, g, page))
		o.From = append(page[len(page)-1].Key, 0)
	}
}

// discardEntries deletes the fragments of some entries, then the entries. What belongs to an ASD that is not in use, or
// that fails, is written down for later.
func (p *Proxy) discardEntries(ctx context.Context, g *group, page []ovs.Pair) error {
	byDisk := map[uint64][]asd.Key{}
	for _, pair := range page {
		list, err := decodeDropped(pair.Key, pair.Value)
		if err != nil {
			return err
		}
		for _, f := range list {
			byDisk[f.disk] = append(byDisk[f.disk], f.key)
		}
	}
	updates := make([]ovs.Update, 0, len(page))
	for _, pair := range page {
		updates = append(updates, ovs.DeletePrefix(pair.Key))
	}
	var errs []error
	for id, keys := range byDisk {
		if d := p.byID[id]; d != nil {
			err := d.Delete(ctx, keys...)
			if err == nil {
				continue
			}
			errs = append(errs, err)
		}
		for _, k := range keys {
			updates = append(updates, ovs.Set(leftKey(dropped{id, k}), []byte{}))
		}
	}
	_, err := g.reg.Sequence(ctx, updates...)
	return errors.Join(append(errs, err)...)
}

// discardLeft deletes what was written down for the ASDs in use.
func (p *Proxy) discardLeft(ctx context.Context, g *group) error {
	var errs []error
	for _, d := range p.disks {
		errs = append(errs, discardLeftOf(ctx, g, d))
	}
	return errors.Join(errs...)
}

func discardLeftOf(ctx context.Context, g *group, d *disk) error {
	prefix := idKey(keyLeft, d.id)
	for {
		page, err := g.reg.Range(ctx, ovs.RangeOptions{From: prefix, To: ovs.PrefixEnd(prefix), Limit: discardPage})
		if err != nil || len(page) == 0 {
			return err
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
