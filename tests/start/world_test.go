//go:build proof

package start

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ovs/framework/client"
	"ovs/tests/crash"
	"ovs/tests/daemon"
	"ovs/tests/measure"
	"ovs/tests/oracle/nfsclient"
)

const (
	filesInDir = 1000
	volumeSize = 40 << 20
	conns      = 8
	atOnce     = 16 // volumes read at a time
	workers    = 2  // on each volume
	fullFrom   = 0.85
	full       = 0.94 // the last 5 % of the log are for small files only
)

// world is one server and what is on it.
type world struct {
	rnd     *rand.Rand
	server  daemon.Server
	process *daemon.Process
	nfs     *nfsclient.Client
	api     *client.Client
	disks   []*crash.Disk
	dirs    []*crash.Dir
	counts  crash.Counts
	frozen  []string // mounted read only
	logAt   int64    // where the running server's part of its log file begins
}

func newWorld(bin, dir string, files, volumes int) *world {
	w := &world{rnd: rand.New(rand.NewPCG(rand.Uint64(), 0)), server: daemon.Server{Bin: bin, Data: filepath.Join(dir, "data"), Log: filepath.Join(dir, "log")}}
	for i := range volumes {
		w.disks = append(w.disks, crash.NewDisk(fmt.Sprintf("disk-%d-flat.vmdk", i), uint64(i+1), volumeSize))
	}
	for i := range (files + filesInDir - 1) / filesInDir {
		w.dirs = append(w.dirs, &crash.Dir{Name: fmt.Sprintf("names-%d", i)})
	}
	return w
}

// mount connects to the server that was just started.
func (w *world) mount(ctx context.Context) (err error) {
	if w.api, err = client.ForData(w.server.Data); err != nil {
		return err
	}
	w.nfs, err = nfsclient.Dial(ctx, nfsclient.Options{Addr: w.process.Addr(), Export: "/vpool1", Conns: conns, Depth: 64, Timeout: 2 * time.Minute})
	return err
}

// make makes all files and volumes on a new server, and writes to the volumes for a while.
func (w *world) make(ctx context.Context, files int, length time.Duration) (err error) {
	if w.process, err = w.server.Start(ctx); err != nil {
		return err
	}
	if err := w.mount(ctx); err != nil {
		return err
	}
	for _, d := range w.disks {
		if err := d.Open(ctx, w.nfs); err != nil {
			return err
		}
	}
	for _, d := range w.dirs {
		if err := d.Open(ctx, w.nfs); err != nil {
			return err
		}
	}
	if err := w.renew(ctx, files); err != nil {
		return err
	}
	return w.write(ctx, length)
}

// renew gives every file a new content.
func (w *world) renew(ctx context.Context, files int) error {
	l := &crash.Load{Client: w.nfs, Counts: &w.counts}
	return together(len(w.dirs), len(w.dirs), func(i int) error { return w.dirs[i].Renew(ctx, l, min(filesInDir, files-i*filesInDir)) })
}

// together calls f of 0 to n-1, so many at a time.
func together(n, atOnce int, f func(int) error) error {
	var next atomic.Int64
	errs := make(chan error, atOnce)
	for range atOnce {
		go func() {
			var err error
			for i := int(next.Add(1)) - 1; i < n && err == nil; i = int(next.Add(1)) - 1 {
				err = f(i)
			}
			errs <- err
		}()
	}
	var all error
	for range atOnce {
		all = errors.Join(all, <-errs)
	}
	return all
}

func (w *world) newLoad() *crash.Load {
	return &crash.Load{Client: w.nfs, Disks: w.disks, Workers: workers * len(w.disks), Seed: w.rnd.Uint64(), Counts: &w.counts}
}

// write loads the volumes for that long.
func (w *world) write(ctx context.Context, length time.Duration) error {
	l := w.newLoad()
	end := time.AfterFunc(length, func() { l.Over.Store(true) })
	defer end.Stop()
	return l.Run(ctx)
}

// stop ends the server in good order.
func (w *world) stop() error {
	defer w.gone()
	w.nfs.Close()
	return w.process.Stop()
}

// gone says that the server has ended. What was written UNSTABLE and not committed may be there or not: the verifier that
// the next start gives is another one.
func (w *world) gone() {
	for _, d := range w.disks {
		d.Table.Crash()
	}
}

// rest waits until no object is served: then nothing is owned, and the log holds nothing that counts.
func (w *world) rest(ctx context.Context) error {
	poll := time.NewTicker(time.Second)
	defer poll.Stop()
	for {
		m, err := w.metrics(ctx, "ovs_objects_serving")
		if err != nil || m[0] == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%.0f objects are not at rest: %w", m[0], ctx.Err())
		case <-poll.C:
		}
	}
}

func (w *world) metrics(ctx context.Context, names ...string) (v []float64, err error) {
	text, err := w.api.Metrics(ctx)
	for _, name := range names {
		if err != nil {
			return nil, err
		}
		var x float64
		x, err = measure.Metric(text, name)
		v = append(v, x)
	}
	return v, err
}

func (w *world) logUsed(ctx context.Context) (float64, error) {
	m, err := w.metrics(ctx, "ovs_log_used_bytes", "ovs_log_size_bytes")
	if err != nil {
		return 0, err
	}
	return m[0] / m[1], nil
}

// fillAndKill takes the disks away, writes until the log is full, all files once more near the end, and kills the server
// amid its writes. It gives the part of the log that was taken at the end.
func (w *world) fillAndKill(ctx context.Context, files int) (used float64, err error) {
	if err := w.freeze(); err != nil {
		return 0, err
	}
	l := w.newLoad()
	ended, renewed := make(chan error, 1), make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	began, done := false, false
	for err == nil && !(done && used >= full) {
		select {
		case err = <-ended:
			return 0, errors.Join(err, errors.New("the load ended before the log was full"))
		case err = <-renewed:
			done = true
		case <-w.process.Done():
			err = errors.New("the server ended by itself")
		case <-ctx.Done():
			err = fmt.Errorf("the log is only %.1f %% full: %w", 100*used, ctx.Err())
		case <-poll.C:
			used, err = w.logUsed(ctx)
			if used >= fullFrom && !began {
				began = true
				go func() { renewed <- w.renew(ctx, files) }()
			}
		}
	}
	l.Killed.Store(true)
	w.process.Kill()
	err = errors.Join(err, <-ended)
	w.nfs.Close()
	w.gone()
	return used, errors.Join(err, w.thaw())
}

// freeze makes all ASDs refuse fragments: their trees are read only.
func (w *world) freeze() error {
	trees, err := filepath.Glob(filepath.Join(w.server.Data, "asd", "*", "fragments"))
	if err != nil || len(trees) == 0 {
		return errors.Join(errors.New("no ASDs"), err)
	}
	for _, tree := range trees {
		if err := unix.Mount(tree, tree, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", tree, err)
		}
		w.frozen = append(w.frozen, tree)
		err := unix.EBUSY
		for errors.Is(err, unix.EBUSY) { // a fragment is being written
			time.Sleep(time.Millisecond)
			err, _ = unix.Mount("", tree, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "").(unix.Errno)
		}
		if err != 0 {
			return fmt.Errorf("read only %s: %w", tree, err)
		}
	}
	return nil
}

// thaw gives the disks back. No server runs.
func (w *world) thaw() (all error) {
	for _, tree := range w.frozen {
		if err := unix.Unmount(tree, 0); err != nil {
			all = errors.Join(all, fmt.Errorf("umount %s: %w", tree, err))
		}
	}
	w.frozen = nil
	return all
}

// every reads something of every object: 4 KiB of each volume, all of each file.
func (w *world) every(ctx context.Context) error {
	dirs, seed := len(w.dirs), w.rnd.Uint64()
	return together(dirs+len(w.disks), dirs+atOnce, func(i int) error {
		if i < dirs {
			return w.dirs[i].Verify(ctx, w.nfs)
		}
		i -= dirs
		return w.disks[i].ReadSome(ctx, w.nfs.Conn(i), rand.New(rand.NewPCG(seed, uint64(i))))
	})
}

// verify holds all of all volumes against the oracle; every did that with the files.
func (w *world) verify(ctx context.Context) error {
	return together(len(w.disks), 2, func(i int) error { return w.disks[i].Verify(ctx, w.nfs.Conn(i)) })
}
