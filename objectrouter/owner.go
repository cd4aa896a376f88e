package objectrouter

import (
	"encoding/binary"

	"ovs"
)

// ownership is the state of a registry entry. Its numbers are on disk.
type ownership uint8

const (
	serving    ownership = 1 + iota // the owner answers for the object
	recovering                      // the owner is on its way to that; nothing is written in this epoch yet
	clean                           // nobody owns it; all of it is on the backend, its attributes in the inode record
)

// entry is the registry entry of an object: one record, every compare-and-set is on the whole of it.
//
//	        CREATE                       touched: take              own start: take
//	(none) ───────► serving ◄──────────── recovering ◄─────────────────┐
//	                   │        serve          ▲                       │
//	                   ├───────────────────────┴── clean ◄── rest ─────┤
//	                   └───────────────────────────────────────────────┘
//
// Each arrow into recovering is a new epoch.
type entry struct {
	state    ownership
	degraded bool // the DTL session does not hold everything that was acknowledged
	owner    ovs.NodeID
	epoch    ovs.Epoch
	from     ovs.NodeID // recovering: whose log may hold records that are not on the backend; 0: nobody's
	dtlHost  ovs.NodeID // DTL session: host and number; 0: none
	session  uint64
}

const entrySize = 44

func (e entry) encode() []byte {
	b := make([]byte, entrySize)
	b[0], b[1] = 1, byte(e.state)
	if e.degraded {
		b[2] = 1
	}
	for i, v := range [...]uint64{uint64(e.owner), uint64(e.epoch), uint64(e.from), uint64(e.dtlHost), e.session} {
		binary.BigEndian.PutUint64(b[4+8*i:], v)
	}
	return b
}

func decodeEntry(b []byte) (*entry, error) {
	if len(b) != entrySize || b[0] != 1 || b[1] < byte(serving) || b[1] > byte(clean) || b[2] > 1 || b[3] != 0 {
		return nil, ovs.E("objectrouter.decodeEntry", ovs.KindCorrupt, nil, errRecord)
	}
	u := func(at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }
	return &entry{
		state: ownership(b[1]), degraded: b[2] == 1,
		owner: ovs.NodeID(u(4)), epoch: ovs.Epoch(u(12)), from: ovs.NodeID(u(20)),
		dtlHost: ovs.NodeID(u(28)), session: u(36),
	}, nil
}

// created is the entry that CREATE writes.
func created(me ovs.NodeID) entry { return entry{state: serving, owner: me, epoch: 1} }

// take is the entry with which node me begins to bring the object up; false when another node is its owner. What nobody
// wrote to since it was clean stays "from nobody", however often a start fails on the way.
func (e entry) take(me ovs.NodeID) (entry, bool) {
	if e.state != clean && e.owner != me {
		return entry{}, false
	}
	next := entry{state: recovering, owner: me, epoch: e.epoch + 1, from: e.owner, degraded: e.degraded, dtlHost: e.dtlHost, session: e.session}
	switch e.state {
	case clean:
		next.from = 0
	case recovering:
		next.from = e.from
	}
	return next, true
}

// serve is the entry of the same epoch once its owner serves.
func (e entry) serve() entry {
	e.state, e.from = serving, 0
	return e
}

// rest is the entry once everything is on the backend and the epoch closed.
func (e entry) rest() entry { return entry{state: clean, epoch: e.epoch} }

// stands says that size and times stand in the inode record: nothing newer is in anybody's log.
func (e entry) stands() bool { return e.state == clean || e.state == recovering && e.from == 0 }
