package vfstest

import (
	"runtime"
	"strings"
)

// Asker names the function of the product that asks for the call on a disk that is under way, as in "dtl.(*Log).renew"; empty
// where only a test does. A hook that the disk calls (vfs.Crash.IgnoreSync), itself not counted, calls it.
func Asker() string {
	var pc [32]uintptr
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc[:])])
	for {
		f, more := frames.Next()
		who, ours := strings.CutPrefix(f.Function, "ovs/")
		if ours && !strings.HasPrefix(who, "internal/vfs") && !strings.HasPrefix(who, "tests/") {
			return who
		}
		if !more {
			return ""
		}
	}
}
