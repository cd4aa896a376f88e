package albaproxy

import (
	"context"
	"encoding/binary"
	"errors"

	"go.uber.org/zap"

	"ovs"
	"ovs/albaproxy/asd"
)

const asdVersion = 1

// encodeASD is the record of an ASD: what a later start must be newer than, and where the disk is.
func encodeASD(i asd.Identity) []byte {
	b := binary.BigEndian.AppendUint64([]byte{asdVersion}, i.Start)
	return sealed(binary.BigEndian.AppendUint64(b, uint64(i.Node)))
}

func decodeASD(b []byte) (start uint64, node ovs.NodeID, err error) {
	const op = "albaproxy.decodeASD"
	d, err := unsealed(op, b, asdVersion)
	if err != nil {
		return 0, 0, err
	}
	start, node = d.Uint64(), ovs.NodeID(d.Uint64())
	return start, node, whole(op, d)
}

// claim takes the configured ASDs into use, as far as they are the ones that the ABM group knows.
func (p *Proxy) claim(ctx context.Context) error {
	for _, a := range p.cfg.ASDs {
		i := a.Identity()
		if p.byID[i.ID] != nil {
			p.leaveOut(i, errors.New("another ASD has the same identity: one of the two is a copy"))
			continue
		}
		ok, err := p.claimOne(ctx, a, i)
		if err != nil {
			return ovs.E("albaproxy.Open", ovs.KindUnknown, i.ID, err)
		}
		if ok {
			d := &disk{ASD: a, id: i.ID, node: i.Node, running: &p.running}
			p.byID[i.ID] = d
			p.disks = append(p.disks, d)
		}
	}
	return nil
}

func (p *Proxy) leaveOut(i asd.Identity, why error) {
	p.leftOut = append(p.leftOut, LeftOut{i.ID, why.Error()})
	p.log.Error("ASD is left out, its fragments count as lost", zap.Uint64("asd", i.ID), zap.Uint64("start", i.Start), zap.Error(why))
}

func (p *Proxy) claimOne(ctx context.Context, a asd.ASD, i asd.Identity) (ok bool, err error) {
	key := p.abmID(keyASD, i.ID)
	for range maxTries {
		current, err := p.cfg.ABM.Get(ctx, key)
		switch {
		case ovs.Is(err, ovs.KindNotFound):
			held, err := a.List(ctx, asd.Key{}, asd.Key{Namespace: ^uint64(0)}, 1)
			if err != nil {
				p.leaveOut(i, err)
				return false, nil
			}
			if len(held) > 0 {
				p.leaveOut(i, errors.New("it holds fragments but is unknown here: it belongs to another backend"))
				return false, nil
			}
			current = nil
		case err != nil:
			return false, err
		default:
			start, _, err := decodeASD(current)
			if err != nil {
				return false, err
			}
			if i.Start <= start {
				p.leaveOut(i, errors.New("its start number is not newer than the last one known: the disk was reverted, or is a copy"))
				return false, nil
			}
		}
		_, err = p.cfg.ABM.Sequence(ctx, ovs.TestAndSet(key, current, encodeASD(i)))
		if err == nil {
			return true, nil
		}
		if !ovs.Is(err, ovs.KindConflict) {
			return false, err
		}
	}
	return false, ovs.E("albaproxy.claim", ovs.KindBusy, i.ID, nil)
}
