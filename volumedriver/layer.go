package volumedriver

import (
	"encoding/binary"

	"ovs"
	"ovs/internal/unit"
)

// layer is an adopted layer as its table on the backend tells: the chunks of the file that became this volume. They are
// read where they stand, and checked as docs/format/chunk.md says.
type layer struct {
	ovs.Layer
	chunks []unit.Chunk // by piece; Epoch 0: a hole
}

func newLayer(l ovs.Layer) (*layer, error) {
	const op = "volumedriver.newLayer"
	if l.Piece == 0 || l.Piece%ovs.ClusterSize != 0 || l.Piece/ovs.ClusterSize > maxUnits || l.Size > ovs.MaxFileSize || uint64(len(l.Names)) > l.Size/l.Piece+1 {
		return nil, ovs.E(op, ovs.KindInvalid, l.Namespace, nil)
	}
	a := &layer{Layer: l, chunks: make([]unit.Chunk, len(l.Names))}
	for i, name := range l.Names {
		if name == "" {
			continue
		}
		c, ok := unit.ParseChunk(name)
		if !ok || c.N != uint64(i) {
			return nil, ovs.E(op, ovs.KindInvalid, name, nil)
		}
		a.chunks[i] = c
	}
	return a, nil
}

func (l *layer) encode(r ovs.Ref) []byte {
	b := newFrame(magicLayer, r, 64+len(l.Namespace)+len(l.Names)*40)
	b = put64(put64(put64(put64(b, l.Piece), l.Size), uint64(l.Last)), uint64(l.Time))
	b = append(binary.AppendUvarint(b, uint64(len(l.Namespace))), l.Namespace...)
	b = put32(b, uint32(len(l.Names)))
	for _, n := range l.Names {
		b = append(binary.AppendUvarint(b, uint64(len(n))), n...)
	}
	return closeFrame(b)
}

func decodeLayer(r ovs.Ref, b []byte) (*layer, error) {
	d, err := openFrame(magicLayer, r, b)
	if err != nil {
		return nil, err
	}
	text := func() string { return string(d.Take(d.Uvarint())) }
	l := ovs.Layer{Piece: d.Uint64(), Size: d.Uint64(), Last: ovs.RecordNo(d.Uint64()), Time: int64(d.Uint64()), Namespace: text()}
	for range count(d, 1) {
		l.Names = append(l.Names, text())
	}
	if err := end(d, "a layer table"); err != nil {
		return nil, err
	}
	a, err := newLayer(l)
	if err != nil {
		return nil, corrupt("a layer table: %v", err)
	}
	return a, nil
}

// each calls f for the runs of the layer with the location of their first cluster, holes left out.
func (l *layer) each(slot uint8, f func(cluster, n uint64, loc Location)) {
	per := l.Piece / ovs.ClusterSize
	clusters := (l.Size + ovs.ClusterSize - 1) / ovs.ClusterSize
	for i := range l.chunks {
		if first := uint64(i) * per; l.chunks[i].Epoch != 0 && first < clusters {
			f(first, min(per, clusters-first), locate(slot, 0, uint64(i)))
		}
	}
}
