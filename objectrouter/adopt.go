package objectrouter

import (
	"context"
	"errors"
	"slices"

	"ovs"
)

// adopt makes a volume of n's file, in place: the file is rested, its chunks become the lowest layer of a volume, and one
// sequence swings head, driver and entry. It leaves the object clean, under an epoch of its own: the volume driver takes it
// as it takes any other. The caller is busy with n.
func (r *Router) adopt(ctx context.Context, n *node) error {
	const op = "objectrouter.adopt"
	adopter, ok := r.cfg.Volumes.(ovs.Adopter)
	if !ok {
		return ovs.E(op, ovs.KindTooBig, r.ref(n.id), errors.New("the volume driver adopts no files"))
	}
	s := n.serve.Load()
	if s == nil {
		return ovs.E(op, ovs.KindBusy, r.ref(n.id), nil)
	}
	ctx, cancel := context.WithTimeout(ctx, restLimit)
	defer cancel()
	if err := s.object.Flush(ctx); err != nil { // most of it, while operations go on
		r.yield(n, err)
		return ovs.E(op, ovs.KindUnknown, r.ref(n.id), err)
	}
	var u []ovs.Update
	for try := range maxTries {
		// The gate is closed before the last flush, so that a busy file comes to rest: what it still has under way ends by itself.
		err := n.shut(ctx)
		if err == nil {
			err = s.object.Flush(ctx)
		}
		if err == nil {
			u, err = r.restNow(ctx, n, s, func() error { return nil })
		}
		if err == nil {
			break
		}
		if !ovs.Is(err, ovs.KindBusy) || try == maxTries-1 {
			n.open.Store(true)
			r.yield(n, err)
			return ovs.E(op, ovs.KindUnknown, r.ref(n.id), err)
		}
	}
	defer r.dismiss(n) // a rested object takes no operations, whatever becomes of the rest of this
	layer, err := s.object.Layer()
	if err != nil {
		return ovs.E(op, ovs.KindUnknown, r.ref(n.id), err)
	}
	volume := s.entry
	volume.epoch++
	claim := ovs.Claim{Ref: r.ref(n.id), Epoch: volume.epoch, Entry: ovs.Pair{Key: ownerKey(n.id), Value: volume.encode()}}
	head, err := adopter.Adopt(claim, layer)
	if err != nil {
		return ovs.E(op, ovs.KindUnknown, r.ref(n.id), err)
	}
	// The entry passes through the claim, so that what the driver asserts of it holds.
	own := ownerKey(n.id)
	swing := slices.Concat(u,
		[]ovs.Update{ovs.TestAndSet(own, s.claim.Entry.Value, claim.Entry.Value), ovs.DeletePrefix(ovs.HeadKey(n.id))},
		head,
		[]ovs.Update{
			ovs.Add(inodeKey(n.id), driverAt, int64(driverVolume)-int64(driverFile)),
			ovs.TestAndSet(own, claim.Entry.Value, volume.rest().encode()),
		})
	_, err = r.reg.Sequence(ctx, swing...)
	if err != nil && !undecided(err) {
		return ovs.E(op, ovs.KindUnknown, r.ref(n.id), err)
	}
	return nil // where the outcome is unknown, the entry tells whoever brings the object up
}
