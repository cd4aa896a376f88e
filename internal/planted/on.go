//go:build planted

// Package planted: see off.go.
package planted

// The mistakes. A test sets them while no node runs.
var (
	AckAtAppend     bool
	ReadInFlight    bool
	CommitAtOnce    bool
	ReleaseFirst    bool
	SealedUnflushed bool
	SegmentsLast    bool
	HeadFirst       bool
	DeleteFirst     bool
	FileHeadFirst   bool
	FileDeleteFirst bool
	NoRaise         bool
)
