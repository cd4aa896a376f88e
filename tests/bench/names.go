package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"ovs/tests/measure"
	"ovs/tests/oracle/nfsclient"
)

// listed is how many files the directory that is listed has.
const listed = 10000

func nameRows() []*row {
	// A name is made durable by Raft, its data by the write log.
	floors := func(b *bench) []*probe { return []*probe{b.flushes(4096, 2), b.trips(withData, small, 2)} }
	return []*row{{
		name: "create + 4 KiB + close, 1 at a time", unit: "files", modes: writes(5*time.Second, 15*time.Second),
		prepare: creates(1), floors: floors, ratio: latency,
	}, {
		name: "create + 4 KiB + close, 8 at a time", unit: "files", modes: writes(5*time.Second, 15*time.Second),
		prepare: creates(8), floors: floors,
		ratio: func(r *result, p []*probe) (float64, string) {
			return r.Rate * 2 / p[0].best, "of the rate of two flushes"
		},
	}, {
		name: "READDIRPLUS of 10,000", unit: "listings", modes: once(4 * time.Second), prepare: list, ratio: latency,
		floors: func(b *bench) []*probe { return []*probe{b.trips(small, 64<<10, b.pages)} },
	}}
}

// creates makes files of 4 KiB: CREATE (GUARDED) and WRITE (FILE_SYNC), as a Linux client does for open, write and
// close of so little: there is nothing left to COMMIT.
func creates(workers int) func(context.Context, *bench) (job, error) {
	return func(ctx context.Context, b *bench) (job, error) {
		b.made++
		dir, err := b.directory(ctx, fmt.Sprintf("made-%d", b.made))
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (outcome, error) {
			out := outcome{h: &measure.Hist{}}
			var mu sync.Mutex // guards out.h and failed
			var failed error
			var all sync.WaitGroup
			for w := range workers {
				all.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						began := time.Now()
						err := b.makeFile(dir, fmt.Sprintf("file-%d-%06d", w, i), b.content(uint64(i*workers+w)*4096, 4096))
						mu.Lock()
						if failed = errors.Join(failed, err); err == nil {
							out.h.Add(time.Since(began))
						}
						mu.Unlock()
						if err != nil {
							return
						}
					}
				})
			}
			all.Wait()
			out.ops = out.h.N
			return out, failed
		}, nil
	}
}

// makeFile is one file from CREATE to the last byte durable. It is not interrupted by the end of its row.
func (b *bench) makeFile(dir nfsclient.Handle, name string, data []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var h nfsclient.Handle
	err := patiently(ctx, func() (err error) {
		h, _, err = b.s.nfs.Create(ctx, dir, name, nfsclient.Guarded, 0)
		return err
	})
	if err != nil || data == nil {
		return err
	}
	file := nfsclient.File{Conn: b.s.nfs.Conn(0), Handle: h, Stable: nfsclient.FileSync, Context: ctx}
	return patiently(ctx, func() error {
		_, err := file.WriteAt(data, 0)
		return err
	})
}

// patiently asks again while the answer is JUKEBOX.
func patiently(ctx context.Context, f func() error) error {
	for {
		err := f()
		var s *nfsclient.StatusError
		if !errors.As(err, &s) || s.RPC || s.Status != nfsclient.StatusJukebox || ctx.Err() != nil {
			return err
		}
		time.Sleep(again)
	}
}

// list makes the directory once and lists it as often as the time allows.
func list(ctx context.Context, b *bench) (job, error) {
	if _, there := b.vols["many"]; !there {
		dir, err := b.directory(ctx, "many")
		if err != nil {
			return nil, err
		}
		if err := b.makeMany(dir); err != nil {
			return nil, err
		}
	}
	dir := b.vols["many"]
	once := func(ctx context.Context) (pages int, err error) {
		var p nfsclient.Page
		for ; !p.EOF; pages++ {
			if err := b.s.nfs.ReadDirPage(ctx, dir, 32<<10, 64<<10, &p); err != nil {
				return pages, err
			}
		}
		if len(p.Entries) != listed {
			return pages, fmt.Errorf("the directory of %d files lists %d", listed, len(p.Entries))
		}
		return pages, nil
	}
	pages, err := once(ctx)
	b.pages = float64(pages)
	return func(ctx context.Context) (outcome, error) {
		out := outcome{h: &measure.Hist{}, notes: []string{fmt.Sprintf("%d calls per listing", pages)}}
		for ; ctx.Err() == nil; out.ops++ {
			began := time.Now()
			if _, err := once(context.WithoutCancel(ctx)); err != nil {
				return out, err
			}
			out.h.Add(time.Since(began))
		}
		return out, nil
	}, err
}

func (b *bench) makeMany(dir nfsclient.Handle) error {
	var all sync.WaitGroup
	const workers = 50
	failed := make([]error, workers)
	for w := range workers {
		all.Go(func() {
			for i := w; i < listed && failed[w] == nil; i += workers {
				failed[w] = b.makeFile(dir, fmt.Sprintf("file-%05d", i), nil)
			}
		})
	}
	all.Wait()
	return errors.Join(failed...)
}
