/*
Package badinput gives the real binary what it must refuse, and looks that no harm is done: the process lives, its memory is
bounded, others are served meanwhile, and what it says tells an operator what to do.

	rpc_test.go        garbage and huge RPC records, wrong programs
	names_test.go      forged handles, names and offsets that cannot be
	full_test.go       a disk that fills up, by us and by a stranger
	directory_test.go  data directories that are another's, newer, older, locked, read-only, incomplete
	flags_test.go      flags, settings and ports that cannot be

All run in a network namespace of their own, with mounts of their own. They need root, for the loop device.
*/
package badinput

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ovs/tests/daemon"
	"ovs/tests/netns"
	"ovs/tests/oracle/nfsclient"
)

// bin is the binary under test.
var bin string

func TestMain(m *testing.M) {
	code := 2
	defer func() { os.Exit(code) }()
	if !netns.Inside() {
		code = netns.Main(m, need)
		return
	}
	// A start waits for Raft most of its time, so more of them run side by side than there are cores.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	dir, err := os.MkdirTemp("", "badinput")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Chmod(dir, 0o755) // one test runs it as another user
	}
	if err == nil {
		bin, err = daemon.Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	code = netns.Main(m, nil)
	if err := shared.end(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
}

// need says what is missing. Nothing is skipped.
func need() error {
	var missing []string
	for prog, pkg := range map[string]string{"mkfs.ext4": "e2fsprogs", "mount": "mount", "umount": "mount"} {
		if _, err := exec.LookPath(prog); err != nil {
			missing = append(missing, fmt.Sprintf("%s is missing: install %s (`make deps` as root does)", prog, pkg))
		}
	}
	if os.Geteuid() != 0 {
		missing = append(missing, "run the tests as root: they mount a disk of their own")
	}
	if len(missing) > 0 {
		return errors.New(strings.Join(missing, "\n"))
	}
	return nil
}

// start starts a server and watches that it does not panic.
func start(t *testing.T, s daemon.Server) *daemon.Process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := s.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("the server wrote:\n%s", p.Tail())
		}
	})
	return p
}

// shared is the one server of all tests that only talk to it. Each has a directory of its own there.
var shared sharedServer

type sharedServer struct {
	once sync.Once
	dir  string
	p    *daemon.Process
	err  error
}

// talk gives the shared server, which lives on after the test.
func talk(t *testing.T) *daemon.Process {
	t.Helper()
	s := &shared
	s.once.Do(func() {
		if s.dir, s.err = os.MkdirTemp("", "badinput"); s.err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s.p, s.err = daemon.Server{Bin: bin, Data: filepath.Join(s.dir, "data"), Args: []string{"--log-size", "256MiB"}}.Start(ctx)
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	t.Cleanup(func() {
		if noPanic(t, s.p); t.Failed() {
			t.Logf("the server wrote:\n%s", s.p.Tail())
		}
	})
	return s.p
}

// own makes the test's directory on the shared server.
func own(t *testing.T, c *nfsclient.Client) nfsclient.Handle {
	t.Helper()
	h, _, err := c.Mkdir(t.Context(), c.Root, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// end stops the shared server in good order.
func (s *sharedServer) end() error {
	if s.p == nil {
		return s.err
	}
	return errors.Join(s.p.Stop(), os.RemoveAll(s.dir))
}

// fresh is a server on a new directory with a small log.
func fresh(t *testing.T) daemon.Server {
	t.Helper()
	return daemon.Server{Bin: bin, Data: filepath.Join(t.TempDir(), "data"), Args: []string{"--log-size", "256MiB"}}
}

// stop ends a server in good order; it must not have panicked.
func stop(t *testing.T, p *daemon.Process) {
	t.Helper()
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	noPanic(t, p)
}

func noPanic(t *testing.T, p *daemon.Process) {
	t.Helper()
	if s := p.Tail(); strings.Contains(s, "panic") || strings.Contains(s, "goroutine ") {
		t.Errorf("the server panicked:\n%s", s)
	}
}

// mount is a client.
func mount(t *testing.T, p *daemon.Process, opt nfsclient.Options) *nfsclient.Client {
	t.Helper()
	opt.Addr, opt.Export = p.Addr(), "/vpool1"
	c, err := nfsclient.Dial(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// status is the NFS status in an error; 0 where it is none.
func status(err error) uint32 {
	var s *nfsclient.StatusError
	if errors.As(err, &s) && !s.RPC {
		return s.Status
	}
	return 0
}

// rss is the memory of the server in MiB.
func rss(t *testing.T, p *daemon.Process) int {
	t.Helper()
	return memory(t, p, "VmRSS")
}

// peak is the most that it was since peakFrom.
func peak(t *testing.T, p *daemon.Process) int {
	t.Helper()
	return memory(t, p, "VmHWM")
}

func peakFrom(t *testing.T, p *daemon.Process) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.PID()), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

func memory(t *testing.T, p *daemon.Process, line string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(line + `:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in\n%s", line, text)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n >> 10
}

// eventually waits for a condition.
func eventually(t *testing.T, within time.Duration, what string, f func() error) {
	t.Helper()
	limit := time.Now().Add(within)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		<-tick.C
	}
}
