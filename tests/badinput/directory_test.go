package badinput

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ovs/tests/daemon"
	"ovs/tests/oracle/nfsclient"
)

// serve runs the binary, which is to refuse: it gives its exit code and what it said.
func serve(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, bin, append([]string{"serve"}, args...)...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, string(out)
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), string(out)
	}
	t.Fatalf("serve %v: %v\n%s", args, err, out)
	return 0, ""
}

// refused says whether a start was refused, with that exit code and with all of these words, in one line and without a panic.
func refused(t *testing.T, code int, said string, want int, words ...string) {
	t.Helper()
	if code != want {
		t.Errorf("exit code %d, not %d:\n%s", code, want, said)
	}
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("%q is not in what it says:\n%s", w, said)
		}
	}
	if strings.Contains(said, "panic") || strings.Contains(said, "goroutine ") {
		t.Errorf("it panicked:\n%s", said)
	}
}

// ports are flags that take no fixed port.
var ports = []string{"--nfs-port", "0", "--api-port", "0", "--portmap", "off"}

func at(data string) []string { return append([]string{"--data", data}, ports...) }

// tree is a hash of every name and content below a directory, but for the folders left out.
func tree(t *testing.T, dir string, without ...string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains(without, rel) {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %v\n", rel, info.Mode())
		if !info.Mode().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%d %d %x\n", info.Size(), info.ModTime().UnixNano(), sha256.Sum256(b))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// copyTree copies with everything that can be seen (sparse files stay sparse).
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", "--sparse=always", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
}

// used is a data directory with a file of 1 MiB in it, whose data are in the log only.
func used(t *testing.T) daemon.Server {
	t.Helper()
	s := fresh(t)
	p := start(t, s)
	c := mount(t, p, nfsclient.Options{})
	h, _, err := c.Create(t.Context(), c.Root, "disk.raw", nfsclient.Guarded, 0)
	if err != nil {
		t.Fatal(err)
	}
	put(t, &nfsclient.File{Conn: c.Conn(0), Handle: h, Stable: nfsclient.FileSync}, 1<<20)
	stop(t, p)
	return s
}

// stands looks that the file is there.
func stands(t *testing.T, s daemon.Server) {
	t.Helper()
	p := start(t, s)
	c := mount(t, p, nfsclient.Options{})
	h, _, err := c.Lookup(t.Context(), c.Root, "disk.raw")
	if err != nil {
		t.Fatal(err)
	}
	holds(t, &nfsclient.File{Conn: c.Conn(0), Handle: h}, 1<<20)
	stop(t, p)
}

func TestNewerVersion(t *testing.T) {
	t.Parallel()
	s := used(t)
	write(t, filepath.Join(s.Data, "VERSION"), "2\n")
	before := tree(t, s.Data)
	code, said := serve(t, at(s.Data)...)
	refused(t, code, said, 2, "version 2", "newer ovs", "nothing was touched")
	if tree(t, s.Data) != before {
		t.Error("the directory was touched")
	}
	write(t, filepath.Join(s.Data, "VERSION"), "one\n")
	code, said = serve(t, at(s.Data)...)
	refused(t, code, said, 8, "VERSION", "one")
	write(t, filepath.Join(s.Data, "VERSION"), "1\n")
	stands(t, s)
}

func TestForeignDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "thesis.tex"), "years of work")
	before := tree(t, dir)
	code, said := serve(t, at(dir)...)
	refused(t, code, said, 2, "thesis.tex", "no datastore", "--data")
	if tree(t, dir) != before {
		t.Error("the directory was touched")
	}
	code, said = serve(t, at(filepath.Join(dir, "thesis.tex"))...)
	refused(t, code, said, 8, "thesis.tex", "not a directory")
}

func TestSecondServer(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	p := start(t, s)
	c := mount(t, p, nfsclient.Options{})
	h, _, err := c.Create(t.Context(), c.Root, "disk.raw", nfsclient.Guarded, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := &nfsclient.File{Conn: c.Conn(0), Handle: h, Stable: nfsclient.FileSync}
	put(t, f, 1<<20)
	for range 2 {
		code, said := serve(t, at(s.Data)...)
		refused(t, code, said, 7, "another server runs on it", "--data")
	}
	put(t, f, 2<<20)
	holds(t, f, 2<<20)
	stop(t, p)
}

// TestWrongLog: a log that is another node's, older, or gone lost acknowledged writes. Nothing is served from it.
func TestWrongLog(t *testing.T) {
	t.Parallel()
	s := used(t)
	older := filepath.Join(t.TempDir(), "older")
	copyTree(t, filepath.Join(s.Data, "log"), older)
	stands(t, s) // one more start
	for name, c := range map[string]struct {
		swap func(t *testing.T, log string)
		want string
	}{
		"missing":    {func(t *testing.T, log string) { copyTree(t, t.TempDir(), log) }, "missing"},
		"all gone":   {func(_ *testing.T, log string) { _ = os.RemoveAll(log) }, "missing"},
		"swapped":    {func(t *testing.T, log string) { copyTree(t, filepath.Join(used(t).Data, "log"), log) }, "not the write log that this node left"},
		"reverted":   {func(t *testing.T, log string) { copyTree(t, older, log) }, "older copy"},
		"superblock": {func(t *testing.T, log string) { write(t, filepath.Join(log, "superblock"), "scratched") }, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mine := s
			mine.Data = filepath.Join(t.TempDir(), "data")
			copyTree(t, s.Data, mine.Data)
			log := filepath.Join(mine.Data, "log")
			kept := filepath.Join(t.TempDir(), "kept")
			if err := os.Rename(log, kept); err != nil {
				t.Fatal(err)
			}
			copyTree(t, kept, log)
			c.swap(t, log)
			// Raft had to be asked what the log ought to be: a start of its own is all that may change.
			before := tree(t, mine.Data, "raft")
			code, said := serve(t, at(mine.Data)...)
			refused(t, code, said, 8, c.want, "nothing was touched")
			if tree(t, mine.Data, "raft") != before {
				t.Error("something but Raft was touched")
			}
			if err := errors.Join(os.RemoveAll(log), os.Rename(kept, log)); err != nil {
				t.Fatal(err)
			}
			stands(t, mine)
		})
	}
}

// TestMissingDisk: a broken disk of the backend is left out, loudly, and everything is read without it. What a killed server
// leaves does not pass for a running one.
func TestMissingDisk(t *testing.T) {
	t.Parallel()
	s := used(t)
	p := start(t, s)
	if out, err := exec.CommandContext(t.Context(), bin, "flush", "--data", s.Data, "vpool1").CombinedOutput(); err != nil {
		t.Fatalf("flush: %v\n%s", err, out)
	}
	stop(t, p)
	write(t, filepath.Join(s.Data, "asd", "2", "Identity"), "scratched")
	p = start(t, s)
	out, err := exec.CommandContext(t.Context(), bin, "status", "--data", s.Data).CombinedOutput()
	for _, want := range []string{"1 of 6 disks of backend backend1 are missing: all is served", "missing disk asd/2: ", "Mend or mount that disk"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%q is not in ovs status (%v):\n%s", want, err, out)
		}
	}
	c := mount(t, p, nfsclient.Options{})
	h, _, err := c.Lookup(t.Context(), c.Root, "disk.raw")
	if err != nil {
		t.Fatal(err)
	}
	holds(t, &nfsclient.File{Conn: c.Conn(0), Handle: h}, 1<<20)
	p.Kill()
	if said := p.Tail(); !strings.Contains(said, "warning: disk asd/2 of the backend is missing") {
		t.Errorf("it does not say so:\n%s", said)
	}
	out, err = exec.CommandContext(t.Context(), bin, "status", "--data", s.Data).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no server runs") {
		t.Errorf("status without a server: %v\n%s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(s.Data, "asd")); err != nil {
		t.Fatal(err)
	}
	code, said := serve(t, at(s.Data)...)
	refused(t, code, said, 8, "too few disks", "mount or mend")
}

// TestAcceptLogLoss: a log that is gone for good is given up by its name only, once, and that stands in ovs status.
func TestAcceptLogLoss(t *testing.T) {
	t.Parallel()
	s := used(t)
	if err := os.RemoveAll(filepath.Join(s.Data, "log")); err != nil {
		t.Fatal(err)
	}
	code, said := serve(t, at(s.Data)...)
	refused(t, code, said, 8, "nothing was touched", "--accept-log-loss ")
	_, rest, _ := strings.Cut(said, "--accept-log-loss ")
	word := strings.Fields(rest)[0]
	code, said = serve(t, append(at(s.Data), "--accept-log-loss", "all")...)
	refused(t, code, said, 2, "16 hexadecimal digits")
	code, said = serve(t, append(at(s.Data), "--accept-log-loss", "0123456789abcdef")...)
	refused(t, code, said, 2, word)

	lossy := s
	lossy.Args = append(slices.Clone(s.Args), "--accept-log-loss", word)
	p := start(t, lossy)
	c := mount(t, p, nfsclient.Options{})
	h, a, err := c.Lookup(t.Context(), c.Root, "disk.raw")
	if err != nil || a.Size != 0 {
		t.Fatalf("size %d: nothing of it was on the backend (%v)", a.Size, err)
	}
	if !strings.Contains(p.Tail(), "what was written to it later is lost") {
		t.Errorf("it does not say what is lost:\n%s", p.Tail())
	}
	put(t, &nfsclient.File{Conn: c.Conn(0), Handle: h, Stable: nfsclient.FileSync}, 1<<20)
	out, err := exec.CommandContext(t.Context(), bin, "status", "--data", s.Data).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "log "+word+", given up") {
		t.Errorf("status: %v\n%s", err, out)
	}
	stop(t, p)
	stands(t, s)
	code, said = serve(t, append(at(s.Data), "--accept-log-loss", "0123456789abcdef")...)
	refused(t, code, said, 2, "nothing is lost")
}

// TestWrongNode: files that say whose the data are.
func TestWrongNode(t *testing.T) {
	t.Parallel()
	s := used(t)
	name := filepath.Join(s.Data, "node")
	node, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	write(t, name, "00000000deadbeef\n")
	code, said := serve(t, at(s.Data)...)
	refused(t, code, said, 4, "belongs to node")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	before := tree(t, s.Data)
	code, said = serve(t, at(s.Data)...)
	refused(t, code, said, 8, "file node is missing", "nothing was touched")
	if tree(t, s.Data) != before {
		t.Error("the directory was touched")
	}
	write(t, name, string(bytes.ToUpper(node)))
	stands(t, s)
}

func TestReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	s := used(t)
	remount := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			t.Fatalf("mount %v: %v\n%s", args, err, out)
		}
	}
	remount("--bind", s.Data, s.Data)
	defer func() {
		if out, err := exec.Command("umount", s.Data).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	}()
	remount("-o", "remount,bind,ro", s.Data)
	code, said := serve(t, at(s.Data)...)
	refused(t, code, said, 8, "cannot be written to", "read-only")
	code, said = serve(t, at(filepath.Join(s.Data, "new", "one"))...)
	refused(t, code, said, 8, "cannot be made", "read-only")
	remount("-o", "remount,bind,rw", s.Data)
	stands(t, s)
}
