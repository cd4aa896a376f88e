/*
Package asd is one disk of a backend, an object storage daemon, as its users see it: fragments under keys, durable when
Put returns, with an identity and a start number that tell whether it is the disk one knows.

	Key = namespace | GC epoch | attempt | index     ordered so; never used twice

	Open ──► Identity: id, start number + 1, durable          the user compares both with what Raft knows
	Put  ──► new file ── write ── fdatasync ──┐
	                                          ├── one SyncDir for all that wait (group commit) ──► return
	Put  ──► ...      ───────────── fdatasync ┘

Directory, the first implementation, keeps a file for each fragment. The suite in asdtest holds for any.
*/
package asd

import (
	"cmp"
	"context"
	"strconv"

	"ovs"
)

// Key names a fragment for ever. A key is put once: an attempt that failed is repeated under another.
type Key struct {
	Namespace uint64 // its id
	Epoch     uint64 // the namespace's GC epoch in which the attempt began
	Attempt   uint64 // drawn at random
	Index     uint8  // of the fragment in its object
}

// Compare orders keys by namespace, epoch, attempt, index.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Namespace, o.Namespace), cmp.Compare(k.Epoch, o.Epoch),
		cmp.Compare(k.Attempt, o.Attempt), cmp.Compare(k.Index, o.Index))
}

// Next is the first key after k.
func (k Key) Next() Key {
	if k.Index++; k.Index != 0 {
		return k
	}
	if k.Attempt++; k.Attempt != 0 {
		return k
	}
	if k.Epoch++; k.Epoch != 0 {
		return k
	}
	k.Namespace++
	return k
}

// String is the key's place under a Directory: namespace/epoch/attempt and index, in hexadecimal of fixed width.
func (k Key) String() string { return string(k.appendPath(make([]byte, 0, 64))) }

func (k Key) appendPath(b []byte) []byte {
	b = append(appendHex(append(appendHex(b, k.Namespace, 16), '/'), k.Epoch, 16), '/')
	return appendHex(appendHex(b, k.Attempt, 16), uint64(k.Index), 2)
}

// dir is the directory in String.
func (k Key) dir() string { return k.String()[:dirLen] }

const dirLen = 16 + 1 + 16

func appendHex(b []byte, v uint64, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		b = append(b, "0123456789abcdef"[v>>(4*i)&15])
	}
	return b
}

// parseHex reads a name of exactly that many hexadecimal digits, as String writes them.
func parseHex(s string, digits int) (uint64, bool) {
	if len(s) != digits {
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return 0, false
		}
	}
	v, err := strconv.ParseUint(s, 16, 64)
	return v, err == nil
}

// Identity says which disk this is and how often it was opened.
type Identity struct {
	ID    uint64     // random, never 0, for ever
	Start uint64     // rises with each Open, durable before Open returns: one that is not newer is a reverted disk or a copy
	Node  ovs.NodeID // where it is
}

// Usage is the space of the disk in bytes, as far as it is for fragments.
type Usage struct {
	Total, Free uint64 // Free leaves out the reserve for repair
	Device      string // disks with the same Device share one space: it counts once
}

// MaxFragment is the most bytes in one fragment.
const MaxFragment = 512 << 20

// PutOptions state what a fragment is put for.
type PutOptions struct {
	Repair bool // it may use the reserve
	Hurry  bool // it is written whole and at once, also where others are written to the device
}

// ASD is one disk. All methods are safe for concurrent use. KindIO: the disk failed; KindClosed: it was closed.
type ASD interface {
	Identity() Identity
	// Put stores a fragment under a new key: durable on return. One that is whole blocks in aligned memory (vfs.Aligned) is
	// written past the page cache. A Put that failed or was cut off may leave all of it, a
	// torn part, or nothing, so nobody may name it. KindExists: the key is taken, and nothing was changed. KindNoSpace:
	// only the reserve (5 % of the disk) is left, which repair alone may use.
	Put(ctx context.Context, k Key, fragment []byte, o PutOptions) error
	// Get fills dst from off and returns the count, short only at the fragment's end. KindNotFound: absent.
	Get(ctx context.Context, k Key, off uint64, dst []byte) (int, error)
	// Delete removes fragments, those that are there: durable on return.
	Delete(ctx context.Context, keys ...Key) error
	// List gives up to limit keys from <= key < to, in order. A caller that pages on from the last one's Next sees each
	// fragment that stood during the whole walk. What it does not show does not come back, with a power cut either.
	List(ctx context.Context, from, to Key, limit int) ([]Key, error)
	Usage(ctx context.Context) (Usage, error)
	// Close waits for running calls; later ones get KindClosed.
	Close() error
}
