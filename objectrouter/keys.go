package objectrouter

import (
	"encoding/binary"

	"ovs"
)

// The key spaces of a vPool's group that belong to the router (docs/format/names.md). Numbers in keys are big-endian,
// so that they sort. 'h' is the drivers' (ovs.HeadKey).
const (
	spaceInode  = 'i'
	spaceEntry  = 'e'
	spaceCookie = 'c'
	spaceOwner  = 'o'
	spaceOrphan = 'x'
	spaceAlloc  = 'n'
	spaceRename = 'm'
	spaceRepeat = 'd'
)

const (
	idAt     = 1 // an inode number's place in a key
	cookieAt = 9 // a cookie's place in a cookie key
	nameAt   = 9 // a name's place in an entry key
)

func idKey(space byte, id ovs.ObjectID) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 17), space), uint64(id))
}

func inodeKey(id ovs.ObjectID) []byte  { return idKey(spaceInode, id) }
func ownerKey(id ovs.ObjectID) []byte  { return idKey(spaceOwner, id) }
func orphanKey(id ovs.ObjectID) []byte { return idKey(spaceOrphan, id) }
func allocKey() []byte                 { return []byte{spaceAlloc} }
func renameKey() []byte                { return []byte{spaceRename} }

func entryKey(dir ovs.ObjectID, name string) []byte {
	return append(idKey(spaceEntry, dir), name...)
}

func cookieKey(dir ovs.ObjectID, cookie uint64) []byte {
	return binary.BigEndian.AppendUint64(idKey(spaceCookie, dir), cookie)
}

// idOf reads the inode number of a key of one of the spaces; 0 where there is none.
func idOf(key []byte) ovs.ObjectID {
	if len(key) < idAt+8 {
		return 0
	}
	return ovs.ObjectID(binary.BigEndian.Uint64(key[idAt:]))
}

// cookieOf reads the cookie of a cookie key.
func cookieOf(key []byte) uint64 {
	if len(key) != cookieAt+8 {
		return 0
	}
	return binary.BigEndian.Uint64(key[cookieAt:])
}
