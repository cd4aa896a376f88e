package objectrouter

import (
	"encoding/binary"
	"errors"

	"ovs"
)

// driverKind says which driver keeps a regular file's data. Its numbers are on disk.
type driverKind uint64

const (
	driverNone driverKind = iota
	driverFile
	driverVolume
)

// inode is an inode record. Its layout is in docs/format/names.md; fields that OpAdd and OpMax change stand at fixed
// offsets as big-endian uint64.
type inode struct {
	typ      ovs.FileType
	hasVerf  bool // made by an EXCLUSIVE create with verf, and not yet touched by SETATTR
	mode     uint32
	links    uint64 // of a directory: 2 and one for each directory in it
	driver   driverKind
	parent   ovs.ObjectID // of a directory
	children uint64       // of a directory: entries
	size     uint64       // of a regular file: as it last came to rest
	used     uint64
	atime    int64
	mtime    int64 // counts for all changes up to settled
	ctime    int64
	settled  int64
	changed  int64 // newest change of content (of a file: at its last rest) or of entries
	uid, gid uint32
	major    uint32
	minor    uint32
	verf     uint64
	target   string // of a symbolic link
}

const (
	inodeVersion = 1
	inodeSize    = 120 // without the target

	linksAt    = 8
	driverAt   = 16
	parentAt   = 24
	childrenAt = 32
	sizeAt     = 40
	usedAt     = 48
	ctimeAt    = 72
	changedAt  = 88
)

// Times are stored with the sign turned, so that OpMax sees them in order.
func timeBits(t int64) uint64 { return uint64(t) ^ 1<<63 }
func bitsTime(b uint64) int64 { return int64(b ^ 1<<63) }

// encode gives the one encoding of the record: an assertion on it is an assertion on every field.
func (n *inode) encode() []byte {
	b := make([]byte, inodeSize, inodeSize+len(n.target))
	be := binary.BigEndian
	b[0], b[1] = inodeVersion, byte(n.typ)
	if n.hasVerf {
		b[2] = 1
	}
	be.PutUint32(b[4:], n.mode)
	for i, v := range [...]uint64{
		n.links, uint64(n.driver), uint64(n.parent), n.children, n.size, n.used,
		timeBits(n.atime), timeBits(n.mtime), timeBits(n.ctime), timeBits(n.settled), timeBits(n.changed),
	} {
		be.PutUint64(b[linksAt+8*i:], v)
	}
	for i, v := range [...]uint32{n.uid, n.gid, n.major, n.minor} {
		be.PutUint32(b[96+4*i:], v)
	}
	be.PutUint64(b[112:], n.verf)
	return append(b, n.target...)
}

var errRecord = errors.New("malformed or of a newer version")

// decodeInode reads a record; it keeps nothing of b.
func decodeInode(b []byte) (*inode, error) {
	const op = "objectrouter.decodeInode"
	if len(b) < inodeSize || b[0] != inodeVersion || b[1] < byte(ovs.TypeReg) || b[1] > byte(ovs.TypeFIFO) || b[2] > 1 || b[3] != 0 {
		return nil, ovs.E(op, ovs.KindCorrupt, nil, errRecord)
	}
	be := binary.BigEndian
	u := func(at int) uint64 { return be.Uint64(b[at:]) }
	n := &inode{
		typ: ovs.FileType(b[1]), hasVerf: b[2] == 1, mode: be.Uint32(b[4:]),
		links: u(linksAt), driver: driverKind(u(driverAt)), parent: ovs.ObjectID(u(parentAt)), children: u(childrenAt),
		size: u(sizeAt), used: u(usedAt),
		atime: bitsTime(u(56)), mtime: bitsTime(u(64)), ctime: bitsTime(u(ctimeAt)), settled: bitsTime(u(80)), changed: bitsTime(u(changedAt)),
		uid: be.Uint32(b[96:]), gid: be.Uint32(b[100:]), major: be.Uint32(b[104:]), minor: be.Uint32(b[108:]),
		verf: u(112), target: string(b[inodeSize:]),
	}
	if n.mode > 0o7777 || n.driver > driverVolume || len(n.target) > ovs.MaxPath || n.typ != ovs.TypeLnk && n.target != "" {
		return nil, ovs.E(op, ovs.KindCorrupt, nil, errRecord)
	}
	return n, nil
}

// dirSize is what a directory shows as its size and use, in bytes.
const dirSize = 4096

// show merges the record with what the owner of a live object knows; live is nil for all others. One rule serves
// files that are written, files at rest and directories: a change after the settled time moves mtime, every one moves ctime.
func (n *inode) show(id ovs.ObjectID, live *ovs.Live, a *ovs.Attr) {
	*a = ovs.Attr{
		ID: id, Type: n.typ, Mode: n.mode, Links: uint32(n.links), UID: n.uid, GID: n.gid,
		Size: n.size, Used: n.used, Major: n.major, Minor: n.minor,
		Atime: n.atime, Ctime: n.ctime,
	}
	newest := n.changed
	switch {
	case live != nil:
		a.Size, a.Used = live.Size, live.Used
		newest = max(newest, live.Time)
	case n.typ == ovs.TypeDir:
		a.Size, a.Used = dirSize, dirSize
	case n.typ == ovs.TypeLnk:
		a.Size = uint64(len(n.target))
	}
	a.Mtime = n.shownMtime(newest)
	a.Ctime = max(a.Ctime, newest)
}

func (n *inode) shownMtime(newest int64) int64 {
	if newest > n.settled {
		return newest
	}
	return n.mtime
}

// dirent is what an entry key holds.
type dirent struct {
	id     ovs.ObjectID
	typ    ovs.FileType
	cookie uint64
}

const (
	direntVersion  = 1
	direntSize     = 18
	direntCookieAt = 10 // the sequence's index is stamped here
)

func (d dirent) encode() []byte {
	b := make([]byte, direntSize)
	b[0], b[1] = direntVersion, byte(d.typ)
	binary.BigEndian.PutUint64(b[2:], uint64(d.id))
	binary.BigEndian.PutUint64(b[direntCookieAt:], d.cookie)
	return b
}

func decodeDirent(b []byte) (dirent, error) {
	if len(b) != direntSize || b[0] != direntVersion || b[1] < byte(ovs.TypeReg) || b[1] > byte(ovs.TypeFIFO) {
		return dirent{}, ovs.E("objectrouter.decodeDirent", ovs.KindCorrupt, nil, errRecord)
	}
	return dirent{
		id: ovs.ObjectID(binary.BigEndian.Uint64(b[2:])), typ: ovs.FileType(b[1]),
		cookie: binary.BigEndian.Uint64(b[direntCookieAt:]),
	}, nil
}

const cookieValueSize = 10 // before the name

// encodeCookie is the value of a cookie key: enough for READDIR to need no second look-up.
func encodeCookie(d dirent, name string) []byte {
	return append(d.encode()[:cookieValueSize:cookieValueSize], name...)
}

func decodeCookie(b []byte) (dirent, string, error) {
	if len(b) <= cookieValueSize || len(b) > cookieValueSize+ovs.MaxName || b[0] != direntVersion || b[1] < byte(ovs.TypeReg) || b[1] > byte(ovs.TypeFIFO) {
		return dirent{}, "", ovs.E("objectrouter.decodeCookie", ovs.KindCorrupt, nil, errRecord)
	}
	return dirent{id: ovs.ObjectID(binary.BigEndian.Uint64(b[2:])), typ: ovs.FileType(b[1])}, string(b[cookieValueSize:]), nil
}

// orphan is what is left of a removed object until its data are dropped.
type orphan struct {
	driver driverKind
	node   ovs.NodeID // who works it off
}

func (o orphan) encode() []byte {
	return binary.BigEndian.AppendUint64([]byte{1, byte(o.driver)}, uint64(o.node))
}

func decodeOrphan(b []byte) (orphan, error) {
	if len(b) != 10 || b[0] != 1 || b[1] != byte(driverFile) && b[1] != byte(driverVolume) {
		return orphan{}, ovs.E("objectrouter.decodeOrphan", ovs.KindCorrupt, nil, errRecord)
	}
	return orphan{driver: driverKind(b[1]), node: ovs.NodeID(binary.BigEndian.Uint64(b[2:]))}, nil
}

// A counter is the value of the allocator's and the rename key.
func encodeCounter(v uint64) []byte { return binary.BigEndian.AppendUint64([]byte{1}, v) }

func decodeCounter(b []byte) (uint64, error) {
	if len(b) != 9 || b[0] != 1 {
		return 0, ovs.E("objectrouter.decodeCounter", ovs.KindCorrupt, nil, errRecord)
	}
	return binary.BigEndian.Uint64(b[1:]), nil
}
