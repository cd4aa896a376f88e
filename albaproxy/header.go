package albaproxy

import (
	"encoding/binary"

	"ovs"
	"ovs/albaproxy/asd"
)

// header stands at the front of each fragment and says all that is needed to rebuild the object from its fragments alone.
// Fragments with equal content of everything but key and index go together. docs/format/fragment.md describes its bytes.
type header struct {
	key       asd.Key
	k, m      int
	codec     codec
	unit      uint32
	size      uint64 // bytes in the object
	checksum  uint32 // CRC32C of the object
	stored    uint64 // bytes in the stored stream
	storedSum uint32 // CRC32C of the stored stream
	table     uint32 // bytes of the block table at the stream's end
	namespace string
	name      string
}

const (
	headerSize    = 1024
	headerVersion = 1
)

var headerMagic = []byte("OVSFRAG")

// put writes the header over the first headerSize bytes of b.
func (h *header) put(b []byte) {
	w := append(b[:0], headerMagic...)
	w = append(w, headerVersion)
	w = keyBytes(w, h.key)
	w = append(w, byte(h.k), byte(h.m), byte(h.codec))
	w = binary.BigEndian.AppendUint32(w, h.unit)
	w = binary.BigEndian.AppendUint64(w, h.size)
	w = binary.BigEndian.AppendUint32(w, h.checksum)
	w = binary.BigEndian.AppendUint64(w, h.stored)
	w = binary.BigEndian.AppendUint32(w, h.storedSum)
	w = binary.BigEndian.AppendUint32(w, h.table)
	for _, s := range []string{h.namespace, h.name} {
		w = append(w, byte(len(s)))
		w = append(w, s...)
	}
	end := headerSize - crcSize
	clear(b[len(w):end])
	binary.BigEndian.PutUint32(b[end:], checksum(b[:end]))
}

// decodeHeader reads a header. KindCorrupt: it is none.
func decodeHeader(b []byte) (header, error) {
	const op = "albaproxy.decodeHeader"
	end := headerSize - crcSize
	if len(b) < headerSize || checksum(b[:end]) != binary.BigEndian.Uint32(b[end:]) {
		return header{}, ovs.E(op, ovs.KindCorrupt, nil, errChecksum)
	}
	if string(b[:len(headerMagic)]) != string(headerMagic) {
		return header{}, ovs.E(op, ovs.KindCorrupt, nil, errMalformed)
	}
	if b[len(headerMagic)] != headerVersion {
		return header{}, ovs.E(op, ovs.KindNotSupported, nil, errVersion)
	}
	d := decoder{b: b[len(headerMagic)+1 : end]}
	h := header{
		key: asd.Key{Namespace: d.uint64(), Epoch: d.uint64(), Attempt: d.uint64(), Index: d.byte()},
		k:   int(d.byte()), m: int(d.byte()), codec: codec(d.byte()), unit: d.uint32(),
		size: d.uint64(), checksum: d.uint32(), stored: d.uint64(), storedSum: d.uint32(), table: d.uint32(),
	}
	h.namespace = string(d.take(uint64(d.byte())))
	h.name = string(d.take(uint64(d.byte())))
	for _, c := range d.b {
		d.bad = d.bad || c != 0
	}
	if d.bad {
		return header{}, ovs.E(op, ovs.KindCorrupt, nil, errMalformed)
	}
	return h, nil
}
