package nfsd

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"

	"ovs"
)

// A file handle is 32 bytes that name an object for ever, on every node and after every restart, and that nobody can
// make up. docs/format/handle.md is its page.
//
//	0  version   1
//	1  key       0: which key signed it
//	2  reserved  2 bytes, zero
//	4  pool      8 bytes, big endian
//	12 object    8
//	20 generation 4: zero, since object ids never come back
//	24 MAC       8: SipHash-2-4 over bytes 0 to 23, little endian
const (
	handleSize    = 32
	handleSigned  = 24
	handleVersion = 1
)

// handleKey signs and checks handles.
type handleKey struct{ sip sipKey }

// newHandleKey derives the key for handles from the cluster's, which signs other things too.
func newHandleKey(cluster []byte) handleKey {
	h := sha256.New()
	h.Write([]byte("ovs nfs handle 1\x00"))
	h.Write(cluster)
	return handleKey{newSipKey(h.Sum(nil))}
}

// append adds the handle of r to b.
func (k *handleKey) append(b []byte, r ovs.Ref) []byte {
	at := len(b)
	b = append(b, handleVersion, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Pool))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Object))
	b = append(b, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint64(b, k.sip.sum(b[at:]))
}

// open gives the object that h names; false for a handle that this cluster never gave out. The time that it takes does
// not tell how much of a forged MAC was right.
func (k *handleKey) open(h []byte) (ovs.Ref, bool) {
	if len(h) != handleSize {
		return ovs.Ref{}, false
	}
	var want [8]byte
	binary.LittleEndian.PutUint64(want[:], k.sip.sum(h[:handleSigned]))
	if subtle.ConstantTimeCompare(want[:], h[handleSigned:]) != 1 {
		return ovs.Ref{}, false
	}
	if h[0] != handleVersion || h[1] != 0 || binary.BigEndian.Uint32(h[20:]) != 0 {
		return ovs.Ref{}, false
	}
	return ovs.Ref{Pool: ovs.PoolID(binary.BigEndian.Uint64(h[4:])), Object: ovs.ObjectID(binary.BigEndian.Uint64(h[12:]))}, true
}
