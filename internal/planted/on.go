//go:build planted

// Package planted: see off.go.
package planted

// The mistakes. A test sets them while no node runs.
var (
	AckAtAppend   bool
	ReleaseFirst  bool
	HeadFirst     bool
	FileHeadFirst bool
)
