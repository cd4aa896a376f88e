package volumedriver

import (
	"encoding/binary"
	"sort"

	"ovs"
)

// stretchClusters is how much of a volume one segment maps: 256 MiB.
const (
	stretchBits     = 16
	stretchClusters = 1 << stretchBits
)

// segment is the map of one stretch of a volume, immutable: runs of consecutive locations, holes among them, that cover
// it without a gap. docs/format/map.md.
type segment struct {
	starts []uint16 // first cluster of each run, counted from the stretch's; the first is 0
	locs   []Location
	mapped uint32 // clusters that are no holes
}

const segmentRun = 2 + 8 // bytes of a run, on the backend and in memory

func (s *segment) bytes() int64 { return int64(len(s.starts))*segmentRun + 96 }

// at is the location of cluster rel of the stretch, and how many clusters its run goes on from there.
func (s *segment) at(rel uint64) (Location, uint64) {
	i := sort.Search(len(s.starts), func(i int) bool { return uint64(s.starts[i]) > rel }) - 1
	end := uint64(stretchClusters)
	if i+1 < len(s.starts) {
		end = uint64(s.starts[i+1])
	}
	return s.locs[i].Advance(rel - uint64(s.starts[i])), end - rel
}

// add appends clusters from..from+n to a segment that is being made.
func (s *segment) add(from, n uint64, l Location) {
	if l != hole {
		s.mapped += uint32(n)
	}
	if k := len(s.starts) - 1; k >= 0 && s.locs[k].Advance(from-uint64(s.starts[k])) == l {
		return
	}
	s.starts, s.locs = append(s.starts, uint16(from)), append(s.locs, l)
}

// segmentLength is the length of a segment with that many runs on the backend.
func segmentLength(runs uint32) int { return frameSize + 12 + int(runs)*segmentRun }

func (s *segment) encode(r ovs.Ref, stretch uint32) []byte {
	b := newFrame(magicSegment, r, segmentLength(uint32(len(s.starts))))
	b = put32(put32(put32(b, stretch), s.mapped), uint32(len(s.starts)))
	for _, x := range s.starts {
		b = binary.BigEndian.AppendUint16(b, x)
	}
	for _, l := range s.locs {
		b = put64(b, uint64(l))
	}
	return closeFrame(b)
}

func decodeSegment(r ovs.Ref, stretch uint32, b []byte) (*segment, error) {
	d, err := openFrame(magicSegment, r, b)
	if err != nil {
		return nil, err
	}
	of, mapped := d.Uint32(), d.Uint32()
	n := count(d, segmentRun)
	starts, locs := d.Take(uint64(2*n)), d.Take(uint64(8*n))
	if err := end(d, "a segment"); err != nil {
		return nil, err
	}
	s := &segment{starts: make([]uint16, n), locs: make([]Location, n)}
	for i := range n {
		s.starts[i] = binary.BigEndian.Uint16(starts[2*i:])
		s.locs[i] = Location(binary.BigEndian.Uint64(locs[8*i:]))
		if i == 0 && s.starts[0] != 0 || i > 0 && s.starts[i] <= s.starts[i-1] {
			return nil, corrupt("the runs of segment %d do not rise", stretch)
		}
	}
	for i := range n {
		if end := stretchClusters; s.locs[i] != hole {
			if i+1 < n {
				end = int(s.starts[i+1])
			}
			s.mapped += uint32(end - int(s.starts[i]))
		}
	}
	if n == 0 || of != stretch || mapped != s.mapped {
		return nil, corrupt("segment %d", stretch)
	}
	return s, nil
}
