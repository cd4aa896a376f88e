package volumedriver

import (
	"encoding/binary"

	"ovs"
	"ovs/internal/unit"
)

// An SCO is a header in whole units of 4,112 bytes, then its clusters, each followed by 16 bytes that prove data, volume,
// address and SCO number: docs/format/sco.md.
// The kinds of a run.
const (
	runData    = 0
	runZero    = 1 // reads as zeros; takes no space
	runDiscard = 2 // the same, and the user gave the range up
)

// run is what an SCO says of a stretch of clusters. The data of its data runs stand in its units in their order.
type run struct {
	Kind       uint8
	Cluster, N uint64
}

// header is the beginning of an SCO.
type header struct {
	Number      ovs.SCONo
	Epoch       ovs.Epoch
	Before      ovs.Epoch    // epoch of SCO Number-1; 0 for the first
	First, Last ovs.RecordNo // the interval of records whose SCOs this is one of
	Part        uint32       // which of them, from 0
	Final       bool         // the last of them: only then the interval counts
	Size        uint64       // of the volume after record Last
	Time        int64        // of record Last
	Units       uint64       // that the header takes; set by encode and decode
	Runs        []run        // by address, without overlap
}

const (
	headerBody = 8*7 + 4 + 1 + 4 // bytes of the body before the runs
	runRoom    = 16              // at most so many bytes for a run: two varints below 2^35 and a kind
)

// headerUnits is how many units a header with that many runs takes at most.
func headerUnits(runs int) int {
	return (frameSize + headerBody + runs*runRoom + unit.Size - 1) / unit.Size
}

// encode gives the header, padded to whole units.
func (h *header) encode(r ovs.Ref) []byte {
	b := newFrame(magicSCO, r, headerBody+len(h.Runs)*runRoom+unit.Size)
	for _, v := range [7]uint64{uint64(h.Number), uint64(h.Epoch), uint64(h.Before), uint64(h.First), uint64(h.Last), h.Size, uint64(h.Time)} {
		b = put64(b, v)
	}
	b = put32(b, h.Part)
	final := byte(0)
	if h.Final {
		final = 1
	}
	b = append(b, final)
	b = put32(b, uint32(len(h.Runs)))
	at := uint64(0)
	for _, x := range h.Runs {
		b = append(b, x.Kind)
		b = binary.AppendUvarint(b, x.Cluster-at)
		b = binary.AppendUvarint(b, x.N)
		at = x.Cluster + x.N
	}
	b = closeFrame(b)
	h.Units = uint64((len(b) + unit.Size - 1) / unit.Size)
	return append(b, make([]byte, int(h.Units)*unit.Size-len(b))...)
}

// decodeHeader verifies the header of an SCO of volume r.
func decodeHeader(r ovs.Ref, b []byte) (*header, error) {
	d, err := openFrame(magicSCO, r, b)
	if err != nil {
		return nil, err
	}
	h := &header{Number: ovs.SCONo(d.Uint64()), Epoch: ovs.Epoch(d.Uint64()), Before: ovs.Epoch(d.Uint64()),
		First: ovs.RecordNo(d.Uint64()), Last: ovs.RecordNo(d.Uint64()), Size: d.Uint64(), Time: int64(d.Uint64()), Part: d.Uint32()}
	final := d.Uint8()
	h.Final = final == 1
	h.Units = uint64((frameLength(b, magicSCO) + unit.Size - 1) / unit.Size)
	units, at := h.Units, uint64(0)
	for range count(d, 3) {
		x := run{Kind: d.Uint8(), Cluster: at + d.Uvarint(), N: d.Uvarint()}
		if x.Cluster < at || x.N == 0 || x.Cluster > maxClusters || x.N > maxClusters-x.Cluster || x.Kind > runDiscard {
			return nil, corrupt("run %d+%d of SCO %d", x.Cluster, x.N, h.Number)
		}
		if x.Kind == runData {
			units += x.N
		}
		at = x.Cluster + x.N
		h.Runs = append(h.Runs, x)
	}
	if err := end(d, "the header of an SCO"); err != nil {
		return nil, err
	}
	if final > 1 || units > maxUnits || h.Number == 0 || h.Number > maxSCO || h.Epoch == 0 || h.First == 0 || h.Last < h.First || h.Size > ovs.MaxFileSize {
		return nil, corrupt("the header of SCO %d", h.Number)
	}
	return h, nil
}

// each calls f for the runs with the location of their first cluster.
func (h *header) each(f func(cluster, n uint64, l Location)) {
	at := h.Units
	for _, x := range h.Runs {
		if x.Kind != runData {
			f(x.Cluster, x.N, hole)
			continue
		}
		f(x.Cluster, x.N, locate(0, at, uint64(h.Number)))
		at += x.N
	}
}

// scoUnit names a cluster of an SCO, for its proof.
func scoUnit(r ovs.Ref, cluster uint64, n ovs.SCONo) unit.Name {
	return unit.Name{uint64(r.Pool), uint64(r.Object), cluster, uint64(n)}
}
