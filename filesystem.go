package ovs

import "time"

// FileType is the kind of a file (ftype3, RFC 1813, section 2.6).
type FileType uint32

// The file types of RFC 1813.
const (
	TypeReg FileType = 1 + iota
	TypeDir
	TypeBlk
	TypeChr
	TypeLnk
	TypeSock
	TypeFIFO
)

// Attr is what NFS shows of a file (fattr3). Size, Used and the times of an object that is being written come from its
// owner; they never show what a crash could still take back, except UNSTABLE data.
type Attr struct {
	ID                  ObjectID
	Type                FileType
	Mode                uint32 // the 12 permission bits
	Links               uint32
	UID, GID            uint32
	Size                uint64 // bytes
	Used                uint64 // bytes that take space: less than Size where the file is sparse
	Major, Minor        uint32 // of devices
	Atime, Mtime, Ctime int64  // nanoseconds since 1970
}

// SetAttr is a change of attributes; nil leaves one as it is (sattr3).
type SetAttr struct {
	Mode, UID, GID *uint32
	Size           *uint64
	Atime, Mtime   *int64 // nanoseconds since 1970; SetToServer means the server's own time
	Guard          *int64 // SETATTR only: refuse with KindConflict (NFS3ERR_NOT_SYNC) unless ctime is this
}

// SetToServer in SetAttr's times asks for the server's clock (SET_TO_SERVER_TIME).
const SetToServer int64 = -1 << 63

// Wcc is what weak cache consistency may be built on (wcc_data): Before only when it was read atomically with the change.
type Wcc struct {
	HasBefore  bool
	SizeBefore uint64
	MtimeB     int64
	CtimeB     int64
	HasAfter   bool
	After      Attr
}

// CreateHow is how CREATE treats a name that exists (createmode3).
type CreateHow uint32

// The modes of RFC 1813, section 3.3.8.
const (
	Unchecked CreateHow = iota // an existing file is kept; a given size of 0 truncates it
	Guarded                    // fails with KindExists, atomically
	Exclusive                  // succeeds again for the same verifier
)

// Create is what CREATE, MKDIR, SYMLINK and MKNOD make.
type Create struct {
	Type         FileType
	How          CreateHow // regular files only
	Verf         uint64    // with Exclusive
	Attr         SetAttr
	Target       string // of a symbolic link
	Major, Minor uint32
}

// DirEntry is one entry of a directory. Cookie is stable for the entry's life, above 2, and never comes back.
type DirEntry struct {
	Name   string
	ID     ObjectID
	Cookie uint64
	Attr   *Attr // nil when not asked for, or when the owner is silent
}

// FSStat is FSSTAT's answer: bytes that a user could store and has stored, parity not counted.
type FSStat struct {
	TotalBytes, FreeBytes, AvailBytes uint64
	TotalFiles, FreeFiles, AvailFiles uint64
	Invariant                         time.Duration
}

// FileSystem is one vPool as nfsd sees it. objectrouter gives it; internal/memfs is its twin in memory.
//
// TryGetAttr, TryLookup and TryRead answer from memory in the caller's goroutine, or say false ("not now") having done
// nothing. Read, Write and Commit never block either: they complete through Done, exactly once, from any goroutine,
// possibly before they return. All other calls may block until the request's deadline. Errors are *Error.
// What changes names or attributes is durable when the call returns.
//
// Which error a call gives (internal/conformance/fstest holds all implementations to this list):
//
//	an object or directory that is gone          KindStale
//	dir is not a directory                       KindNotDir
//	a name that is empty, or holds '/' or NUL    KindInvalid; longer than MaxName: KindNameTooLong
//	"." and ".."                                 Lookup finds dir itself and its parent (the root's is the root);
//	                                             Create and Link: KindExists; Remove, Rename: KindInvalid;
//	                                             Rmdir: "." KindInvalid, ".." KindExists
//	Lookup without x, Create, Remove, Rmdir,
//	Rename and Link without w and x on dir       KindAccess; a sticky directory's foreign entry: KindPermission
//	Create of a name that exists                 KindExists, but Unchecked of a regular file and Exclusive with the same
//	                                             verifier find the file; Unchecked with Size 0 truncates it (w needed)
//	Create of TypeBlk, TypeChr                   KindNotSupported
//	Remove of a directory                        KindIsDir; Rmdir of anything else: KindNotDir; not empty: KindNotEmpty
//	Rename onto itself, or another name of it    nothing happens, no error
//	Rename directory over another type           KindNotDir; other over directory: KindIsDir; over a filled one: KindNotEmpty
//	Rename of a directory below itself           KindInvalid
//	Link of a directory                          KindPermission
//	SetAttr: Guard is not the ctime shown        KindConflict
//	SetAttr: mode, owner, explicit times of
//	another's file                               KindPermission; Size, server's time without w: KindAccess
//	Size, Read, Write, Commit of a directory     KindIsDir; of a link, socket or FIFO: KindInvalid
//	past MaxFileSize                             KindTooBig
//	Readlink of anything but a link              KindInvalid; ReadDir of anything but a directory: KindNotDir
//	Read, Write without the mode bits            KindAccess; root passes, the file's owner always does, x is enough to read
//
// A new object belongs to the caller, its group is the caller's or that of a set-gid directory; without a Mode it gets
// 0644 (directories 0755). The ctime shown never falls and differs after every change; a change of names moves mtime
// and ctime of its directories and ctime of the object. A directory has 2 links and one for each directory in it.
type FileSystem interface {
	Pool() PoolID

	TryGetAttr(r *Request, id ObjectID, a *Attr) bool
	GetAttr(r *Request, id ObjectID) (Attr, error)
	SetAttr(r *Request, id ObjectID, s *SetAttr) (Wcc, error)

	TryLookup(r *Request, dir ObjectID, name string, a *Attr) bool
	Lookup(r *Request, dir ObjectID, name string) (Attr, error)
	Readlink(r *Request, id ObjectID) (string, error)

	Create(r *Request, dir ObjectID, name string, c *Create) (Attr, Wcc, error)
	Remove(r *Request, dir ObjectID, name string) (Wcc, error)
	Rmdir(r *Request, dir ObjectID, name string) (Wcc, error)
	Rename(r *Request, fromDir ObjectID, from string, toDir ObjectID, to string) (fromWcc, toWcc Wcc, err error)
	Link(r *Request, id, dir ObjectID, name string) (Attr, Wcc, error)

	// ReadDir calls yield for the entries after cookie (0 = from the start, then "." with cookie 1 and ".." with 2, which
	// it gives itself) in cookie order until yield says false. It reports whether it came to the end.
	ReadDir(r *Request, dir ObjectID, cookie uint64, attrs bool, yield func(*DirEntry) bool) (eof bool, err error)
	Stat(r *Request) (FSStat, error)

	DataPath
}

// DataPath is the hot part of a FileSystem.
type DataPath interface {
	// TryRead fills r from memory and returns true; Done is not called. False where the range meets a stable record in
	// flight, a page that is not in memory, or an object that is not served here at this moment.
	TryRead(r *Read) bool
	Read(r *Read)
	Write(w *Write)
	Commit(c *Commit)
}

// Read is one READ on its way. The caller owns it again when Done is called (or TryRead returned true).
type Read struct {
	Request
	File ObjectID
	Off  uint64
	Dst  []byte // filled from the front; len is the count asked for, at most MaxIO

	N    int // bytes read
	EOF  bool
	Err  error
	Done func(*Read)
}

// Write is one WRITE on its way. Data is lent until Done is called.
type Write struct {
	Request
	File   ObjectID
	Off    uint64
	Data   []byte // at most MaxIO
	Stable Stability

	Committed Stability // what was done; at least Stable
	Verf      Verifier
	Err       error
	Done      func(*Write)

	Rec Record // the driver's: the write in the log
}

// Commit is one COMMIT on its way: Done is called when all that was acknowledged for the file before the call is as
// durable as a stable write.
type Commit struct {
	Request
	File ObjectID

	Verf Verifier
	Err  error
	Done func(*Commit)

	Sync LogSync // the driver's
}

// Post-operation attributes are no part of the three: whoever encodes a reply asks TryGetAttr then, and leaves them out
// where that says "not now" (RFC 1813, section 2.6: post_op_attr is optional).
