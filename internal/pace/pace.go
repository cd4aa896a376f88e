/*
Package pace lets long work in the background step aside for what a client waits for.

	build an SCO    64 KiB │ 64 KiB │ 64 KiB │ …
	                       ▲        ▲
	                       whoever became ready meanwhile runs here, goroutine or thread, if need be another process

A woken goroutine may have to wait until the one at work on its processor ends, and a woken thread until the one at work on
its CPU has used up its slice, though another CPU goes idle at once: neither scheduler looks again so soon. Milliseconds of
copying, checksums and parity in one go were seen in the latency of every write beside them.
*/
package pace

import (
	"runtime"
	"syscall"
)

// Step is how much work goes between two looks, in bytes that are copied, hashed or coded: some tens of microseconds.
const Step = 64 << 10

// Work counts what one goroutine did since it stepped aside last. The zero value is ready.
type Work struct {
	Hurry bool // the background does not keep up: it does not step aside, for what it leaves undone costs more later
	n     int
}

// Did steps aside where n bytes more make a Step. No lock may be held that a client's operation takes.
func (w *Work) Did(n int) {
	if w.n += n; w.n < Step {
		return
	}
	w.n = 0
	if w.Hurry {
		return
	}
	runtime.Gosched()
	_, _, _ = syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0)
}
