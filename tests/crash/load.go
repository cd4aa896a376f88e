package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"ovs/tests/oracle"
	"ovs/tests/oracle/nfsclient"
)

// Counts is what a load did, acknowledged operations only.
type Counts struct {
	Stable, Unstable, Commits, Committed, Reads, Resizes, Names, Bytes, Again atomic.Int64
}

// Load runs workers on disks and directories until the server is killed.
type Load struct {
	Client  *nfsclient.Client
	Disks   []*Disk
	Dirs    []*Dir
	Workers int // for the disks that do not resize, which there must be; each waits for its call before the next one
	Seed    uint64
	Counts  *Counts

	// Wrote, where it is set, hears how long each stable write of 4 KiB took, from all workers at once.
	Wrote func(took time.Duration)
	// Over ends the workers after the operation that they are at.
	Over atomic.Bool
	// Killed is set before the server is: from then on a lost connection is no error.
	Killed atomic.Bool

	failed chan error // the first failure
}

// Run returns when every worker has ended, since the server is gone or it is Over, or with the first failure.
func (l *Load) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.failed = make(chan error, 1)
	var wg sync.WaitGroup
	start := func(id uint64, f func(context.Context, *rand.Rand) error) {
		wg.Go(func() {
			err := f(ctx, rand.New(rand.NewPCG(l.Seed, id)))
			var lost *nfsclient.LostError
			if errors.As(err, &lost) && l.Killed.Load() || err == nil {
				return
			}
			select {
			case l.failed <- err:
				cancel()
			default: // the first one counts
			}
		})
	}
	var shared []*Disk
	for i, d := range l.Disks {
		if !d.Resizes {
			shared = append(shared, d)
			continue
		}
		w := &worker{load: l, id: uint64(500 + i), conn: l.Client.Conn(i), disk: d}
		start(w.id, w.run)
	}
	for i := range l.Workers {
		w := &worker{load: l, id: uint64(i + 1), conn: l.Client.Conn(i), disk: shared[i%len(shared)]}
		start(w.id, w.run)
	}
	for i, d := range l.Dirs {
		start(uint64(1000+i), func(ctx context.Context, rnd *rand.Rand) error { return d.Work(ctx, l, rnd) })
	}
	wg.Wait()
	select {
	case err := <-l.failed:
		return err
	default:
		return nil
	}
}

// VerifyAll opens and reads everything after a start.
func VerifyAll(ctx context.Context, c *nfsclient.Client, disks []*Disk, dirs []*Dir) error {
	for i, d := range disks {
		if err := d.Open(ctx, c); err != nil {
			return err
		}
		if err := d.Verify(ctx, c.Conn(i)); err != nil {
			return err
		}
	}
	for _, d := range dirs {
		if err := d.Open(ctx, c); err != nil {
			return fmt.Errorf("directory %s: %w", d.Name, err)
		}
		if err := d.Verify(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// worker does one operation after the other on one disk.
type worker struct {
	load *Load
	id   uint64
	conn *nfsclient.Conn
	disk *Disk
	buf  [256 << 10]byte
}

func (w *worker) run(ctx context.Context, rnd *rand.Rand) error {
	for ctx.Err() == nil && !w.load.Over.Load() {
		var err error
		switch n := rnd.IntN(100); {
		case n < 6 && w.disk.Resizes:
			if err = w.disk.resize(ctx, w.load, rnd.Int64N(w.disk.Table.Sectors())); err == nil {
				w.load.Counts.Resizes.Add(1)
			}
		case n < 55:
			err = w.write(ctx, rnd, nfsclient.FileSync)
		case n < 75:
			err = w.write(ctx, rnd, nfsclient.Unstable)
		case n < 80:
			err = w.commit(ctx)
		default:
			err = w.read(ctx, rnd)
		}
		if err != nil {
			return fmt.Errorf("worker %d on %s: %w", w.id, w.disk.Name, err)
		}
	}
	return nil
}

// place picks sectors: mostly 4 KiB, often odd sectors, at times long; a tenth of the disk takes half of the writes.
func (w *worker) place(rnd *rand.Rand) (first, count int64) {
	switch n := rnd.IntN(10); {
	case n < 5:
		count = 8
	case n < 8:
		count = 1 + rnd.Int64N(24)
	case n < 9:
		count = 8 * (1 + rnd.Int64N(16))
	default:
		count = 1 + rnd.Int64N(int64(len(w.buf))/oracle.Sector)
	}
	room := w.disk.Table.Sectors() - count
	if rnd.IntN(2) == 0 {
		room /= 10
	}
	first = rnd.Int64N(room + 1)
	if rnd.IntN(3) > 0 {
		first -= first % 8
	}
	return first, count
}

func (w *worker) write(ctx context.Context, rnd *rand.Rand, stable uint32) error {
	first, count := w.place(rnd)
	b := w.buf[:count*oracle.Sector]
	token := w.disk.Table.Begin(w.id, first, b)
	if stable != nfsclient.Unstable {
		w.disk.Table.AskStable(token)
	}
	c := nfsclient.Call{File: w.disk.handle, Off: uint64(first) * oracle.Sector, Data: b, Stable: stable}
	began := time.Now()
	if err := w.load.patiently(ctx, w.conn, &c, w.conn.Write); err != nil {
		return err
	}
	if c.N != len(b) || c.Committed < stable {
		return fmt.Errorf("WRITE of %d bytes, stable %d: %d bytes, stable %d", len(b), stable, c.N, c.Committed)
	}
	w.disk.Table.Ack(token, c.Committed != nfsclient.Unstable, c.Verf)
	if stable == nfsclient.Unstable {
		w.load.Counts.Unstable.Add(1)
	} else {
		w.load.Counts.Stable.Add(1)
		if len(b) == 4096 && w.load.Wrote != nil {
			w.load.Wrote(time.Since(began))
		}
	}
	w.load.Counts.Bytes.Add(int64(len(b)))
	return nil
}

func (w *worker) commit(ctx context.Context) error {
	d := w.disk
	token := d.Table.BeginCommit()
	c := nfsclient.Call{File: d.handle}
	if err := w.load.patiently(ctx, w.conn, &c, w.conn.Commit); err != nil {
		return err
	}
	kept, lost := d.commit(token, c.Verf)
	if lost > 0 {
		return fmt.Errorf("COMMIT: the verifier of %d writes is another one, though the server runs on", lost)
	}
	w.load.Counts.Commits.Add(1)
	w.load.Counts.Committed.Add(int64(kept))
	return nil
}

func (w *worker) read(ctx context.Context, rnd *rand.Rand) error {
	first, count := w.place(rnd)
	b := w.buf[:count*oracle.Sector]
	token := w.disk.Table.BeginRead(first, count)
	c := nfsclient.Call{File: w.disk.handle, Off: uint64(first) * oracle.Sector, Dst: b}
	if err := w.load.patiently(ctx, w.conn, &c, w.conn.Read); err != nil {
		return err
	}
	if c.N != len(b) {
		return fmt.Errorf("READ of %d bytes gave %d", len(b), c.N)
	}
	w.load.Counts.Reads.Add(1)
	return w.disk.Table.EndRead(token, b)
}

// patiently does a call again while the answer is JUKEBOX: the server asks for that when its log is full.
func (l *Load) patiently(ctx context.Context, cn *nfsclient.Conn, c *nfsclient.Call, submit func(*nfsclient.Call)) error {
	for {
		err := nfsclient.Do(ctx, cn, c, submit)
		var status *nfsclient.StatusError
		if !errors.As(err, &status) || status.Status != nfsclient.StatusJukebox || status.RPC {
			return err
		}
		if err := l.pause(ctx); err != nil {
			return err
		}
	}
}

// pause waits as RFC 1813 says after JUKEBOX.
func (l *Load) pause(ctx context.Context) error {
	l.Counts.Again.Add(1)
	t := time.NewTimer(10 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
