package ovs

import "context"

// Claim is an owner's right to one object: what every sequence of its driver asserts.
type Claim struct {
	Ref
	Epoch Epoch
	Entry Pair // the registry entry, key and whole value, as it stands while this epoch serves
}

// Assert is the update that makes a sequence fail once the claim is no longer good.
func (c *Claim) Assert() Update { return Update{Op: OpAssert, Key: c.Entry.Key, Value: c.Entry.Value} }

// Live is what only the owner of an object knows at this moment. It shows nothing that a crash could still take back,
// except UNSTABLE data.
type Live struct {
	Size uint64 // bytes
	Used uint64 // bytes that take space, parity not counted
	Time int64  // of the newest record shown (nanoseconds since 1970), 0 when there never was one

	// Halted is why the object takes no more writes until it is brought up again; nil while it does. Writes, commits and
	// resizes fail with KindIO; what is durable is still read.
	Halted error
}

// Driver keeps the data of one kind of object of one vPool. volumedriver and filedriver give it.
type Driver interface {
	// NewHead is the head of an empty object of epoch 1: CREATE writes it in its own sequence, under HeadKey.
	NewHead(id ObjectID) []byte
	// Create serves an object that CREATE has just made. It does not block.
	Create(c Claim) Object
	// Recover brings back an object from its head, the backend and the log, for epoch c.Epoch, and changes nothing but to
	// read: the steps 3 and 4 of a take-over. The caller puts Close and the registry entry's change to c.Entry in one
	// sequence (step 5), and only then lets the object serve.
	Recover(ctx context.Context, c Claim) (Recovery, error)
	// Drop deletes all that the driver keeps of the object on the backend, idempotently, after its name, head and entry are
	// gone. It may take long; it is called again after a crash until it succeeds. An adopted object wants both drivers' Drop.
	Drop(ctx context.Context, id ObjectID) error
}

// Recovery is an object brought back, not yet allowed to serve.
type Recovery struct {
	Close  []Update // closes the epochs before this one in the object's head, for ever
	Object Object
}

// Object is one object served by its owner.
type Object interface {
	// TryRead, Read, Write and Commit are those of DataPath. Permissions have been checked.
	TryRead(r *Read) bool
	Read(r *Read)
	Write(w *Write)
	Commit(c *Commit)

	// Resize sets the size; durable on return. What a shrink cut off reads as zeros if the object grows again.
	Resize(ctx context.Context, size uint64) error
	// Live does not block.
	Live() Live
	// Flush brings everything acknowledged so far to the backend and lets the log go.
	Flush(ctx context.Context) error
	// Rest closes the epoch of an object at rest: everything is on the backend, no operation is under way. What may take as
	// long as the backend does comes first; then it calls shut, by which the caller keeps operations out, and what is left is
	// short. An error of shut ends it. The updates close the epoch in the head; the caller adds the entry's change to clean and
	// ends with Close. KindBusy: not at rest. After a success the object takes no more operations: they complete with KindFenced.
	Rest(ctx context.Context, shut func() error) ([]Update, error)
	// Close ends it: running operations complete, later ones get KindFenced. What is in the log stays there.
	Close()
	// Layer is the object's data as one immutable layer, after a Rest: how a file becomes a volume in place. KindNotSupported
	// for an object that cannot.
	Layer() (Layer, error)
}

// Adopter is a Driver that can serve what another kept: volumedriver. Adopt gives the head of a volume over the layer.
type Adopter interface {
	Adopt(c Claim, l Layer) (head []Update, err error)
}

// Layer is immutable data under a volume: equal pieces, each a backend object; an empty name is a hole.
type Layer struct {
	Namespace string
	Piece     uint64 // bytes in a piece, a multiple of ClusterSize
	Size      uint64 // bytes
	Last      RecordNo
	Time      int64
	Names     []string
}

// HeadKey is the prefix of a driver's own records about an object in its vPool's group; the key itself is the head.
func HeadKey(id ObjectID) []byte { return appendID([]byte{'h'}, uint64(id)) }

func appendID(b []byte, v uint64) []byte {
	return append(b, byte(v>>56), byte(v>>48), byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}
