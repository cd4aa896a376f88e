package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ovs/tests/daemon"
	"ovs/tests/oracle/nfsclient"
)

// Sizes of the means of measurement, in bytes.
const (
	poolSize  = 8 << 20   // random data that all payloads are cut from: longer than what any compression looks back
	randomVol = 512 << 20 // the volume of the random writes
	readVol   = 256 << 20 // the volume that is read
	seqVol    = 1 << 30   // the volume of the sequential writes, written round and round
)

// bench is one run: a server in a directory of its own, the floors beside it, and what was prepared on the server.
type bench struct {
	dir   string // holds all files of the run; removed at its end
	scale float64
	pool  []byte // poolSize, and its beginning once more
	disk  *disk
	echo  *echo
	s     server
	vols  map[string]nfsclient.Handle // prepared files and directories by name
	made  int                         // directories for created files
	pages float64                     // calls of one listing

	restart func() // makes the running load forget what it counted so far; nil where a row has no warm-up
}

// newBench starts everything. bin is the server, parent the directory under which the run's own is made.
func newBench(ctx context.Context, bin, parent, logSize string, scale float64) (b *bench, err error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "run-")
	if err != nil {
		return nil, err
	}
	b = &bench{dir: dir, scale: scale, vols: map[string]nfsclient.Handle{}}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	b.pool = make([]byte, poolSize+1<<20)
	r := rand.NewPCG(1, 2)
	for i := 0; i < poolSize; i += 8 {
		binary.LittleEndian.PutUint64(b.pool[i:], r.Uint64())
	}
	copy(b.pool[poolSize:], b.pool)
	if b.disk, err = newDisk(dir, b.pool); err != nil {
		return b, err
	}
	if b.echo, err = startEcho(); err != nil {
		return b, err
	}
	copied := filepath.Join(dir, "ovs") // `make build` may replace the other one meanwhile
	text, err := os.ReadFile(bin)
	if err != nil {
		return b, err
	}
	if err = os.WriteFile(copied, text, 0o755); err != nil {
		return b, err
	}
	b.s.daemon = daemon.Server{Bin: copied, Data: filepath.Join(dir, "data"), Args: []string{"--log-size", logSize}}
	return b, b.s.start(ctx)
}

func (b *bench) close() {
	b.s.kill()
	if b.echo != nil {
		b.echo.close()
	}
	if b.disk != nil {
		b.disk.close()
	}
	if err := os.RemoveAll(b.dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

func (b *bench) seconds(n float64) time.Duration {
	return time.Duration(n * b.scale * float64(time.Second))
}

// content is what stands at an offset of every volume that is written in order.
func (b *bench) content(off uint64, n int) []byte {
	at := off % poolSize
	return b.pool[at : at+uint64(n)]
}

// volume gives a file of that name and size, filled where it is to be read or overwritten.
func (b *bench) volume(ctx context.Context, name string, size uint64, full bool) (nfsclient.Handle, error) {
	if h, ok := b.vols[name]; ok {
		return h, nil
	}
	h, _, err := b.s.nfs.Create(ctx, b.s.nfs.Root, name, nfsclient.Guarded, 0)
	if err != nil {
		return h, fmt.Errorf("create %s: %w", name, err)
	}
	if err := b.s.nfs.Truncate(ctx, h, size); err != nil {
		return h, fmt.Errorf("resize %s: %w", name, err)
	}
	if full {
		l := b.sequential(h, size, nfsclient.Unstable, 8)
		within, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		stop := l.fill
		l.fill = func(o *op) {
			if uint64(o.seq)<<20 >= size {
				cancel() // those on their way may write the beginning once more: the same bytes
			}
			stop(o)
		}
		if err := l.run(within); err != nil {
			return h, fmt.Errorf("fill %s: %w", name, err)
		}
		file := nfsclient.File{Conn: b.s.nfs.Conn(0), Handle: h, Context: ctx}
		if _, err := file.Commit(); err != nil {
			return h, err
		}
	}
	b.vols[name] = h
	return h, b.s.settle(ctx)
}

// directory gives a directory of that name.
func (b *bench) directory(ctx context.Context, name string) (nfsclient.Handle, error) {
	if h, ok := b.vols[name]; ok {
		return h, nil
	}
	h, _, err := b.s.nfs.Mkdir(ctx, b.s.nfs.Root, name)
	if err == nil {
		b.vols[name] = h
	}
	return h, err
}

// sequential is a load of 1 MiB writes, one after the other, round and round.
func (b *bench) sequential(h nfsclient.Handle, size uint64, stable uint32, depth int) *load {
	conn := b.s.nfs.Conn(0)
	return &load{
		conn: conn, depth: depth,
		fill: func(o *op) {
			o.File, o.Off, o.Stable = h, uint64(o.seq)<<20%size, stable
			o.Data = b.content(o.Off, 1<<20)
		},
		send:  func(o *op) { conn.Write(&o.Call) },
		check: written,
	}
}

// randomWrites is a load of 4 KiB writes anywhere in a volume.
func (b *bench) randomWrites(h nfsclient.Handle, size uint64, stable uint32, depth, group int) *load {
	conn := b.s.nfs.Conn(0)
	return &load{
		conn: conn, depth: depth, group: group, file: h,
		fill: func(o *op) {
			v := o.rnd.Uint64()
			o.File, o.Off, o.Stable = h, v%(size/4096)*4096, stable
			at := v >> 40 % (poolSize / 64) * 64
			o.Data = b.pool[at : at+4096]
		},
		send:  func(o *op) { conn.Write(&o.Call) },
		check: written,
	}
}

func written(o *op) error {
	if o.N != len(o.Data) || o.Committed < o.Stable {
		return fmt.Errorf("WRITE of %d bytes, stable %d, was answered with %d bytes, stable %d", len(o.Data), o.Stable, o.N, o.Committed)
	}
	return nil
}

// reads is a load of reads of n bytes, in order or anywhere; every byte is compared.
func (b *bench) reads(h nfsclient.Handle, size uint64, n, depth int, inOrder bool) *load {
	conn := b.s.nfs.Conn(0)
	return &load{
		conn: conn, depth: depth,
		fill: func(o *op) {
			if o.Dst == nil {
				o.Dst = make([]byte, n)
			}
			o.File = h
			if at := uint64(o.seq); inOrder {
				o.Off = at * uint64(n) % size
			} else {
				o.Off = o.rnd.Uint64() % (size / uint64(n)) * uint64(n)
			}
		},
		send: func(o *op) { conn.Read(&o.Call) },
		check: func(o *op) error {
			if o.N != n || !bytes.Equal(o.Dst, b.content(o.Off, n)) {
				return fmt.Errorf("READ at %d gave %d bytes, or other ones than were written", o.Off, o.N)
			}
			return nil
		},
	}
}

// getattrs is a load of GETATTR.
func (b *bench) getattrs(h nfsclient.Handle, depth int) *load {
	conn := b.s.nfs.Conn(0)
	return &load{conn: conn, depth: depth, fill: func(o *op) { o.File = h }, send: func(o *op) { conn.GetAttr(&o.Call) }}
}

// limit is where a row ends: whichever comes first.
type limit struct {
	time    time.Duration
	written float64 // to the log, in sizes of the log; 0: no limit
	warm    float64 // sizes of the log that are written before anything counts, in proportionate time
}

// watch runs a job within a limit and says what it cost, without the cost of asking.
func (b *bench) watch(ctx context.Context, lim limit, job func(context.Context) error) (counts, error) {
	first, err := b.s.counts(ctx)
	if err != nil {
		return first, err
	}
	before, err := b.s.counts(ctx)
	if err != nil {
		return before, err
	}
	asking := before.minus(first)
	most := lim.time
	if lim.warm > 0 && b.restart != nil {
		most += time.Duration(float64(lim.time) * lim.warm / lim.written)
	}
	within, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	asked := make(chan int, 1)
	go func() {
		var n int
		before, n = b.follow(within, lim, before)
		cancel()
		asked <- n
	}()
	err = job(within)
	cancel()
	n := <-asked + 1
	if ctx.Err() != nil {
		return before, ctx.Err()
	}
	if err != nil {
		return before, fmt.Errorf("%w\nthe server's last words:\n%s", err, strings.TrimSpace(b.s.process.Tail()))
	}
	ended := time.Now()
	after, err := b.s.counts(ctx)
	after.at = ended
	cost := after.minus(before)
	cost.allocs = max(0, cost.allocs-float64(n)*asking.allocs)
	return cost, err
}

// follow waits until a row has come to its limit. It gives the counts from which the row counts, after its warm-up, and
// how often it asked for more since.
func (b *bench) follow(ctx context.Context, lim limit, before counts) (from counts, asked int) {
	if lim.warm > 0 && b.restart != nil {
		b.untilWritten(ctx, limit{written: lim.warm}, before)
		if c, err := b.s.counts(ctx); err == nil {
			b.restart()
			before = c
		}
	}
	return before, b.untilWritten(ctx, lim, before)
}

// untilWritten returns when ctx ends or as much was written to the log as lim allows, and says how often it asked. It asks
// when two thirds of the way that is left should be gone.
func (b *bench) untilWritten(ctx context.Context, lim limit, before counts) (asked int) {
	if lim.written == 0 {
		<-ctx.Done()
		return 0
	}
	for wait := 200 * time.Millisecond; ; {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return asked
		case <-timer.C:
		}
		c, err := b.s.counts(ctx)
		if err != nil {
			return asked
		}
		asked++
		gone := (c.log - before.log) / (lim.written * c.size)
		if gone >= 0.99 {
			return asked
		}
		left := time.Duration(float64(c.at.Sub(before.at)) / max(gone, 0.001) * (1 - gone))
		wait = min(max(left*2/3, 50*time.Millisecond), time.Second)
	}
}
