//go:build !planted

/*
Package planted names mistakes in the order of steps that only tests make: a proof shows with them that it would notice.
In a build without the tag planted they are constants that are false, and the compiler leaves no trace of them. A missing
flush needs no name here: the disk under a test leaves it out.

	AckAtAppend      a stable write is acknowledged before it is flushed
	ReadInFlight     a read shows a stable write before it is flushed
	CommitAtOnce     COMMIT waits for no flush
	ReleaseFirst     the log lets go of records before their SCO stands
	SealedUnflushed  records go to the backend before the log holds them durably
	SegmentsLast     a root is put, and the head swung, before the map's segments stand
	HeadFirst        a volume's head names a root before that stands
	DeleteFirst      what only the old root reaches is deleted before the head names the new one
	FileHeadFirst    a file's head names chunks before they stand
	FileDeleteFirst  chunks are deleted before the file's head has let go of them
	NoRaise          the collector judges fragments of an epoch in which PUTs may still succeed
*/
package planted

// The mistakes.
const (
	AckAtAppend     = false
	ReadInFlight    = false
	CommitAtOnce    = false
	ReleaseFirst    = false
	SealedUnflushed = false
	SegmentsLast    = false
	HeadFirst       = false
	DeleteFirst     = false
	FileHeadFirst   = false
	FileDeleteFirst = false
	NoRaise         = false
)
