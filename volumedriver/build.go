package volumedriver

import (
	"bytes"
	"context"

	"ovs"
	"ovs/internal/pace"
	"ovs/internal/tail"
	"ovs/internal/unit"
)

// builder makes the SCOs of one interval of records: whole clusters in the order of their addresses, zeros as runs.
type builder struct {
	v    *volume
	s    *tail.Sealed
	at   uint64 // the next cluster to look at
	part uint32
	exts []ext
	next int // index in exts: the first that ends after cluster at
}

// ext is one extent of the interval, in bytes.
type ext struct {
	off, n uint64
	e      tail.Extent
}

func newBuilder(v *volume, s *tail.Sealed) *builder {
	b := &builder{v: v, s: s}
	s.Each(func(off, n uint64, e tail.Extent) bool {
		b.exts = append(b.exts, ext{off, n, e})
		return true
	})
	return b
}

// sco is one SCO on its way to the backend. What it holds is settled: a retry puts the same bytes.
type sco struct {
	h    *header
	buf  *[]byte // the driver's; given back when it is put
	body []byte  // header and clusters, in buf
}

// seek moves to the next cluster that the interval touches; false at the end.
func (b *builder) seek() bool {
	for b.next < len(b.exts) && b.exts[b.next].off+b.exts[b.next].n <= b.at*ovs.ClusterSize {
		b.next++
	}
	if b.next == len(b.exts) {
		return false
	}
	b.at = max(b.at, b.exts[b.next].off/ovs.ClusterSize)
	return true
}

// sco makes the next SCO, number n, into buf. On an error the builder stands where it stood.
func (b *builder) sco(ctx context.Context, n ovs.SCONo, buf *[]byte) (*sco, error) {
	v, at, next := b.v, b.at, b.next
	most := v.d.clusters
	lead := headerUnits(most + extraRuns)
	h := &header{Number: n, Epoch: v.claim.Epoch, First: b.s.First, Last: b.s.Last, Part: b.part, Size: b.s.Size, Time: b.s.Time}
	h.Before, _ = v.epochOf(n - 1)
	used := 0
	work := pace.Work{Hurry: v.behind()}
	for used < most && len(h.Runs)+fetchMost <= most+extraRuns && b.seek() {
		k, err := b.step(ctx, h, (*buf)[(lead+used)*unit.Size:(lead+most)*unit.Size])
		if err != nil {
			b.at, b.next = at, next
			return nil, err
		}
		used += k
		work.Did(max(k, 1) * unit.Size)
	}
	h.Final = !b.seek()
	b.part++
	head := h.encode(v.claim.Ref)
	body := (*buf)[lead*unit.Size-len(head) : (lead+used)*unit.Size]
	copy(body, head)
	return &sco{h: h, buf: buf, body: body}, nil
}

// extraRuns is how many runs of zeros an SCO takes beyond one run for each of its clusters; one step makes up to fetchMost.
const extraRuns = 1024

// step takes the next cluster, or run of them, into the SCO; room is for its units. It gives the units taken.
func (b *builder) step(ctx context.Context, h *header, room []byte) (int, error) {
	x := b.exts[b.next]
	start := b.at * ovs.ClusterSize
	if x.off > start || x.off+x.n < start+ovs.ClusterSize {
		if err := b.compose(ctx, room[:ovs.ClusterSize]); err != nil {
			return 0, err
		}
		return b.keep(h, room), nil
	}
	whole := (x.off + x.n - start) / ovs.ClusterSize
	if kind := x.e.Kind(); kind != tail.Data {
		b.zeros(h, uint8(kind), whole)
		return 0, nil
	}
	whole = min(whole, uint64(len(room)/unit.Size), fetchMost)
	e := x.e.Advance(start - x.off)
	if whole == 1 {
		if err := b.s.ReadAt(e, room[:ovs.ClusterSize]); err != nil {
			return 0, err
		}
		return b.keep(h, room), nil
	}
	buf := b.v.d.units.get(int(whole))
	defer b.v.d.units.put(buf)
	data := (*buf)[:whole*ovs.ClusterSize]
	if err := b.s.ReadAt(e, data); err != nil {
		return 0, err
	}
	used := 0
	for ; len(data) > 0; data = data[ovs.ClusterSize:] {
		copy(room[used*unit.Size:], data[:ovs.ClusterSize])
		used += b.keep(h, room[used*unit.Size:])
	}
	return used, nil
}

// compose makes a cluster of which the interval sets only parts, or parts by several records: the rest is as it was before.
func (b *builder) compose(ctx context.Context, dst []byte) error {
	start := b.at * ovs.ClusterSize
	end := start + ovs.ClusterSize
	last, covered := b.next, uint64(0)
	for ; last < len(b.exts) && b.exts[last].off < end; last++ {
		x := b.exts[last]
		covered += min(x.off+x.n, end) - max(x.off, start)
	}
	if covered < ovs.ClusterSize {
		if err := b.s.ReadUnder(ctx, dst, start); err != nil {
			return err
		}
	}
	for _, x := range b.exts[b.next:last] {
		from, to := max(x.off, start), min(x.off+x.n, end)
		part := dst[from-start : to-start]
		if x.e.Kind() != tail.Data {
			clear(part)
		} else if err := b.s.ReadAt(x.e.Advance(from-x.off), part); err != nil {
			return err
		}
	}
	return nil
}

var zeroCluster [ovs.ClusterSize]byte // never written

// keep takes the cluster whose data stands in room[0:4096] into the SCO and gives the units it took: 0 for zeros.
func (b *builder) keep(h *header, room []byte) int {
	if bytes.Equal(room[:ovs.ClusterSize], zeroCluster[:]) {
		b.zeros(h, runZero, 1)
		return 0
	}
	unit.Seal(room, scoUnit(b.v.claim.Ref, b.at, h.Number), b.at)
	if last := len(h.Runs) - 1; last >= 0 && h.Runs[last].Kind == runData && h.Runs[last].Cluster+h.Runs[last].N == b.at {
		h.Runs[last].N++
	} else {
		h.Runs = append(h.Runs, run{runData, b.at, 1})
	}
	b.at++
	return 1
}

// zeros takes a run of zeros into the SCO.
func (b *builder) zeros(h *header, kind uint8, n uint64) {
	if last := len(h.Runs) - 1; last >= 0 && h.Runs[last].Kind == kind && h.Runs[last].Cluster+h.Runs[last].N == b.at {
		h.Runs[last].N += n
	} else {
		h.Runs = append(h.Runs, run{kind, b.at, n})
	}
	b.at += n
}
