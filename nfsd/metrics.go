package nfsd

import (
	"math/bits"
	"sync/atomic"

	"ovs"
)

// Counters are an engine's plain counts since it began.
type Counters struct {
	Connections atomic.Int64 // accepted
	Refused     atomic.Int64 // over the limit of connections, or not allowed
	BadRecords  atomic.Int64 // connections closed for what came on them
	Denied      atomic.Int64 // wrong RPC version or credential
	Unavailable atomic.Int64 // no such program, version or procedure
	Garbage     atomic.Int64 // arguments that could not be decoded
	BadHandles  atomic.Int64 // handles that this cluster never gave out
	Replayed    atomic.Int64 // retransmissions: answered from the reply cache, or with the first, which still runs
}

// latencyBuckets hold durations below 1 µs, 2 µs, 4 µs and so on; the last one all that are longer.
const latencyBuckets = 26

// procCounters are one procedure's.
type procCounters struct {
	calls, failed, nanos atomic.Int64
	buckets              [latencyBuckets]atomic.Int64
	stages               [ovs.StageCount]atomic.Int64
}

// add counts a call whose trace is complete.
func (p *procCounters) add(status uint32, t *ovs.Trace) {
	p.calls.Add(1)
	if status != statusOK {
		p.failed.Add(1)
	}
	nanos := t.At[ovs.StageCompleted] - t.At[ovs.StageReceived]
	p.nanos.Add(nanos)
	p.buckets[min(bits.Len64(uint64(nanos)/1000), latencyBuckets-1)].Add(1)
	last := t.At[ovs.StageReceived]
	for s := ovs.StageReceived + 1; s < ovs.StageCount; s++ {
		if at := t.At[s]; at > last {
			p.stages[s].Add(at - last)
			last = at
		}
	}
}

// ProcStat is what Collect tells of one procedure.
type ProcStat struct {
	Program, Proc string // such as "nfs", "write"
	Calls, Failed int64
	Nanos         int64                 // from the whole request in memory to its reply encoded, summed
	Buckets       [latencyBuckets]int64 // calls by duration: Buckets[i] took less than 2^i µs (and not less than half of that)
	Stages        [ovs.StageCount]int64 // nanoseconds, summed, up to each stage from the one that was met before it
}

// Stats is what Collect tells of the whole.
type Stats struct {
	Connections, Refused, BadRecords, Denied, Unavailable, Garbage, BadHandles, Replayed int64

	Open     int   // connections now
	InFlight int64 // requests now
	Buffers  int64 // bytes of buffers now
}

// Collect gives the counts of the whole and calls f for each procedure.
func (e *engine) Collect(f func(ProcStat)) Stats {
	for _, prog := range e.programs {
		for i := range prog.procs {
			p := &prog.procs[i]
			if p.run == nil {
				continue
			}
			s := ProcStat{Program: prog.name, Proc: p.name, Calls: p.counters.calls.Load(), Failed: p.counters.failed.Load(), Nanos: p.counters.nanos.Load()}
			for b := range s.Buckets {
				s.Buckets[b] = p.counters.buckets[b].Load()
			}
			for i := range s.Stages {
				s.Stages[i] = p.counters.stages[i].Load()
			}
			f(s)
		}
	}
	e.mu.Lock()
	open := len(e.conns)
	e.mu.Unlock()
	c := &e.counters
	return Stats{
		Connections: c.Connections.Load(), Refused: c.Refused.Load(), BadRecords: c.BadRecords.Load(), Denied: c.Denied.Load(),
		Unavailable: c.Unavailable.Load(), Garbage: c.Garbage.Load(), BadHandles: c.BadHandles.Load(), Replayed: c.Replayed.Load(),
		Open: open, InFlight: e.requests.used.Load(), Buffers: e.bytes.used.Load(),
	}
}
