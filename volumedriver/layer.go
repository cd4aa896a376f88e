package volumedriver

import (
	"encoding/binary"
	"hash/crc32"

	"ovs"
)

// layer is an adopted layer as its table on the backend tells: the chunks of the file that became this volume. They are
// read where they stand, and checked as docs/format/chunk.md says.
type layer struct {
	ovs.Layer
	chunks []chunk // by piece; Epoch 0: a hole
}

// chunk is what the name of a piece, <inode>/<chunk>-<epoch>-<record>, says: its proofs are made with it.
type chunk struct {
	Object ovs.ObjectID
	N      uint64
	Epoch  ovs.Epoch
	Record ovs.RecordNo
}

func newLayer(l ovs.Layer) (*layer, error) {
	const op = "volumedriver.newLayer"
	if l.Piece == 0 || l.Piece%ovs.ClusterSize != 0 || l.Piece/ovs.ClusterSize > maxUnits || l.Size > ovs.MaxFileSize || uint64(len(l.Names)) > l.Size/l.Piece+1 {
		return nil, ovs.E(op, ovs.KindInvalid, l.Namespace, nil)
	}
	a := &layer{Layer: l, chunks: make([]chunk, len(l.Names))}
	for i, name := range l.Names {
		var c chunk
		if name == "" {
			continue
		}
		if !parse(name, "%x/%x-%x-%x", &c.Object, &c.N, &c.Epoch, &c.Record) || c.Epoch == 0 || c.N != uint64(i) {
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
	text := func() string { return string(d.take(int(min(d.uvarint(), 1<<16)))) }
	l := ovs.Layer{Piece: d.u64(), Size: d.u64(), Last: ovs.RecordNo(d.u64()), Time: int64(d.u64()), Namespace: text()}
	for range d.count(1) {
		l.Names = append(l.Names, text())
	}
	if err := d.end("a layer table"); err != nil {
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

// chunkProof is the trailer of a cluster of a chunk.
func chunkProof(data []byte, cluster uint64, c chunk) (t [trailerSize]byte) {
	var name [32]byte
	binary.BigEndian.PutUint64(name[0:], uint64(c.Object))
	binary.BigEndian.PutUint64(name[8:], cluster)
	binary.BigEndian.PutUint64(name[16:], uint64(c.Epoch))
	binary.BigEndian.PutUint64(name[24:], uint64(c.Record))
	binary.BigEndian.PutUint32(t[0:], crc32.Update(crc32.Checksum(data, castagnoli), castagnoli, name[:]))
	binary.BigEndian.PutUint64(t[8:], cluster)
	return t
}

// checkChunkUnit tells whether a unit of a chunk holds that cluster of the file.
func checkChunkUnit(u []byte, cluster uint64, c chunk) bool {
	return chunkProof(u[:ovs.ClusterSize], cluster, c) == [trailerSize]byte(u[ovs.ClusterSize:unitSize])
}
