package volumedriver

import (
	"testing"

	"ovs"
)

func loaded(i uint32) (*stretch, *segment) {
	s := &segment{}
	s.add(0, stretchClusters, locate(0, 1, 1))
	return newStretch(segmentRef{Stretch: i, SCO: 1, Epoch: 1, Runs: 1, Mapped: s.mapped}), s
}

// A segment that a reader brings when a checkpoint has replaced it, or its volume was closed, takes no memory.
func TestLateSegmentIsNotKept(t *testing.T) {
	b := NewBudget(1 << 20)
	st, seg := loaded(1)
	b.drop(st)
	b.admit(st, seg)
	if _, clean := b.Use(); clean != 0 || st.seg.Load() != nil {
		t.Errorf("%d bytes are kept", clean)
	}
}

// A volume with very many segments in memory is closed in no time.
func TestDropOfManyIsCheap(t *testing.T) {
	b := NewBudget(1 << 30)
	m := volumeMap{budget: b, stretches: map[uint32]*stretch{}}
	for i := range uint32(ovs.MaxFileSize / ovs.ClusterSize / stretchClusters) {
		st, seg := loaded(i)
		m.stretches[i] = st
		b.admit(st, seg)
	}
	m.close()
	if _, clean := b.Use(); clean != 0 || len(b.ring) != 0 {
		t.Errorf("%d bytes, %d segments are left", clean, len(b.ring))
	}
}
