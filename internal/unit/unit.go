/*
Package unit is a cluster with its proof, as SCOs and the chunks of files hold it on the backend, and how those chunks are named.

	┌───────────────── 4096 ─────────────────┬─ 4 ─┬─ 4 ─┬─── 8 ───┐
	│ data                                   │ CRC │  0  │ cluster │      the CRC is over the data and the unit's name
	└────────────────────────────────────────┴─────┴─────┴─────────┘

One ranged read brings data and proof; right data in the wrong place do not pass. docs/format/sco.md, docs/format/chunk.md.
*/
package unit

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"ovs"
)

// Trailer is the bytes of a proof, Size those of a cluster with it.
const (
	Trailer = 16
	Size    = ovs.ClusterSize + Trailer
)

// Name says whose and which a cluster is: of an SCO by volume, cluster and SCO number, of a chunk by Chunk.Of.
type Name [4]uint64

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func proof(data []byte, n Name, cluster uint64) (t [Trailer]byte) {
	var b [32]byte
	for i, v := range n {
		binary.BigEndian.PutUint64(b[8*i:], v)
	}
	binary.BigEndian.PutUint32(t[0:], crc32.Update(crc32.Checksum(data, castagnoli), castagnoli, b[:]))
	binary.BigEndian.PutUint64(t[8:], cluster)
	return t
}

// Seal writes the proof behind the data of a unit.
func Seal(u []byte, n Name, cluster uint64) {
	t := proof(u[:ovs.ClusterSize], n, cluster)
	copy(u[ovs.ClusterSize:Size], t[:])
}

// Check tells whether a unit holds that cluster under that name.
func Check(u []byte, n Name, cluster uint64) bool {
	return proof(u[:ovs.ClusterSize], n, cluster) == [Trailer]byte(u[ovs.ClusterSize:Size])
}

// Chunk is what the name of a file's chunk says: chunk N of the file, as the flush that ended at Record in Epoch left it.
type Chunk struct {
	Object ovs.ObjectID
	N      uint64
	Epoch  ovs.Epoch
	Record ovs.RecordNo
}

// ChunkPrefix is how the names of all chunks of a file begin.
func ChunkPrefix(id ovs.ObjectID) string { return fmt.Sprintf("%x/", uint64(id)) }

// Name is the chunk's name on the backend.
func (c Chunk) Name() string {
	return fmt.Sprintf("%s%x-%x-%x", ChunkPrefix(c.Object), c.N, uint64(c.Epoch), uint64(c.Record))
}

// ParseChunk is the chunk of that name; false where it is none's.
func ParseChunk(name string) (c Chunk, ok bool) {
	n, err := fmt.Sscanf(name, "%x/%x-%x-%x", &c.Object, &c.N, &c.Epoch, &c.Record)
	return c, err == nil && n == 4 && c.Epoch != 0 && c.Name() == name
}

// Of names a cluster of the chunk, counted from the file's first.
func (c Chunk) Of(cluster uint64) Name {
	return Name{uint64(c.Object), cluster, uint64(c.Epoch), uint64(c.Record)}
}
