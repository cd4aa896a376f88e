package albaproxy

import (
	"encoding/binary"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/decode"
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
	d := decode.Of(b[len(headerMagic)+1 : end])
	h := header{
		key: asd.Key{Namespace: d.Uint64(), Epoch: d.Uint64(), Attempt: d.Uint64(), Index: d.Uint8()},
		k:   int(d.Uint8()), m: int(d.Uint8()), codec: codec(d.Uint8()), unit: d.Uint32(),
		size: d.Uint64(), checksum: d.Uint32(), stored: d.Uint64(), storedSum: d.Uint32(), table: d.Uint32(),
	}
	h.namespace = string(d.Take(uint64(d.Uint8())))
	h.name = string(d.Take(uint64(d.Uint8())))
	for _, c := range d.Take(uint64(d.Left())) {
		d.Check(c == 0)
	}
	if err := whole(op, d); err != nil {
		return header{}, err
	}
	return h, nil
}
