package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"ovs/tests/measure"
)

// probe is a floor. It is measured before a row and after it, both times with an idle server, and the better of the two
// counts: what else the machine does for a moment must not lower the floor.
type probe struct {
	name  string
	times float64                                              // how often one operation of the row pays for it
	run   func(h *measure.Hist) (perSecond float64, err error) // the rate where it is no sequence of single ones; else h is filled

	median time.Duration // of the better time, with its p99 and CPU per operation
	p99    time.Duration
	cpu    time.Duration
	best   float64 // per second
}

// each is how long a probe runs before a row, and again after it, in seconds.
const each = 1.0

// measure runs the probe once more.
func (p *probe) measure() error {
	var h measure.Hist
	before, err := ownCPU()
	if err != nil {
		return err
	}
	rate, err := p.run(&h)
	if err != nil {
		return err
	}
	after, err := ownCPU()
	if err != nil {
		return err
	}
	if h.N > 0 {
		rate = max(float64(time.Second)/float64(h.Mean()), float64(time.Second)/float64(h.At(0.5)))
		if m := h.At(0.5); p.median == 0 || m < p.median {
			p.median, p.p99, p.cpu = m, h.At(0.99), (after-before)/time.Duration(h.N)
		}
	}
	p.best = max(p.best, rate)
	return nil
}

// flushes is the floor of a stable write: an overwrite of n bytes in a file already written, and fdatasync.
func (b *bench) flushes(n int, times float64) *probe {
	return &probe{name: size(n) + " overwrite + fdatasync", times: times, run: func(h *measure.Hist) (float64, error) {
		return 0, b.disk.flush(n, b.seconds(each), h)
	}}
}

// trips is the floor of a call: a round trip over loopback to another process.
func (b *bench) trips(ask, reply int, times float64) *probe {
	return &probe{name: fmt.Sprintf("round trip %s / %s", size(ask), size(reply)), times: times, run: func(h *measure.Hist) (float64, error) {
		return b.echo.trip(ask, reply, 1, b.seconds(each), h)
	}}
}

// pipeline is the floor of calls at depth.
func (b *bench) pipeline(ask, reply, depth int) *probe {
	return &probe{name: fmt.Sprintf("loopback %s / %s at depth %d", size(ask), size(reply), depth), run: func(*measure.Hist) (float64, error) {
		return b.echo.trip(ask, reply, depth, b.seconds(each), nil)
	}}
}

// streams is the floor of 1 MiB calls, in calls per second.
func (b *bench) streams(read bool) *probe {
	name := "raw sequential write of 1 MiB"
	if read {
		name = "raw sequential read of 1 MiB"
	}
	return &probe{name: name, run: func(*measure.Hist) (float64, error) { return b.disk.stream(read, b.seconds(each)) }}
}

func (p *probe) String() string {
	if p.median == 0 {
		return fmt.Sprintf("%s: %.0f/s", p.name, p.best)
	}
	s := fmt.Sprintf("%s: p50 %.0f µs, p99 %.0f µs, CPU %.0f µs", p.name, us(p.median), us(p.p99), us(p.cpu))
	if p.times > 1 {
		s = fmt.Sprintf("%.0f x %s", p.times, s)
	}
	return s
}

// ownCPU is the CPU time of this process.
func ownCPU() (time.Duration, error) {
	var r unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), err
}

func us(d time.Duration) float64 { return float64(d) / 1e3 }

func size(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
