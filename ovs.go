package ovs

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// PoolID names a vPool for ever. It is the NFS fsid of its export, so it is never 0.
type PoolID uint64

// NodeID names a node of the cluster for ever.
type NodeID uint64

// ObjectID names an object of a vPool: a file, volume, directory or symbolic link. It is the inode number (NFS fileid),
// is never 0 and never comes back. RootID is the vPool's root directory.
type ObjectID uint64

// RootID is the root directory of every vPool.
const RootID ObjectID = 1

// Epoch says which owner may write an object. Every start, move, take-over and failed flush opens a new one. From 1.
type Epoch uint64

// RecordNo numbers an object's log records from 1, without gaps, for ever, through all epochs.
type RecordNo uint64

// SCONo numbers a volume's SCOs from 1, without gaps, for ever, through all epochs. At most 41 bits.
type SCONo uint64

// Ref names an object in the whole cluster.
type Ref struct {
	Pool   PoolID
	Object ObjectID
}

// String is pool/object, both in hexadecimal.
func (r Ref) String() string { return fmt.Sprintf("%x/%x", uint64(r.Pool), uint64(r.Object)) }

// Stability is how far a write is to be carried before its reply (stable_how, RFC 1813, section 3.3.7).
type Stability uint32

// The three promises of RFC 1813. DataSync is served as FileSync.
const (
	Unstable Stability = iota
	DataSync
	FileSync
)

// Verifier is what a client compares to learn that unstable data may be lost (writeverf3). It is a function of the
// object and its epoch.
type Verifier uint64

// VerifierOf is the write verifier of an object in an epoch.
func VerifierOf(r Ref, e Epoch) Verifier {
	// splitmix64 over the three: any change of one changes the result.
	h := uint64(r.Pool)
	for _, x := range [2]uint64{uint64(r.Object), uint64(e)} {
		h = (h ^ x) + 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return Verifier(h)
}

// Limits of the file system.
const (
	MaxName     = 255            // bytes in one name
	MaxPath     = 4096           // bytes in a symbolic link's target
	MaxFileSize = 64 << 40       // bytes in one file or volume: 64 TiB
	MaxIO       = 1 << 20        // bytes in one READ or WRITE
	SectorSize  = 512            // bytes; nothing is torn within a sector
	ClusterSize = 4096           // bytes; the unit of a volume's map
	MaxLinks    = 1<<16 - 1      // hard links to one file
	NeverExpire = 24 * time.Hour // the deadline of work that no client waits for
)

// Cred is who asks (AUTH_SYS, RFC 5531, appendix A). Squashing has been applied.
type Cred struct {
	UID, GID uint32
	NGroups  uint8
	Groups   [16]uint32
}

// In reports whether the credential belongs to group gid.
func (c *Cred) In(gid uint32) bool {
	if c.GID == gid {
		return true
	}
	for _, g := range c.Groups[:c.NGroups] {
		if g == gid {
			return true
		}
	}
	return false
}

// RequestID lets a retransmission be known as one, on any router: with the client's address it is unique long enough.
type RequestID struct {
	XID uint32 // ONC RPC transaction
	Sum uint32 // CRC32C over program, version, procedure and arguments (WRITE's data left out)
}

// Request goes with every call on a FileSystem or an Object. It is plain data: it can cross a wire.
type Request struct {
	Cred     Cred
	Client   netip.Addr // the port left out: a client that reconnects stays the same
	ID       RequestID
	Deadline time.Time // no call blocks past it; the zero time is NeverExpire from the call on
	Trace    Trace
}

// Context is a context that ends at the request's deadline, for calls that block.
func (r *Request) Context() (context.Context, context.CancelFunc) {
	d := r.Deadline
	if d.IsZero() {
		d = time.Now().Add(NeverExpire)
	}
	return context.WithDeadline(context.Background(), d)
}

// Stage is a place on an operation's way at which its trace is stamped.
type Stage uint8

// The stages in the order in which a stable write meets them.
const (
	StageReceived  Stage = iota // the whole RPC record is in memory
	StageRouted                 // the owner is known
	StageAdmitted               // the log has room for it
	StageAppended               // copied into a log batch
	StageWritten                // the batch was handed to the disk
	StageFlushed                // fdatasync returned
	StageFetched                // the backend's data is in memory (reads)
	StageCompleted              // handed back to nfsd
	StageCount
)

// Trace is where an operation's time went, of fixed size. A stage that was not met is 0.
type Trace struct {
	At [StageCount]int64 // nanoseconds on the clock of Now
}

var traceStart = time.Now()

// Now is the trace's clock: monotonic nanoseconds since the process began, at least 1.
func Now() int64 { return int64(time.Since(traceStart)) + 1 }

// Mark stamps a stage.
func (t *Trace) Mark(s Stage) { t.At[s] = Now() }
