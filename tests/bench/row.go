package main

import (
	"context"
	"fmt"

	"ovs/tests/measure"
)

// result is one line of the table. Times are in µs.
type result struct {
	Row, Mode string
	Unit      string // of Rate, which is per second
	Rate      float64
	Ops       int
	Seconds   float64
	P50, P99  float64
	Server    float64 // CPU per operation
	Client    float64 // CPU per operation
	Inside    float64 // mean of a call, from whole in the server's memory to its reply encoded
	Allocs    float64 // heap allocations of the server per operation
	LogBytes  float64 // written to the log per operation, padding included
	LogTimes  float64 // written to the log in all, in sizes of the log
	Flushes   float64 // of the log, per operation
	Floors    []string
	Ratio     float64
	RatioOf   string // what Ratio is
	Target    string // empty: none
	Met       bool
	Notes     []string
	Load      float64 // load average of the machine's last minute
}

// outcome is what a job found out by itself.
type outcome struct {
	ops   int
	h     *measure.Hist
	notes []string
}

// job does operations until its context ends, which is its normal end.
type job func(context.Context) (outcome, error)

// mode is one way to measure a row: burst and sustained for writes, one unnamed for the rest.
type mode struct {
	name string
	limit
}

// row is one kind of operation.
type row struct {
	name    string
	unit    string // operations, where empty
	modes   []mode
	prepare func(context.Context, *bench) (job, error) // before each mode; not measured
	floors  func(*bench) []*probe
	ratio   func(*result, []*probe) (float64, string)
	target  func(*result) (string, bool) // nil: none
	profile bursts                       // how its CPU profile is taken, in the first mode; none by default
}

// key names a row and mode in the state of a run.
func (r *row) key(m mode) string { return r.name + "/" + m.name }

// measure does one row in one mode, between its floors.
func (b *bench) measure(ctx context.Context, r *row, m mode) (res result, err error) {
	b.restart = nil
	work, err := r.prepare(ctx, b)
	if err != nil {
		return res, err
	}
	if err := b.s.settle(ctx); err != nil {
		return res, err
	}
	probes := r.floors(b)
	beside := func() error {
		for _, p := range probes {
			if err := p.measure(); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	if err := beside(); err != nil {
		return res, err
	}
	var out outcome
	m.time = b.seconds(m.time.Seconds())
	cost, err := b.watch(ctx, m.limit, func(within context.Context) (err error) {
		out, err = work(within)
		return err
	})
	if err != nil {
		return res, err
	}
	if out.ops == 0 {
		return res, fmt.Errorf("not one operation was through in %v", m.time)
	}
	if err := b.s.settle(ctx); err != nil {
		return res, err
	}
	if err := beside(); err != nil {
		return res, err
	}
	n := float64(out.ops)
	res = result{
		Row: r.name, Mode: m.name, Unit: r.unit, Ops: out.ops, Seconds: cost.took.Seconds(), Rate: n / cost.took.Seconds(),
		P50: us(out.h.At(0.5)), P99: us(out.h.At(0.99)), Server: us(cost.server) / n, Client: us(cost.client) / n,
		Inside: cost.inside * 1e6 / max(cost.calls, 1), Allocs: cost.allocs / n, LogBytes: cost.log / n, LogTimes: cost.log / cost.size, Flushes: cost.flushes / n,
		Notes: out.notes, Load: loadAverage(),
	}
	for _, p := range probes {
		res.Floors = append(res.Floors, p.String())
	}
	res.Ratio, res.RatioOf = r.ratio(&res, probes)
	if r.target != nil {
		res.Target, res.Met = r.target(&res)
	}
	if m.written > 0 && res.LogTimes < 0.98*m.written {
		res.Notes = append(res.Notes, fmt.Sprintf("ended by its time, after %.2f times the log", res.LogTimes))
	}
	return res, nil
}

// latency compares the median with the sum of the floors' medians.
func latency(r *result, probes []*probe) (float64, string) {
	sum := 0.0
	for _, p := range probes {
		sum += us(p.median) * p.times
	}
	return r.P50 / sum, "of the floor's median"
}

// throughput compares the rate with the first floor's.
func throughput(r *result, probes []*probe) (float64, string) {
	return r.Rate / probes[0].best, "of the floor's rate"
}
