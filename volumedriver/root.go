package volumedriver

import (
	"ovs"
)

// root is the whole map of a volume at one moment: which segment maps each stretch, and all that is needed to read them
// right with nothing but the backend. docs/format/map.md.
type root struct {
	SCO      ovs.SCONo // watermark: the SCOs up to it are in the segments
	Epoch    ovs.Epoch
	Record   ovs.RecordNo // complete up to this record
	Size     uint64
	Time     int64
	Lineage  lineage      // all closed epochs
	Layers   []layerRef   // of the layer table
	Segments []segmentRef // by stretch
	Live     uint32       // length of the counts that go with it (live.go), in bytes; 0: there are none
}

// layerRef names an adopted layer's table.
type layerRef struct {
	Slot   uint8
	Epoch  ovs.Epoch // of the one who put the table
	Length uint32    // of the table, in bytes
}

// segmentRef names a segment.
type segmentRef struct {
	Stretch uint32
	SCO     ovs.SCONo // watermark of the root for which it was made
	Epoch   ovs.Epoch
	Runs    uint32
	Mapped  uint32 // clusters
}

func (s *segmentRef) name() string { return segmentName(s.Stretch, s.SCO, s.Epoch) }

func (o *root) encode(r ovs.Ref) []byte {
	b := newFrame(magicRoot, r, 100+len(o.Lineage)*lineageEntry+len(o.Segments)*28)
	b = put64(put64(put64(b, uint64(o.SCO)), uint64(o.Epoch)), uint64(o.Record))
	b = put64(put64(b, o.Size), uint64(o.Time))
	b = o.Lineage.append(b)
	b = put32(b, uint32(len(o.Layers)))
	for _, l := range o.Layers {
		b = put32(put64(append(b, l.Slot), uint64(l.Epoch)), l.Length)
	}
	b = put32(b, uint32(len(o.Segments)))
	for _, s := range o.Segments {
		b = put64(put64(put32(b, s.Stretch), uint64(s.SCO)), uint64(s.Epoch))
		b = put32(put32(b, s.Runs), s.Mapped)
	}
	b = put32(b, o.Live)
	return closeFrame(b)
}

func decodeRoot(r ovs.Ref, b []byte) (*root, error) {
	d, err := openFrame(magicRoot, r, b)
	if err != nil {
		return nil, err
	}
	o := &root{SCO: ovs.SCONo(d.Uint64()), Epoch: ovs.Epoch(d.Uint64()), Record: ovs.RecordNo(d.Uint64()), Size: d.Uint64(), Time: int64(d.Uint64()), Lineage: readLineage(d)}
	for range count(d, 13) {
		o.Layers = append(o.Layers, layerRef{d.Uint8(), ovs.Epoch(d.Uint64()), d.Uint32()})
	}
	for range count(d, 28) {
		o.Segments = append(o.Segments, segmentRef{d.Uint32(), ovs.SCONo(d.Uint64()), ovs.Epoch(d.Uint64()), d.Uint32(), d.Uint32()})
	}
	if d.Left() > 0 { // those of an adopted file's volume and of earlier versions have none
		o.Live = d.Uint32()
	}
	if err := end(d, "a root"); err != nil {
		return nil, err
	}
	if err := o.Lineage.check(); err != nil {
		return nil, err
	}
	for i := range o.Segments {
		s := &o.Segments[i]
		if i > 0 && s.Stretch <= o.Segments[i-1].Stretch || s.Runs == 0 || s.Runs > stretchClusters || s.Mapped > stretchClusters || s.Stretch >= maxClusters/stretchClusters {
			return nil, corrupt("segment %d of a root", s.Stretch)
		}
	}
	for i, l := range o.Layers {
		if l.Slot == 0 || i > 0 && l.Slot <= o.Layers[i-1].Slot {
			return nil, corrupt("layer slot %d of a root", l.Slot)
		}
	}
	return o, nil
}
