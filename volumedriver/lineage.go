package volumedriver

import (
	"fmt"
	"sort"

	"ovs"
	"ovs/internal/decode"
)

// closedEpoch is an epoch that ended: SCOs and records of it count up to these, for ever. Its first ones follow the last
// of the epoch before it.
type closedEpoch struct {
	Epoch      ovs.Epoch
	LastSCO    ovs.SCONo
	LastRecord ovs.RecordNo
}

// lineage is the closed epochs that added anything, and the newest one, oldest first; epoch, SCO and record rise (SCO and
// record: or stay).
type lineage []closedEpoch

// last is the newest closed epoch; zero where there is none.
func (l lineage) last() closedEpoch {
	if len(l) == 0 {
		return closedEpoch{}
	}
	return l[len(l)-1]
}

// epochOf is the closed epoch whose SCO number n is; false for numbers after the last closed one.
func (l lineage) epochOf(n ovs.SCONo) (ovs.Epoch, bool) {
	i := sort.Search(len(l), func(i int) bool { return l[i].LastSCO >= n })
	if i == len(l) {
		return 0, false
	}
	return l[i].Epoch, true
}

// counts tells whether record n of epoch e belongs to the object: it is of the epoch that wrote this number, or past
// everything closed, of an epoch that is not.
func (l lineage) counts(e ovs.Epoch, n ovs.RecordNo) bool {
	i := sort.Search(len(l), func(i int) bool { return l[i].LastRecord >= n })
	if i == len(l) {
		return e > l.last().Epoch
	}
	return l[i].Epoch == e
}

// check tells what is wrong with a lineage.
func (l lineage) check() error {
	var before closedEpoch
	for _, c := range l {
		if c.Epoch <= before.Epoch || c.LastSCO < before.LastSCO || c.LastRecord < before.LastRecord || c.LastSCO > maxSCO {
			return corrupt("the lineage does not rise at epoch %d", c.Epoch)
		}
		before = c
	}
	return nil
}

// idle tells whether the newest closed epoch added nothing: all it says is that what came of it, or of those before, is late.
func (l lineage) idle() bool {
	last, before := l.last(), l[:max(len(l)-1, 0)].last()
	return last.LastSCO == before.LastSCO && last.LastRecord == before.LastRecord
}

// trim leaves out what tells nothing once all records up to complete are in SCOs: epochs without SCOs, but the newest one.
func (l lineage) trim(complete ovs.RecordNo) lineage {
	var kept lineage
	for i, c := range l {
		if c.LastRecord > complete || c.LastSCO > kept.last().LastSCO || i == len(l)-1 {
			kept = append(kept, c)
		}
	}
	return kept
}

const lineageEntry = 24 // bytes

func (l lineage) append(b []byte) []byte {
	b = put32(b, uint32(len(l)))
	for _, c := range l {
		b = put64(put64(put64(b, uint64(c.Epoch)), uint64(c.LastSCO)), uint64(c.LastRecord))
	}
	return b
}

func readLineage(r *decode.Reader) lineage {
	n := count(r, lineageEntry)
	var l lineage
	for range n {
		l = append(l, closedEpoch{ovs.Epoch(r.Uint64()), ovs.SCONo(r.Uint64()), ovs.RecordNo(r.Uint64())})
	}
	return l
}

// The names of a volume's objects. Numbers are hexadecimal of fixed width, so that a listing is in their order.

func namespace(r ovs.Ref) string {
	return fmt.Sprintf("vol-%x-%x", uint64(r.Pool), uint64(r.Object))
}

func scoName(n ovs.SCONo, e ovs.Epoch) string { return fmt.Sprintf("sco/%011x-%016x", n, uint64(e)) }

func rootName(n ovs.SCONo, e ovs.Epoch) string {
	return fmt.Sprintf("root/%011x-%016x", n, uint64(e))
}

// liveName is the name of the counts that go with a root.
func liveName(n ovs.SCONo, e ovs.Epoch) string {
	return fmt.Sprintf("live/%011x-%016x", n, uint64(e))
}

func tlogName(first, last ovs.SCONo, e ovs.Epoch) string {
	return fmt.Sprintf("tlog/%011x-%011x-%016x", first, last, uint64(e))
}

func segmentName(stretch uint32, n ovs.SCONo, e ovs.Epoch) string {
	return fmt.Sprintf("seg/%08x-%011x-%016x", stretch, n, uint64(e))
}

func layerName(slot uint8, e ovs.Epoch) string {
	return fmt.Sprintf("layer/%02x-%016x", slot, uint64(e))
}

// parse takes a name apart; false where it is none of ours.
func parse(name, format string, into ...any) bool {
	n, err := fmt.Sscanf(name, format, into...)
	return err == nil && n == len(into)
}
