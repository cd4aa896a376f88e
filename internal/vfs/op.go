package vfs

import "errors"

// Op names a kind of call on a disk: for counts, for fault rules, for planted bugs.
type Op = string

// The kinds of calls.
const (
	OpOpen        Op = "open"   // OpenFile that can neither create nor truncate
	OpCreate      Op = "create" // OpenFile with O_CREATE or O_TRUNC
	OpRead        Op = "read"
	OpWrite       Op = "write"
	OpDatasync    Op = "datasync"
	OpSync        Op = "sync"
	OpTruncate    Op = "truncate"
	OpPunchHole   Op = "punchhole"
	OpPreallocate Op = "preallocate"
	OpClose       Op = "close"
	OpMkdir       Op = "mkdir"
	OpRemove      Op = "remove" // Remove and RemoveAll
	OpRename      Op = "rename"
	OpLink        Op = "link"
	OpReadDir     Op = "readdir"
	OpStat        Op = "stat"
	OpSyncDir     Op = "syncdir"
	OpLock        Op = "lock"
	OpSpace       Op = "space"
)

// ErrPowerCut is what every call on a Crash disk, and on files open on it, answers once its power is gone.
var ErrPowerCut = errors.New("vfs: power cut")

// changes tells whether a call changes what a power cut may leave behind. Only these are steps for CutAt: a cut before
// any other call is the same as one after the last step.
func changes(op Op) bool {
	switch op {
	case OpCreate, OpWrite, OpDatasync, OpSync, OpTruncate, OpPunchHole, OpMkdir, OpRemove, OpRename, OpLink, OpSyncDir:
		return true
	}
	return false
}

func openOp(flag int) Op {
	if flag&(createFlags) != 0 {
		return OpCreate
	}
	return OpOpen
}

// Mark tells a disk under test that the program is at a named point (before an acknowledgement, between two flushes), so
// that a test can count these points and cut the power at them. Other disks do nothing.
func Mark(disk FS, name string) {
	if m, ok := disk.(interface{ Mark(name string) }); ok {
		m.Mark(name)
	}
}
