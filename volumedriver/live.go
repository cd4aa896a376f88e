package volumedriver

import (
	"context"
	"encoding/binary"

	"go.uber.org/zap"

	"ovs"
)

// live says of each SCO that may stand on the backend how many clusters the map reaches in it. It goes with a root, as
// live/<n>-<epoch>, and says what of the SCOs up to the watermark may go when the head names that root: those that nothing is
// reached in. It is read and put by checkpoints alone, and not kept in memory. docs/format/map.md.
type live struct {
	pages map[uint64]*livePage // by SCO number / livePageSCOs
	wrong bool                 // it does not fit the map: nothing goes by it
}

const (
	livePageSCOs = 512
	livePageSize = 8 + 2*livePageSCOs // bytes on the backend
)

// livePage is 512 SCOs: 0: there is none; else 1 + its clusters that are reached.
type livePage [livePageSCOs]uint16

func newLive() *live { return &live{pages: map[uint64]*livePage{}} }

// at is what the table says of an SCO.
func (t *live) at(n ovs.SCONo) uint16 {
	if p := t.pages[uint64(n)/livePageSCOs]; p != nil {
		return p[n%livePageSCOs]
	}
	return 0
}

// stands adds an SCO in which nothing is reached, unless it is there.
func (t *live) stands(n ovs.SCONo) {
	i := uint64(n) / livePageSCOs
	if t.pages[i] == nil {
		t.pages[i] = new(livePage)
	}
	if x := &t.pages[i][n%livePageSCOs]; *x == 0 {
		*x = 1
	}
}

// move notes that the map reaches so many clusters more in what l names, or fewer. Adopted layers and holes are not counted.
func (t *live) move(l Location, clusters int) {
	if l == hole || l.slot() != 0 {
		return
	}
	was := t.at(ovs.SCONo(l.number()))
	now := int(was) + clusters
	if was == 0 || now < 1 || now > maxUnits {
		t.wrong = true
		return
	}
	t.pages[l.number()/livePageSCOs][l.number()%livePageSCOs] = uint16(now)
}

// dead is the SCOs in which nothing is reached.
func (t *live) dead() (list []ovs.SCONo) {
	for _, i := range sortedKeys(t.pages) {
		for k, x := range t.pages[i] {
			if x == 1 {
				list = append(list, ovs.SCONo(i*livePageSCOs+uint64(k)))
			}
		}
	}
	return list
}

// forgetDead takes out the SCOs that were deleted.
func (t *live) forgetDead() {
	for i, p := range t.pages {
		empty := true
		for k, x := range p {
			if x == 1 {
				p[k] = 0
			}
			empty = empty && x <= 1
		}
		if empty {
			delete(t.pages, i)
		}
	}
}

func (t *live) encode(r ovs.Ref) []byte {
	b := newFrame(magicLive, r, 4+len(t.pages)*livePageSize)
	b = put32(b, uint32(len(t.pages)))
	for _, i := range sortedKeys(t.pages) {
		b = put64(b, i)
		for _, x := range t.pages[i] {
			b = binary.BigEndian.AppendUint16(b, x)
		}
	}
	return closeFrame(b)
}

func decodeLive(r ovs.Ref, b []byte) (*live, error) {
	d, err := openFrame(magicLive, r, b)
	if err != nil {
		return nil, err
	}
	t, least := newLive(), uint64(0)
	for range count(d, livePageSize) {
		i, p := d.Uint64(), new(livePage)
		for k := range p {
			p[k] = d.Uint16()
			if p[k] > maxUnits {
				return nil, corrupt("%d clusters of an SCO", p[k]-1)
			}
		}
		if i < least || i > uint64(maxSCO)/livePageSCOs {
			return nil, corrupt("page %d of the counts of SCOs", i)
		}
		t.pages[i], least = p, i+1
	}
	return t, end(d, "the counts of SCOs")
}

// liveBefore is the counts that go with the root that the head names. Where they are missing or wrong the map is counted; SCOs
// in which nothing is reached stay unknown then, and on the backend. gate is held.
func (v *volume) liveBefore(ctx context.Context) (t *live, err error) {
	f := &v.flush
	err = v.insist(ctx, "the counts of SCOs cannot be read", func() (err error) {
		if f.live == 0 {
			t, err = v.countLive(ctx)
			return err
		}
		once, cancel := context.WithTimeout(ctx, ioTimeout)
		defer cancel()
		name := liveName(f.head.RootSCO, f.head.RootEpoch)
		b, err := v.d.get(once, v.ns, name, int(f.live))
		if err == nil {
			t, err = decodeLive(v.claim.Ref, b)
		}
		if ovs.Is(err, ovs.KindNotFound) || ovs.Is(err, ovs.KindCorrupt) {
			v.zap.Error("the counts of SCOs are lost: the map is counted anew, dead SCOs up to here stay", zap.String("object", name), zap.Error(err))
			t, err = v.countLive(ctx)
		}
		return err
	})
	return t, err
}

// countLive counts the whole map of the root that the head names.
func (v *volume) countLive(ctx context.Context) (*live, error) {
	v.m.mu.RLock()
	all := make([]*stretch, 0, len(v.m.stretches))
	for _, st := range v.m.stretches {
		all = append(all, st)
	}
	v.m.mu.RUnlock()
	t := newLive()
	for _, st := range all {
		seg := st.seg.Load()
		if seg == nil {
			var err error
			if seg, err = v.fetchSegment(ctx, st); err != nil {
				return nil, err
			}
		}
		for from := uint64(0); from < stretchClusters; {
			l, n := seg.at(from)
			if l != hole && l.slot() == 0 {
				t.stands(ovs.SCONo(l.number()))
			}
			t.move(l, int(n))
			from += n
		}
	}
	return t, nil
}

// deadNames gives the SCOs that nothing reaches once the head names the root that t goes with.
func (v *volume) deadNames(t *live) (names []string) {
	if t.wrong {
		return nil
	}
	for _, n := range t.dead() {
		if e, ok := v.epochOf(n); ok {
			names = append(names, scoName(n, e))
		}
	}
	return names
}
