//go:build proof

package crash

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ovs/tests/daemon"
	"ovs/tests/oracle/nfsclient"
	"ovs/tests/proof"
)

var (
	rounds   = flag.Int("crash.rounds", 20, "rounds that must have passed in all")
	writes   = flag.Int64("crash.writes", 50000, "acknowledged stable and unstable writes that there must have been in all")
	loadTime = flag.Duration("crash.load", 5*time.Second, "time under load in a round, at most")
	seedFlag = flag.Uint64("crash.seed", 0, "seed; 0 takes one by the clock")
	reportTo = flag.String("crash.report", "docs/proof/crash.md", "file for the report, relative to the module; empty: none")
	keepData = flag.String("crash.keep", "", "directory for the data directory of a failed run; empty: it is removed")
)

// logSize is the write log's: small, so that a few rounds reuse every segment of it.
const (
	logSize = 64 << 20
	config  = "log_size: 64 MiB\nlog_segment: 4 MiB\n"
)

func TestMain(m *testing.M) { os.Exit(daemon.Main(m)) }

// run is one data directory on its way through the rounds.
type run struct {
	t      *testing.T
	rnd    *rand.Rand
	server daemon.Server
	disks  []*Disk
	dirs   []*Dir
	p      *progress
	ready  time.Duration // of the last start
}

// enough tells whether all has been shown that was asked for.
func (p *progress) enough() bool {
	return p.Rounds >= *rounds && p.Stable+p.Unstable >= *writes && p.Bytes >= 2*logSize && p.RecoveryKills >= *rounds/4
}

// TestKill is the proof: rounds that earlier runs of the same binary passed count.
func TestKill(t *testing.T) {
	p, err := loadProgress(os.Getenv("OVS_BIN"))
	if err != nil {
		t.Fatal(err)
	}
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1e9
	}
	t.Logf("%d of %d rounds have passed before; seed %d", p.Rounds, *rounds, seed)
	r := newRun(t, p, seed)
	for !p.enough() {
		if err := r.round(); err != nil {
			r.keep()
			t.Fatalf("round %d, seed %d: %v\n%s", p.Rounds+1, seed, err, tailOf(r.server))
		}
		p.Rounds++
		if err := p.save(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.finish(); err != nil {
		r.keep()
		t.Fatalf("at the end, seed %d: %v\n%s", seed, err, tailOf(r.server))
	}
	t.Log(p)
	if *reportTo != "" {
		if err := os.MkdirAll(filepath.Join(proof.Root(), filepath.Dir(*reportTo)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := p.report(*reportTo, seed); err != nil {
			t.Fatal(err)
		}
	}
}

func newRun(t *testing.T, p *progress, seed uint64) *run {
	dir := t.TempDir()
	file := filepath.Join(dir, "ovs.yaml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	r := &run{t: t, p: p, rnd: rand.New(rand.NewPCG(seed, 0)), server: daemon.Server{
		Bin: os.Getenv("OVS_BIN"), Data: filepath.Join(dir, "data"), Args: []string{"--config", file},
	}}
	r.disks = []*Disk{NewDisk("a-flat.vmdk", 1, 64<<20), NewDisk("b.raw", 2, 32<<20), NewDisk("c.bin", 3, 8<<20), NewDisk("d.log", 4, 3<<20),
		NewDisk("e-flat.vmdk", 5, 6<<20), NewDisk("f.nvram", 6, 2<<20)}
	r.disks[4].Resizes, r.disks[5].Resizes = true, true
	r.dirs = []*Dir{{Name: "names-0"}, {Name: "names-1"}}
	return r
}

// round starts, verifies, loads, kills; every third time it kills the recovery as well.
func (r *run) round() error {
	if r.p.Rounds > 0 && r.rnd.IntN(3) == 0 {
		for range 1 + r.rnd.IntN(3) {
			if err := r.killRecovery(); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	process, c, err := r.start(ctx)
	if err != nil {
		return err
	}
	defer process.Kill()
	defer c.Close()
	if err := VerifyAll(ctx, c, r.disks, r.dirs); err != nil {
		return err
	}
	return r.load(ctx, process, c)
}

// killRecovery kills a start at a random moment before it would be ready (or a little later).
func (r *run) killRecovery() error {
	p, err := r.server.Launch()
	if err != nil {
		return err
	}
	wait := time.NewTimer(time.Duration(r.rnd.Int64N(int64(r.ready) + int64(20*time.Millisecond))))
	defer wait.Stop()
	select {
	case <-p.Done():
		return errors.New("the server ended by itself while it recovered")
	case <-wait.C:
	}
	p.Kill()
	r.p.RecoveryKills++
	return nil
}

func (r *run) start(ctx context.Context) (*daemon.Process, *nfsclient.Client, error) {
	began := time.Now()
	process, err := r.server.Start(ctx)
	if err != nil {
		return nil, nil, err
	}
	r.ready = time.Since(began)
	r.p.Ready = append(r.p.Ready, r.ready.Milliseconds())
	c, err := nfsclient.Dial(ctx, nfsclient.Options{Addr: process.Addr(), Export: "/vpool1", Conns: 4, Depth: 64})
	if err != nil {
		process.Kill()
		return nil, nil, err
	}
	return process, c, nil
}

func (r *run) load(ctx context.Context, process *daemon.Process, c *nfsclient.Client) error {
	counts := &Counts{}
	l := &Load{Client: c, Disks: r.disks, Dirs: r.dirs, Workers: 16, Seed: r.rnd.Uint64(), Counts: counts}
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	life := time.NewTimer(time.Duration(r.rnd.Int64N(int64(*loadTime))))
	defer life.Stop()
	var err error
	select {
	case err = <-ended:
		if err == nil {
			err = errors.New("the load ended before the kill")
		}
		process.Kill()
	case <-process.Done():
		err = errors.Join(errors.New("the server ended by itself"), <-ended)
	case <-life.C:
		l.Killed.Store(true)
		process.Kill()
		err = <-ended
	}
	for _, d := range r.disks {
		d.Table.Crash()
	}
	r.p.add(counts)
	return err
}

// finish verifies once more, stops by SIGTERM and verifies what the next start shows.
func (r *run) finish() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	for range 2 {
		process, c, err := r.start(ctx)
		if err != nil {
			return err
		}
		err = VerifyAll(ctx, c, r.disks, r.dirs)
		c.Close()
		if err != nil {
			process.Kill()
			return err
		}
		if err := process.Stop(); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) keep() {
	if *keepData == "" {
		return
	}
	if err := os.CopyFS(*keepData, os.DirFS(filepath.Dir(r.server.Data))); err != nil {
		r.t.Log(err)
	}
}

func tailOf(s daemon.Server) string {
	b, _ := os.ReadFile(s.Data + ".log")
	return string(b[max(0, len(b)-4000):])
}
