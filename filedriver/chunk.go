package filedriver

import (
	"ovs"
	"ovs/internal/unit"
)

// chunkClusters is how many clusters a chunk holds.
const chunkClusters = chunkSize / ovs.ClusterSize

// of is chunk n of file id, as the backend names it.
func (c chunk) of(id ovs.ObjectID, n int) unit.Chunk {
	return unit.Chunk{Object: id, N: uint64(n), Epoch: c.epoch, Record: c.record}
}

// encodeChunk gives the object for the content of a chunk, nil where the content is all zeros: its clusters with their
// proofs, zero clusters at its end left out (docs/format/chunk.md).
func encodeChunk(content []byte, c unit.Chunk) []byte {
	for len(content) > 0 && content[len(content)-1] == 0 {
		content = content[:len(content)-1]
	}
	if len(content) == 0 {
		return nil
	}
	clusters := (len(content) + ovs.ClusterSize - 1) / ovs.ClusterSize
	out := make([]byte, clusters*unit.Size)
	for i := range clusters {
		u, at := out[i*unit.Size:], c.N*chunkClusters+uint64(i)
		copy(u[:ovs.ClusterSize], content[i*ovs.ClusterSize:])
		unit.Seal(u, c.Of(at), at)
	}
	return out
}
