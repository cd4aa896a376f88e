//go:build proof

package soak

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ovs/framework/client"
	"ovs/tests/crash"
	"ovs/tests/daemon"
	"ovs/tests/oracle/nfsclient"
	"ovs/tests/proof"
)

var (
	length   = flag.Duration("soak.time", time.Hour, "time under load")
	each     = flag.Duration("soak.window", time.Minute, "time in a window")
	reportTo = flag.String("soak.report", "docs/proof/soak.md", "file for the report, relative to the module; empty: none")
)

// What the proof asks for.
const (
	mostGrowth = 1.05 // of memory, after the first sixth
	mostTail   = 4    // 99th percentile over median of stable 4 KiB writes, in every window
	moreFiles  = 64   // goroutines and open files may differ by so many: both go with what is under way
)

func TestMain(m *testing.M) { os.Exit(daemon.Main(m)) }

// soak is one server and what is on it.
type soak struct {
	t       *testing.T
	server  daemon.Server
	process *daemon.Process
	nfs     *nfsclient.Client
	disks   []*crash.Disk
	dirs    []*crash.Dir
	counts  crash.Counts
	windows []window
}

func (s *soak) start(ctx context.Context) (ready time.Duration, err error) {
	began := time.Now()
	within, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if s.process, err = s.server.Start(within); err != nil {
		return 0, err
	}
	ready = time.Since(began)
	s.nfs, err = nfsclient.Dial(ctx, nfsclient.Options{Addr: s.process.Addr(), Export: "/vpool1", Conns: 4, Depth: 64})
	return ready, err
}

func (s *soak) stop() error {
	s.nfs.Close()
	return s.process.Stop()
}

func TestSoak(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), *length+20*time.Minute)
	defer cancel()
	s := &soak{t: t, server: daemon.Server{Bin: os.Getenv("OVS_BIN"), Data: filepath.Join(t.TempDir(), "data")}}
	s.disks = []*crash.Disk{crash.NewDisk("a-flat.vmdk", 1, 256<<20), crash.NewDisk("b.raw", 2, 128<<20), crash.NewDisk("c.bin", 3, 32<<20),
		crash.NewDisk("d-flat.vmdk", 4, 16<<20), crash.NewDisk("e.log", 5, 4<<20)}
	s.disks[3].Resizes, s.disks[4].Resizes = true, true
	s.dirs = []*crash.Dir{{Name: "names-0"}, {Name: "names-1"}}
	if _, err := s.start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Log(s.process.Tail())
		}
		s.process.Kill()
	}()
	if err := crash.VerifyAll(ctx, s.nfs, s.disks, s.dirs); err != nil {
		t.Fatal(err)
	}
	if err := s.load(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	again, err := s.start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := crash.VerifyAll(ctx, s.nfs, s.disks, s.dirs); err != nil {
		t.Fatal("after the restart: ", err)
	}
	left, err := s.clear(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wrong := s.judge(left)
	if err := s.report(again, left, wrong); err != nil {
		t.Fatal(err)
	}
	for _, w := range wrong {
		t.Error(w)
	}
}

// load works on the server and takes a window now and then.
func (s *soak) load(ctx context.Context) error {
	api, err := client.ForData(s.server.Data)
	if err != nil {
		return err
	}
	w := &watch{pid: s.process.PID(), data: s.server.Data, api: api, counts: &s.counts}
	l := &crash.Load{Client: s.nfs, Disks: s.disks, Dirs: s.dirs, Workers: 32, Seed: rand.Uint64(), Counts: &s.counts, Wrote: w.wrote}
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	began := time.Now()
	tick := time.NewTicker(*each)
	defer tick.Stop()
	for last := began; ; {
		select {
		case err := <-ended:
			return errors.Join(errors.New("the load ended before its time"), err)
		case <-s.process.Done():
			l.Killed.Store(true)
			return errors.Join(errors.New("the server ended by itself"), <-ended)
		case <-tick.C:
		}
		o, err := w.take(ctx, time.Since(last))
		last = time.Now()
		if err != nil {
			l.Over.Store(true)
			return errors.Join(err, <-ended)
		}
		s.windows = append(s.windows, o)
		s.t.Log(o)
		if time.Since(began) >= *length {
			l.Over.Store(true)
			return <-ended
		}
	}
}

// clear removes every file and waits until nothing is left on the disks, or nothing goes any more.
func (s *soak) clear(ctx context.Context) (left int, err error) {
	entries, err := s.nfs.ReadDir(ctx, s.nfs.Root)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if err := s.remove(ctx, e.Name); err != nil {
			return 0, fmt.Errorf("remove %s: %w", e.Name, err)
		}
	}
	best, since := 1<<62, time.Now()
	poll := time.NewTicker(time.Second)
	defer poll.Stop()
	for {
		n, _, err := fragments(s.server.Data)
		if n == 0 || err != nil {
			return n, err
		}
		if n < best {
			best, since = n, time.Now()
		}
		if time.Since(since) > 10*time.Minute { // longer than any collection waits
			return n, nil
		}
		select {
		case <-ctx.Done():
			return n, ctx.Err()
		case <-poll.C:
		}
	}
}

func (s *soak) remove(ctx context.Context, name string) error {
	if !slices.ContainsFunc(s.dirs, func(d *crash.Dir) bool { return d.Name == name }) {
		return s.nfs.Remove(ctx, s.nfs.Root, name)
	}
	h, _, err := s.nfs.Lookup(ctx, s.nfs.Root, name)
	if err != nil {
		return err
	}
	entries, err := s.nfs.ReadDir(ctx, h)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.nfs.Remove(ctx, h, e.Name); err != nil {
			return err
		}
	}
	return s.nfs.Rmdir(ctx, s.nfs.Root, name)
}

// judge says what the windows show that must not be.
func (s *soak) judge(left int) (wrong []string) {
	bad := func(f string, a ...any) { wrong = append(wrong, fmt.Sprintf(f, a...)) }
	warm := s.windows[len(s.windows)/6:]
	first, last := warm[0], warm[len(warm)-1]
	for i, w := range s.windows {
		if w.p99 > mostTail*w.median {
			bad("window %d: the 99th percentile is %.1f times the median (%v, %v)", i+1, float64(w.p99)/float64(w.median), w.p99, w.median)
		}
	}
	most := slices.MaxFunc(warm, func(a, b window) int { return int(a.rss - b.rss) })
	if float64(most.rss) > mostGrowth*float64(first.rss) {
		bad("memory grew from %d to %d MiB", first.rss>>20, most.rss>>20)
	}
	if last.goroutines > first.goroutines+moreFiles || last.files > first.files+moreFiles {
		bad("goroutines: %v, then %v; files: %d, then %d", first.goroutines, last.goroutines, first.files, last.files)
	}
	if left > 0 {
		bad("%d fragments are left after everything was removed", left)
	}
	if last.logged < 2*last.logSize && *length >= time.Hour {
		bad("the log was not reused: %.1f times its size was written", last.logged/last.logSize)
	}
	return wrong
}

func (w window) String() string {
	return fmt.Sprintf("%6.0f writes/s | %8v | %8v | %4.1f | %5d | %4.0f | %4d | %4.1f | %5.1f %% | %5d",
		float64(w.writes)/w.took.Seconds(), w.median.Round(time.Microsecond), w.p99.Round(time.Microsecond), float64(w.p99)/float64(max(w.median, 1)),
		w.rss>>20, w.goroutines, w.files, w.logged/w.logSize, 100*w.logUsed/w.logSize, w.onDisks>>20)
}

func (s *soak) report(again time.Duration, left int, wrong []string) error {
	if *reportTo == "" {
		return nil
	}
	sum, err := proof.Sum(s.server.Bin)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Under load for %v\n\n`make proof-soak`, %s, binary SHA-256 %s, default configuration.\n\n", *length, time.Now().UTC().Format(time.DateOnly), sum[:16])
	c := &s.counts
	fmt.Fprintf(&b, "- acknowledged: %d stable and %d unstable writes (%d MiB), %d commits, %d reads, %d times shrunk and grown, %d operations on names; %d answers JUKEBOX\n",
		c.Stable.Load(), c.Unstable.Load(), c.Bytes.Load()>>20, c.Commits.Load(), c.Reads.Load(), c.Resizes.Load(), c.Names.Load(), c.Again.Load())
	fmt.Fprintf(&b, "- stopped by SIGTERM, served again after %v, every sector and name verified\n", again.Round(time.Millisecond))
	fmt.Fprintf(&b, "- fragments left on the disks after everything was removed: %d\n", left)
	for _, w := range wrong {
		fmt.Fprintf(&b, "- **not met**: %s\n", w)
	}
	if len(wrong) == 0 {
		b.WriteString("- met: memory within 5 % after the first sixth, goroutines and files flat, 99th percentile at most 4 times the median in every window\n")
	}
	b.WriteString("\n| writes | stable 4 KiB: median | p99 | ratio | MiB resident | goroutines | files | log written / size | log used | MiB on disks |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, w := range s.windows {
		fmt.Fprintf(&b, "| %v |\n", w)
	}
	file := filepath.Join(proof.Root(), *reportTo)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
