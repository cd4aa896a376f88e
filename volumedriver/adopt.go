package volumedriver

import (
	"context"
	"time"

	"ovs"
)

// adoptTimeout bounds an Adopt: a layer table, a segment per 256 MiB and a root are put.
const adoptTimeout = time.Minute

// Adopt implements ovs.Adopter: it puts a map that names the layer's pieces where they stand, and gives the updates that
// make the object a volume: all records of the driver before go. They belong in one sequence after that driver's own
// updates. The volume is served by a Recover afterwards. Its first SCO and all that is written later are its own; the pieces
// stay where they are, until the driver that made them drops the object.
func (d *Driver) Adopt(c ovs.Claim, l ovs.Layer) ([]ovs.Update, error) {
	const op, slot = "volumedriver.Adopt", 1
	a, err := newLayer(l)
	if err != nil {
		return nil, err
	}
	v := d.newVolume(c)
	defer v.abandon()
	ctx, cancel := context.WithTimeout(v.ctx, adoptTimeout)
	defer cancel()
	body := a.encode(c.Ref)
	v.layers[slot] = a
	v.flush.layers = []layerRef{{slot, c.Epoch, uint32(len(body))}}
	v.m.apply(false, func(set func(cluster, n uint64, loc Location)) { a.each(slot, set) })
	if err := v.store(ctx, layerName(slot, c.Epoch), body, ovs.PutOptions{Unit: ovs.ClusterSize, Compress: true}); err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, c.Ref, err)
	}
	h, _, err := v.makeRoot(ctx, state{SCO: 0, Record: l.Last, Size: l.Size, Time: l.Time})
	if err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, c.Ref, err)
	}
	key := ovs.HeadKey(c.Object)
	return []ovs.Update{ovs.DeletePrefix(key), ovs.Set(key, h.encode())}, nil
}
