package main

import (
	"fmt"
	"slices"
	"time"
)

// probe is a floor that is measured right before and right after a row, so that what else the machine does weighs on both.
type probe struct {
	name  string
	run   func(*probe) error
	times float64 // how often one operation of the row pays for it
	h     hist
	rates []float64 // per second, where the floor is a rate
}

// each is how long a probe runs before a row, and again after it.
const each = 1.0

// flushes is the floor of a stable write: an overwrite of n bytes in a file already written, and fdatasync.
func (b *bench) flushes(n int, times float64) *probe {
	return &probe{name: fmt.Sprintf("%s overwrite + fdatasync", size(n)), times: times,
		run: func(p *probe) error { return b.disk.flush(n, b.seconds(each), &p.h) }}
}

// trips is the floor of a call: a round trip over loopback to another process.
func (b *bench) trips(ask, reply int, times float64) *probe {
	return &probe{name: fmt.Sprintf("round trip %s / %s", size(ask), size(reply)), times: times, run: func(p *probe) error {
		_, err := b.echo.trip(ask, reply, 1, b.seconds(each), &p.h)
		return err
	}}
}

// pipeline is the floor of calls at depth.
func (b *bench) pipeline(ask, reply, depth int) *probe {
	return &probe{name: fmt.Sprintf("loopback %s / %s at depth %d", size(ask), size(reply), depth), run: func(p *probe) error {
		r, err := b.echo.trip(ask, reply, depth, b.seconds(each), nil)
		p.rates = append(p.rates, r)
		return err
	}}
}

// streams is the floor of 1 MiB calls, in calls per second.
func (b *bench) streams(read bool) *probe {
	name := "raw sequential write"
	if read {
		name = "raw sequential read"
	}
	return &probe{name: name, run: func(p *probe) error {
		r, err := b.disk.stream(read, b.seconds(each))
		p.rates = append(p.rates, r/(1<<20))
		return err
	}}
}

// micros is the median of one, in µs.
func (p *probe) micros() float64 { return us(p.h.at(0.5)) }

// rate is how often it goes in a second. Where that is one after the other, it is the better one of what was counted and
// what the median gives: moments at which the machine was busy with others must not lower the floor.
func (p *probe) rate() float64 {
	if len(p.rates) == 0 {
		return max(float64(time.Second)/float64(p.h.mean()), float64(time.Second)/float64(p.h.at(0.5)))
	}
	return slices.Max(p.rates)
}

func (p *probe) String() string {
	if len(p.rates) > 0 {
		return fmt.Sprintf("%s: %.0f/s", p.name, p.rate())
	}
	s := fmt.Sprintf("%s: p50 %.0f µs, p99 %.0f µs", p.name, p.micros(), us(p.h.at(0.99)))
	if p.times > 1 {
		s = fmt.Sprintf("%.0f x %s", p.times, s)
	}
	return s
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
