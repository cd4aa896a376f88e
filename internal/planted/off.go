//go:build !planted

/*
Package planted names mistakes in the order of steps that only tests make: a proof shows with them that it would notice.
In a build without the tag planted they are constants that are false, and the compiler leaves no trace of them.

	AckAtAppend     a stable write is acknowledged before it is flushed
	ReleaseFirst    the log lets go of records before their SCO stands
	HeadFirst       a volume's head names a root before that stands
	FileHeadFirst   a file's head names chunks before they stand
*/
package planted

// The mistakes.
const (
	AckAtAppend   = false
	ReleaseFirst  = false
	HeadFirst     = false
	FileHeadFirst = false
)
