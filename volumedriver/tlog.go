package volumedriver

import (
	"encoding/binary"

	"ovs"
	"ovs/internal/extent"
)

// tlog is the headers of many SCOs, merged: where each cluster that they set stands now. It ends where an interval does
// and is put when all its SCOs stand. docs/format/tlog.md.
type tlog struct {
	First, Last ovs.SCONo
	Epoch       ovs.Epoch
	Record      ovs.RecordNo // complete up to this record
	Size        uint64
	Time        int64
	Runs        extent.Map[Location] // by cluster
}

func (t *tlog) encode(r ovs.Ref) []byte {
	b := newFrame(magicTLog, r, 64+t.Runs.Len()*18)
	b = put64(put64(put64(b, uint64(t.First)), uint64(t.Last)), uint64(t.Epoch))
	b = put64(put64(put64(b, uint64(t.Record)), t.Size), uint64(t.Time))
	b = put32(b, uint32(t.Runs.Len()))
	at := uint64(0)
	t.Runs.Each(func(c, n uint64, l Location) bool {
		b = binary.AppendUvarint(b, c-at)
		b = binary.AppendUvarint(b, n)
		b = put64(b, uint64(l))
		at = c + n
		return true
	})
	return closeFrame(b)
}

func decodeTLog(r ovs.Ref, b []byte) (*tlog, error) {
	d, err := openFrame(magicTLog, r, b)
	if err != nil {
		return nil, err
	}
	t := &tlog{First: ovs.SCONo(d.Uint64()), Last: ovs.SCONo(d.Uint64()), Epoch: ovs.Epoch(d.Uint64()), Record: ovs.RecordNo(d.Uint64()), Size: d.Uint64(), Time: int64(d.Uint64())}
	at := uint64(0)
	for range count(d, 10) {
		c, n := at+d.Uvarint(), d.Uvarint()
		l := Location(d.Uint64())
		if c < at || n == 0 || c > maxClusters || n > maxClusters-c {
			return nil, corrupt("run %d+%d of a TLog", c, n)
		}
		if sco := ovs.SCONo(l.number()); l != hole && (l.slot() != 0 || sco < t.First || sco > t.Last || l.unit() == 0 || l.unit()+n > maxUnits) {
			return nil, corrupt("location %x of a TLog", uint64(l))
		}
		t.Runs.Insert(c, n, l)
		at = c + n
	}
	return t, end(d, "a TLog")
}
