package albaproxy

import (
	"encoding/binary"

	"ovs"
	"ovs/albaproxy/asd"
)

// manifest is what the NSM group knows of an object. It is replaced as a whole, by compare-and-set, and only to name other
// fragments or another policy: content, size and checksum never change. docs/format/manifest.md describes its bytes.
type manifest struct {
	size     uint64 // bytes in the object
	checksum uint32 // CRC32C of the object
	codec    codec
	layout
	table     []block // codecBlocks only
	fragments []place // k + m of them
}

// place is where a fragment stands.
type place struct {
	disk    uint64 // the ASD's id; 0: the fragment does not stand
	epoch   uint64 // with attempt, the fragment's key
	attempt uint64
}

const manifestVersion = 1

func (m *manifest) key(ns uint64, i int) asd.Key {
	f := m.fragments[i]
	return asd.Key{Namespace: ns, Epoch: f.epoch, Attempt: f.attempt, Index: uint8(i)}
}

// standing is how many fragments stand.
func (m *manifest) standing() (n int) {
	for _, f := range m.fragments {
		if f.disk != 0 {
			n++
		}
	}
	return n
}

// same tells whether two manifests are of the same content.
func (m *manifest) same(size uint64, checksum uint32) bool {
	return m.size == size && m.checksum == checksum
}

func (m *manifest) encode() []byte {
	b := []byte{manifestVersion}
	b = binary.AppendUvarint(b, m.size)
	b = binary.BigEndian.AppendUint32(b, m.checksum)
	b = append(b, byte(m.codec), 0) // 0 bytes of seal
	b = append(b, byte(m.k), byte(m.m))
	b = binary.AppendUvarint(b, uint64(m.unit))
	b = binary.AppendUvarint(b, m.stored)
	if m.codec == codecBlocks {
		table := encodeTable(m.table)
		b = binary.AppendUvarint(b, uint64(len(table)))
		b = append(b, table...)
	}
	for _, f := range m.fragments {
		b = binary.BigEndian.AppendUint64(b, f.disk)
		if f.disk != 0 {
			b = binary.AppendUvarint(b, f.epoch)
			b = binary.BigEndian.AppendUint64(b, f.attempt)
		}
	}
	return sealed(b)
}

// decodeManifest reads a manifest and checks all that a reader relies on. KindCorrupt: it is none; KindNotSupported: of a
// newer version, or sealed.
func decodeManifest(b []byte) (*manifest, error) {
	const op = "albaproxy.decodeManifest"
	d, err := unsealed(op, b, manifestVersion)
	if err != nil {
		return nil, err
	}
	m := &manifest{size: d.Uvarint(), checksum: d.Uint32(), codec: codec(d.Uint8())}
	if seal := d.Uint8(); seal != 0 || m.codec > codecBlocks {
		return nil, ovs.E(op, ovs.KindNotSupported, nil, errVersion)
	}
	m.k, m.m = int(d.Uint8()), int(d.Uint8())
	unit := d.Uvarint()
	m.unit, m.stored = uint32(unit), d.Uvarint()
	d.Check(m.size <= MaxObject && unit >= minUnit && unit <= maxUnit && m.k >= 1 && m.n() <= maxFragments && m.stored <= 2*MaxObject)
	if m.codec == codecBlocks {
		if m.table, err = decodeTable(d.Take(d.Uvarint())); err != nil {
			return nil, err
		}
		d.Check(m.tableFits())
	} else {
		d.Check(m.stored == m.size)
	}
	if d.Bad() {
		return nil, ovs.E(op, ovs.KindCorrupt, nil, errMalformed)
	}
	m.fragments = make([]place, m.n())
	for i := range m.fragments {
		f := &m.fragments[i]
		if f.disk = d.Uint64(); f.disk != 0 {
			f.epoch, f.attempt = d.Uvarint(), d.Uint64()
		}
	}
	return m, whole(op, d)
}

// tableFits tells whether the table covers the object and lies in the stored stream.
func (m *manifest) tableFits() bool {
	n := uint64(len(m.table))
	if n != (m.size+blockSize-1)/blockSize {
		return false
	}
	end := uint64(0)
	if n > 0 {
		end = m.table[n-1].offset + uint64(m.table[n-1].stored)
	}
	return end <= m.stored
}

// weight is about how much memory a manifest takes, in bytes.
func (m *manifest) weight() uint32 { return uint32(160 + 24*len(m.fragments) + 16*len(m.table)) }
