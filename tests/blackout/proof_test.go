//go:build proof

package blackout

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ovs/internal/vfs"
	"ovs/tests/blackout/nbd"
	"ovs/tests/crash"
	"ovs/tests/guest"
	"ovs/tests/netns"
	"ovs/tests/oracle/nfsclient"
	"ovs/tests/proof"
)

var (
	rounds   = flag.Int("blackout.rounds", 20, "rounds that must have passed in all")
	loadTime = flag.Duration("blackout.load", 20*time.Second, "time under load in a round, at most")
	seedFlag = flag.Uint64("blackout.seed", 0, "seed; 0 takes one by the clock")
)

//go:embed jobs/serve.sh
var script string

const (
	diskSize = 4 << 30
	nfsPort  = "12049" // leads to the guest's 2049
	config   = "log_size: 32 MiB\nlog_segment: 4 MiB\n"
)

// The binaries and the kit, made before the tests go into their namespace.
const (
	binEnv     = "OVS_BLACKOUT_BIN"
	plantedEnv = "OVS_BLACKOUT_PLANTED"
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if netns.Inside() {
		return netns.Main(m, nil)
	}
	dir, err := os.MkdirTemp("", "ovs-blackout-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer os.RemoveAll(dir)
	return netns.Main(m, func() error {
		if _, err := theKit(); err != nil {
			return err
		}
		for _, b := range []struct{ env, name, tags string }{{binEnv, "ovs", ""}, {plantedEnv, "ovs-planted", "planted"}} {
			out := filepath.Join(dir, b.name)
			cmd := exec.Command("go", "build", "-trimpath", "-tags", b.tags, "-o", out, "ovs/cmd/ovs")
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if said, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("go build ovs/cmd/ovs: %w\n%s", err, said)
			}
			if err := os.Setenv(b.env, out); err != nil {
				return err
			}
		}
		return nil
	})
}

func theKit() (*guest.Kit, error) {
	cache, err := guest.CacheDir()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	return guest.Prepare(ctx, cache, func(f string, a ...any) { fmt.Printf(f+"\n", a...) })
}

// violation is what the server did wrong, not the machinery around it.
type violation struct{ error }

func (v *violation) Unwrap() error { return v.error }

// machine is one server with its disk, through many cuts.
type machine struct {
	kit    *guest.Kit
	bin    string
	plant  string // of package planted; empty: none
	disk   *vfs.Crash
	disks  []*crash.Disk
	dirs   []*crash.Dir
	rnd    *rand.Rand
	counts *crash.Counts
	fresh  bool
	line   func(string)
}

func newMachine(t *testing.T, bin, plant string, seed uint64) *machine {
	kit, err := theKit()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{kit: kit, bin: bin, plant: plant, rnd: rand.New(rand.NewPCG(seed, 0)), disk: vfs.NewCrash(seed),
		counts: &crash.Counts{}, fresh: true, line: func(s string) { t.Log(s) }}
	m.disks = []*crash.Disk{crash.NewDisk("a-flat.vmdk", 1, 24<<20), crash.NewDisk("b.raw", 2, 12<<20), crash.NewDisk("c.bin", 3, 4<<20),
		crash.NewDisk("d-flat.vmdk", 4, 3<<20)}
	m.disks[3].Resizes = true
	m.dirs = []*crash.Dir{{Name: "names"}}
	return m
}

// round boots, verifies, loads, and takes the power.
func (m *machine) round(dir string) error {
	f, err := m.disk.OpenFile("disk", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if m.fresh {
		if err := errors.Join(f.Truncate(diskSize), f.Sync(), m.disk.SyncDir(".")); err != nil {
			return err
		}
	}
	socket := filepath.Join(dir, "nbd")
	server, err := nbd.Serve(socket, f, diskSize)
	if err != nil {
		return err
	}
	defer server.Close()
	if err := os.WriteFile(filepath.Join(dir, "ovs.yaml"), []byte(config), 0o644); err != nil {
		return err
	}
	ready := make(chan struct{})
	vm := guest.VM{
		Kit: m.kit, Dir: dir, Forward: "tcp:127.0.0.1:" + nfsPort + "-:2049", Memory: 1536, Timeout: 5 * time.Minute,
		Drives: []string{"file=nbd+unix:///?socket=" + socket + ",format=raw,cache=none"},
		Job: guest.Job{Script: script, Env: map[string]string{"FRESH": "0", "OVS_PLANTED": m.plant},
			Files: map[string]string{"ovs": m.bin, "ovs.yaml": filepath.Join(dir, "ovs.yaml")}},
		Line: func(s string) {
			m.line(s)
			if strings.HasSuffix(s, " ready") {
				close(ready)
			}
		},
	}
	if m.fresh {
		vm.Job.Env["FRESH"], m.fresh = "1", false
	}
	ctx, kill := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() { gone <- vm.Run(ctx) }()
	defer func() {
		kill()
		if gone != nil {
			<-gone
		}
	}()
	select {
	case <-ready:
	case err := <-gone:
		gone = nil
		err = fmt.Errorf("the guest ended before its server was ready: %w", err)
		if code := guest.ExitError(0); errors.As(err, &code) {
			return &violation{err} // of the server itself
		}
		return err
	}
	return m.load(kill, gone)
}

// load verifies what the machine shows and works on it until the power goes.
func (m *machine) load(kill func(), gone <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	c, err := nfsclient.Dial(ctx, nfsclient.Options{Addr: "127.0.0.1:" + nfsPort, Export: "/vpool1", Conns: 2, Depth: 64})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := crash.VerifyAll(ctx, c, m.disks, m.dirs); err != nil {
		return &violation{err}
	}
	l := &crash.Load{Client: c, Disks: m.disks, Dirs: m.dirs, Workers: 12, Seed: m.rnd.Uint64(), Counts: m.counts}
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	life := time.NewTimer(time.Second + time.Duration(m.rnd.Int64N(int64(*loadTime))))
	defer life.Stop()
	select {
	case err := <-ended:
		return &violation{fmt.Errorf("under load: %w", err)}
	case err := <-gone:
		l.Killed.Store(true)
		return errors.Join(fmt.Errorf("the guest ended by itself: %w", err), <-ended)
	case <-life.C:
	}
	l.Killed.Store(true)
	next := m.disk.Cut() // from here on the old disk answers nothing, so the server can acknowledge no further flush
	kill()
	err = <-ended
	m.disk = next
	for _, d := range m.disks {
		d.Table.Crash()
	}
	return err
}

// plants are flushes that the planted build leaves out: of files whose path has that in it. Those of an ASD's fragments are not among
// them: here they are not noticed, since fragments go past the page cache, and the flush of Raft's log that the manifest waits
// for comes after, to the same disk and the same journal of ext4. ASDs on disks of their own have no such luck: tests/powercut
// plays that, and notices it.
var plants = []struct{ name, path string }{
	{"no fdatasync of the log's segments", "/log/seg"},
}

// shown is what all runs of one binary have shown.
type shown struct {
	Binary                                           string // SHA-256; another one begins anew
	Rounds                                           int
	Stable, Unstable, Commits, Committed, Names, MiB int64
	Caught                                           map[string]string // plant → rounds and how
}

func (s *shown) add(c *crash.Counts) {
	s.Stable += c.Stable.Load()
	s.Unstable += c.Unstable.Load()
	s.Commits += c.Commits.Load()
	s.Committed += c.Committed.Load()
	s.Names += c.Names.Load()
	s.MiB += c.Bytes.Load() >> 20
}

// TestProof shows that planted mistakes are noticed, and then that the product makes none.
func TestProof(t *testing.T) {
	sum, err := proof.Sum(os.Getenv(binEnv))
	if err != nil {
		t.Fatal(err)
	}
	var s shown
	log := proof.Of("blackout")
	found, err := log.Load(&s)
	if err != nil {
		t.Fatal(err)
	}
	if !found || s.Binary != sum {
		s = shown{Binary: sum}
	}
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1e9
	}
	t.Logf("%d of %d rounds have passed before, %d mistakes were noticed; seed %d", s.Rounds, *rounds, len(s.Caught), seed)
	if s.Caught == nil {
		s.Caught = map[string]string{}
	}
	for _, p := range plants {
		if s.Caught[p.name] != "" {
			continue
		}
		m := newMachine(t, os.Getenv(plantedEnv), p.path, seed)
		m.dirs, m.disks = nil, m.disks[:3] // only what writes to the log
		how, err := m.caught(t, 12)
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		t.Logf("%s: %s", p.name, how)
		s.Caught[p.name] = how
		if err := log.Save(s); err != nil {
			t.Fatal(err)
		}
	}
	m := newMachine(t, os.Getenv(binEnv), "", seed)
	for last := false; !last; { // one round more than asked for: the last one shows what the cut before it left
		last = s.Rounds >= *rounds
		if err := m.round(t.TempDir()); err != nil {
			t.Fatalf("round %d, seed %d: %v", s.Rounds+1, seed, err)
		}
		if last {
			break
		}
		s.Rounds++
		s.add(m.counts)
		m.counts = &crash.Counts{}
		if err := log.Save(s); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: %d stable, %d unstable writes, %d committed so far", s.Rounds, s.Stable, s.Unstable, s.Committed)
	}
	if err := s.report(seed); err != nil {
		t.Fatal(err)
	}
}

// caught plays rounds until one finds a violation, and tells it.
func (m *machine) caught(t *testing.T, rounds int) (string, error) {
	for i := range rounds {
		var wrong *violation
		switch err := m.round(t.TempDir()); {
		case errors.As(err, &wrong):
			first, _, _ := strings.Cut(err.Error(), "\n")
			return fmt.Sprintf("noticed after %d cuts: %s", i, first), nil
		case err != nil:
			return "", err
		}
	}
	return "", fmt.Errorf("not noticed in %d rounds", rounds)
}

func (s *shown) report(seed uint64) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Power cuts of a whole machine\n\n`make proof-blackout`, %s, last seed %d, binary SHA-256 %s.\n\n", time.Now().UTC().Format(time.DateOnly), seed, s.Binary[:16])
	fmt.Fprintf(&b, "- %d rounds; acknowledged: %d stable and %d unstable writes (%d MiB), %d of these made stable by %d commits, %d operations on names\n",
		s.Rounds, s.Stable, s.Unstable, s.MiB, s.Committed, s.Commits, s.Names)
	b.WriteString("- no violation\n")
	for _, p := range plants {
		fmt.Fprintf(&b, "- planted: %s: %s\n", p.name, s.Caught[p.name])
	}
	fmt.Fprintf(&b, `
A round: a guest VM boots with Linux and ext4 on a disk that QEMU reaches over NBD, and starts the server on it; the host reads
all of three volumes, a file and a directory and holds every sector and name against the oracle; 12 workers on two volumes and
a file, one on a volume that also shrinks and grows, one on names, over 2 connections, until disk and VM are cut at a random
moment within %v. Of what the guest had not flushed the disk keeps any subset of sectors. The settings that differ from the
default:

`, *loadTime)
	for line := range strings.Lines(config) {
		b.WriteString("    " + line)
	}
	return os.WriteFile(filepath.Join(proof.Root(), "docs/proof/blackout.md"), []byte(b.String()), 0o644)
}
