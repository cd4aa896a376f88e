package main

import (
	"context"
	"fmt"
	"time"

	"ovs/tests/oracle/nfsclient"
)

// What calls and replies weigh on the wire, in bytes: headers, credentials, handle and attributes with and without 4 KiB.
const (
	small    = 128
	withData = 4096 + small
)

// writes are the two modes of a write row. Sustained begins to count when half of the log is full: from there on the server
// brings to the backend as much as comes in, so that the row pays for all that it writes.
func writes(burst, sustained time.Duration) []mode {
	return []mode{{"burst", limit{time: burst, written: 0.4}}, {"sustained", limit{time: sustained, written: 3, warm: 0.5}}}
}

func once(d time.Duration) []mode { return []mode{{"", limit{time: d}}} }

// rows are all that is measured, in their order.
func rows() []*row {
	var all []*row
	all = append(all, writeRows()...)
	all = append(all, readRows()...)
	all = append(all, streamRows()...)
	return append(all, nameRows()...)
}

// load makes a job out of a load over a volume.
func loadOn(name string, size uint64, full bool, make func(*bench, nfsclient.Handle) *load) func(context.Context, *bench) (job, error) {
	return func(ctx context.Context, b *bench) (job, error) {
		h, err := b.volume(ctx, name, size, full)
		if err != nil {
			return nil, err
		}
		l := make(b, h)
		b.restart = l.restart
		return func(ctx context.Context) (outcome, error) {
			err := l.run(ctx)
			out := outcome{ops: int(l.done), h: &l.hist}
			if l.commits.N > 0 {
				out.notes = append(out.notes, fmt.Sprintf("COMMIT after every %d WRITEs: p50 %.0f µs, p99 %.0f µs",
					l.group, us(l.commits.At(0.5)), us(l.commits.At(0.99))))
			}
			if l.jukebox > 0 {
				out.notes = append(out.notes, fmt.Sprintf("%d answers JUKEBOX", l.jukebox))
			}
			return out, err
		}, nil
	}
}

func randomWrite(stable uint32, depth, group int) func(context.Context, *bench) (job, error) {
	return loadOn("random-flat.vmdk", randomVol, true, func(b *bench, h nfsclient.Handle) *load {
		return b.randomWrites(h, randomVol, stable, depth, group)
	})
}

func writeRows() []*row {
	// Payload first: it is what the row is held against. The padded bytes, which our log writes for a single
	// record, stand beside it.
	alone := func(b *bench) []*probe {
		return []*probe{b.flushes(4096, 1), b.trips(withData, small, 1), b.flushes(8192, 0)}
	}
	return []*row{{
		name: "4 KiB random write FILE_SYNC, depth 1", modes: writes(8*time.Second, 80*time.Second),
		prepare: randomWrite(nfsclient.FileSync, 1, 0), floors: alone, ratio: latency, profile: bursts{2, 5},
		target: func(r *result) (string, bool) { return "median at most 1.6x", r.Ratio <= 1.6 },
	}, {
		name: "4 KiB random write FILE_SYNC, depth 32", modes: writes(8*time.Second, 40*time.Second),
		prepare: randomWrite(nfsclient.FileSync, 32, 0), floors: alone, ratio: throughput, profile: bursts{4, 2},
		target: func(r *result) (string, bool) { return "at least 6x the floor's rate", r.Ratio >= 6 },
	}, {
		name: "4 KiB random write UNSTABLE, depth 32, COMMIT", modes: writes(8*time.Second, 40*time.Second),
		prepare: randomWrite(nfsclient.Unstable, 32, 256),
		floors:  func(b *bench) []*probe { return []*probe{b.flushes(1<<20, 1), b.pipeline(withData, small, 32)} },
		ratio: func(r *result, p []*probe) (float64, string) {
			return r.Rate / (256 * p[0].best), "of the rate of 256 blocks per flush"
		},
	}}
}

func cachedRead(depth int) func(context.Context, *bench) (job, error) {
	return func(ctx context.Context, b *bench) (job, error) {
		h, err := b.volume(ctx, "read-flat.vmdk", readVol, true)
		if err != nil {
			return nil, err
		}
		warm := b.reads(h, readVol, 1<<20, 8, true)
		within, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		fill := warm.fill
		warm.fill = func(o *op) {
			if o.seq == readVol>>20 {
				cancel()
			}
			fill(o)
		}
		if err := warm.run(within); err != nil {
			return nil, err
		}
		return loadOn("read-flat.vmdk", readVol, true, func(b *bench, h nfsclient.Handle) *load {
			return b.reads(h, readVol, 4096, depth, false)
		})(ctx, b)
	}
}

func readRows() []*row {
	attrs := func(depth int) func(context.Context, *bench) (job, error) {
		return loadOn("read-flat.vmdk", readVol, true, func(b *bench, h nfsclient.Handle) *load { return b.getattrs(h, depth) })
	}
	return []*row{{
		name: "4 KiB random cached read, depth 1", modes: once(4 * time.Second), prepare: cachedRead(1), ratio: latency,
		floors: func(b *bench) []*probe { return []*probe{b.trips(small, withData, 1)} },
	}, {
		name: "4 KiB random cached read, depth 32", modes: once(5 * time.Second), prepare: cachedRead(32), ratio: throughput, profile: bursts{1, 5},
		floors: func(b *bench) []*probe { return []*probe{b.pipeline(small, withData, 32)} },
		target: func(r *result) (string, bool) {
			return "60,000/s and at most 12 µs of server CPU", r.Rate >= 60000 && r.Server <= 12
		},
	}, {
		name: "GETATTR, depth 1", modes: once(3 * time.Second), prepare: attrs(1), ratio: latency,
		floors: func(b *bench) []*probe { return []*probe{b.trips(small, small, 1)} },
	}, {
		name: "GETATTR, depth 32", modes: once(3 * time.Second), prepare: attrs(32), ratio: throughput,
		floors: func(b *bench) []*probe { return []*probe{b.pipeline(small, small, 32)} },
	}}
}

func streamRows() []*row {
	read := loadOn("read-flat.vmdk", readVol, true, func(b *bench, h nfsclient.Handle) *load {
		return b.reads(h, readVol, 1<<20, 8, true)
	})
	return []*row{{
		name: "1 MiB sequential write FILE_SYNC, depth 8", unit: "MiB", modes: writes(8*time.Second, 40*time.Second), ratio: throughput,
		prepare: loadOn("sequential-flat.vmdk", seqVol, false, func(b *bench, h nfsclient.Handle) *load {
			return b.sequential(h, seqVol, nfsclient.FileSync, 8)
		}),
		floors: func(b *bench) []*probe { return []*probe{b.streams(false), b.pipeline(1<<20, small, 8)} },
	}, {
		name: "1 MiB sequential read, cached, depth 8", unit: "MiB", modes: once(4 * time.Second), ratio: throughput,
		prepare: func(ctx context.Context, b *bench) (job, error) {
			if _, err := cachedRead(1)(ctx, b); err != nil {
				return nil, err
			}
			return read(ctx, b)
		},
		floors: func(b *bench) []*probe { return []*probe{b.pipeline(small, 1<<20, 8), b.streams(true)} },
	}, {
		name: "1 MiB sequential read from the backend, depth 8", unit: "MiB", modes: once(time.Minute), ratio: throughput,
		prepare: coldRead,
		floors:  func(b *bench) []*probe { return []*probe{b.streams(true), b.pipeline(small, 1<<20, 8)} },
	}}
}

// coldRead starts the server anew, drops the page cache of its directory, and reads the volume once.
func coldRead(ctx context.Context, b *bench) (job, error) {
	h, err := b.volume(ctx, "read-flat.vmdk", readVol, true)
	if err != nil {
		return nil, err
	}
	if err := b.s.stop(); err != nil {
		return nil, err
	}
	if err := forget(b.s.daemon.Data); err != nil {
		return nil, err
	}
	if err := b.s.start(ctx); err != nil {
		return nil, err
	}
	l := b.reads(h, readVol, 1<<20, 8, true)
	return func(ctx context.Context) (outcome, error) {
		within, cancel := context.WithCancel(ctx)
		defer cancel()
		fill := l.fill
		l.fill = func(o *op) {
			if o.seq == readVol>>20-int64(l.depth) { // each call in flight ends as one more
				cancel()
			}
			fill(o)
		}
		err := l.run(within)
		return outcome{ops: int(l.done), h: &l.hist}, err
	}, nil
}
