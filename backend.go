package ovs

import (
	"context"
	"errors"
	"fmt"
)

// ObjectInfo is what a listing tells of a backend object.
type ObjectInfo struct {
	Name     string
	Size     uint64 // bytes
	Checksum uint32 // CRC32C of the content
}

// Usage is the space of a backend in bytes that a user could store under its first preset: parity is not counted.
type Usage struct {
	Total, Free uint64
}

// PutOptions state what an object is made of.
type PutOptions struct {
	Unit     uint32 // bytes that one read should find on one disk: 4112 for SCOs and packs, else 4096
	Compress bool   // snappy's format, in 32 KiB blocks
	Hurry    bool   // the caller's log fills faster than its PUTs end: nothing of this one gives way to clients' operations
}

// Backend stores immutable objects under names of a namespace. albaproxy gives it (s3 will); internal/membackend is its
// twin in memory. Names hold letters, digits, '-', '_', '.', '/'; at most 255 bytes.
type Backend interface {
	// CreateNamespace and DeleteNamespace are idempotent and durable on return; deletion takes all objects along.
	CreateNamespace(ctx context.Context, ns string) error
	DeleteNamespace(ctx context.Context, ns string) error
	// Put is put-if-absent: durable on return. An object of that name with the same content is success (after any retry or
	// crash); with another content KindConflict. full says that all data and parity fragments of the first preset
	// stand; otherwise the log must keep the data until the missing ones are in the repair queue, which a nil error with
	// full == false promises they are.
	Put(ctx context.Context, ns, name string, data []byte, o PutOptions) (full bool, err error)
	// Get fills dst from off and returns the count, short only at the object's end. KindCorrupt: found, wrong and beyond
	// repair. KindNotFound: absent.
	Get(ctx context.Context, ns, name string, off uint64, dst []byte) (int, error)
	// List gives up to limit objects whose names begin with prefix and come after the name after, in order. It is
	// linearizable: it shows every Put that returned before the call.
	List(ctx context.Context, ns, prefix, after string, limit int) ([]ObjectInfo, error)
	// Delete is idempotent; durable on return. Space comes back later.
	Delete(ctx context.Context, ns string, names ...string) error
	Usage(ctx context.Context) (Usage, error)
}

// CheckBackendName refuses what names no backend object or namespace: KindInvalid, KindNameTooLong.
func CheckBackendName(op, name string) error {
	switch {
	case name == "":
		return E(op, KindInvalid, nil, errBackendName)
	case len(name) > MaxName:
		return E(op, KindNameTooLong, name[:32]+"...", nil)
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '/') {
			return E(op, KindInvalid, fmt.Sprintf("%q", name), errBackendName)
		}
	}
	return nil
}

var errBackendName = errors.New("a name of the backend holds letters, digits, '-', '_', '.', '/'")
