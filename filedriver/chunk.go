package filedriver

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"ovs"
)

// On the backend a chunk is its clusters, each followed by a trailer that proves the bytes, the file, the place and the
// flush that made them (docs/format/chunk.md). Zero clusters at its end are left out.
const (
	trailerSize = 16
	unit        = ovs.ClusterSize + trailerSize
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func chunkPrefix(id ovs.ObjectID) string { return fmt.Sprintf("%x/", uint64(id)) }

func chunkName(id ovs.ObjectID, n int, c chunk) string {
	return fmt.Sprintf("%s%x-%x-%x", chunkPrefix(id), n, uint64(c.epoch), uint64(c.record))
}

// trailer proves that data is cluster number at of file id as flush c left it.
func trailer(data []byte, id ovs.ObjectID, at uint64, c chunk) (t [trailerSize]byte) {
	var name [32]byte
	binary.BigEndian.PutUint64(name[0:], uint64(id))
	binary.BigEndian.PutUint64(name[8:], at)
	binary.BigEndian.PutUint64(name[16:], uint64(c.epoch))
	binary.BigEndian.PutUint64(name[24:], uint64(c.record))
	binary.BigEndian.PutUint32(t[0:], crc32.Update(crc32.Checksum(data, castagnoli), castagnoli, name[:]))
	binary.BigEndian.PutUint64(t[8:], at)
	return t
}

// encodeChunk gives the object for the content of chunk n, nil where the content is all zeros.
func encodeChunk(content []byte, id ovs.ObjectID, n int, c chunk) []byte {
	clusters := (len(content) + ovs.ClusterSize - 1) / ovs.ClusterSize
	var pad [ovs.ClusterSize]byte
	cluster := func(i int) []byte {
		b := content[i*ovs.ClusterSize:]
		if len(b) >= ovs.ClusterSize {
			return b[:ovs.ClusterSize]
		}
		clear(pad[copy(pad[:], b):])
		return pad[:]
	}
	for clusters > 0 && allZero(cluster(clusters-1)) {
		clusters--
	}
	if clusters == 0 {
		return nil
	}
	out := make([]byte, 0, clusters*unit)
	first := uint64(n) * chunkSize / ovs.ClusterSize
	for i := range clusters {
		data := cluster(i)
		t := trailer(data, id, first+uint64(i), c)
		out = append(append(out, data...), t[:]...)
	}
	return out
}

// checkCluster verifies one cluster with its trailer and gives the data.
func checkCluster(b []byte, id ovs.ObjectID, at uint64, c chunk) ([]byte, error) {
	data := b[:ovs.ClusterSize]
	if t := trailer(data, id, at, c); string(t[:]) != string(b[ovs.ClusterSize:unit]) {
		return nil, ovs.E("filedriver.checkCluster", ovs.KindCorrupt, id, fmt.Errorf("cluster %d of chunk %x-%x does not carry its proof", at, uint64(c.epoch), uint64(c.record)))
	}
	return data, nil
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
