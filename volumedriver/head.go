package volumedriver

import (
	"encoding/binary"
	"hash/crc32"

	"ovs"
	"ovs/internal/decode"
)

// head is the one mutable thing of a volume: a record in Raft under ovs.HeadKey, changed by compare-and-set.
// docs/format/head-volume.md.
type head struct {
	RootSCO    ovs.SCONo // the newest root: its watermark, epoch and length in bytes; epoch 0: there is none
	RootEpoch  ovs.Epoch
	RootLength uint32
	Record     ovs.RecordNo // complete up to this record at the watermark
	Size       uint64       // at the last change of the head; what came later stands in SCO headers and the log
	Time       int64
	Closed     lineage // epochs closed since that root was made
}

const headVersion = 1

func (h *head) encode() []byte {
	b := []byte{headVersion}
	b = put64(put64(put32(b, h.RootLength), uint64(h.RootSCO)), uint64(h.RootEpoch))
	b = put64(put64(put64(b, uint64(h.Record)), h.Size), uint64(h.Time))
	b = h.Closed.append(b)
	return put32(b, crc32.Checksum(b, castagnoli))
}

func decodeHead(b []byte) (*head, error) {
	if len(b) < 5 {
		return nil, corrupt("a head of %d bytes", len(b))
	}
	if b[0] != headVersion {
		return nil, ovs.E("volumedriver.decode", ovs.KindNotSupported, nil, corrupt("version %d of a head", b[0]))
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, corrupt("the checksum of a head is wrong")
	}
	d := decode.Of(body[1:])
	h := &head{RootLength: d.Uint32(), RootSCO: ovs.SCONo(d.Uint64()), RootEpoch: ovs.Epoch(d.Uint64()), Record: ovs.RecordNo(d.Uint64()),
		Size: d.Uint64(), Time: int64(d.Uint64()), Closed: readLineage(d)}
	if err := end(d, "a head"); err != nil {
		return nil, err
	}
	if err := h.Closed.check(); err != nil {
		return nil, err
	}
	return h, nil
}
