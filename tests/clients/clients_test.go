/*
Package clients drives the real binary, started as users start it, with clients that others wrote: QEMU's nfs driver and
libnfs's tools. They find the server by the portmapper, so all is in a network namespace of its own (port 111 is free there).

	mkfs.ext4 -d tree ── disk.img ── qemu-img convert ──► disk-flat.vmdk, disk.raw      identical?
	                                                      SIGTERM and restart           identical?
	                                                      kill -9 and restart           identical?
*/
package clients

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ovs/tests/daemon"
	"ovs/tests/netns"
)

const (
	imageSize = 1 << 30
	treeSize  = 300 << 20 // bytes of files in the image's file system
	store     = "nfs://127.0.0.1/vpool1/"
)

func TestMain(m *testing.M) { os.Exit(netns.Main(m, need)) }

// need says what is missing, all at once. Nothing is skipped.
func need() error {
	var missing []string
	for _, p := range []struct{ prog, pkg string }{
		{"mkfs.ext4", "e2fsprogs"}, {"qemu-img", "qemu-utils"}, {"nfs-ls", "libnfs-utils"}, {"nfs-cp", "libnfs-utils"}, {"nfs-cat", "libnfs-utils"},
	} {
		if _, err := exec.LookPath(p.prog); err != nil {
			missing = append(missing, fmt.Sprintf("%s is missing: install %s", p.prog, p.pkg))
		}
	}
	if found, err := filepath.Glob("/usr/lib*/*/qemu/block-nfs.so"); err != nil || len(found) == 0 {
		missing = append(missing, "QEMU's nfs driver is missing: install qemu-block-extra")
	}
	if os.Geteuid() != 0 {
		missing = append(missing, "run the tests as root: a network namespace is needed, in which port 111 can be bound")
	}
	if len(missing) > 0 {
		return errors.New(strings.Join(missing, "\n") + "\n`make deps` as root installs all packages")
	}
	return nil
}

// run runs a program for at most a minute and gives what it printed.
func run(t *testing.T, prog string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, prog, args...)
	cmd.Stderr = &stderr
	began := time.Now()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v after %v\n%s%s", prog, args, err, time.Since(began), out, stderr.Bytes())
	}
	t.Logf("%.1f s: %s %s", time.Since(began).Seconds(), prog, strings.Join(args, " "))
	return out
}

// noise is a stream that does not compress.
func noise(seed string) *rand.ChaCha8 { return rand.NewChaCha8(sha256.Sum256([]byte(seed))) }

// makeTree fills dir with files of 100 bytes to 16 MiB: some of text, some of noise, some with holes.
func makeTree(dir string) error {
	r := rand.New(noise("sizes"))
	for n, total := 0, 0; total < treeSize; n++ {
		sub := filepath.Join(dir, fmt.Sprintf("dir-%d", n%17))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		data := make([]byte, 100<<r.IntN(18)+r.IntN(4096))
		_, _ = noise(fmt.Sprint(n)).Read(data) // never fails
		switch n % 5 {
		case 0:
			data = bytes.Repeat([]byte(fmt.Sprintf("line %d of a text that compresses\n", n)), len(data)/32+1)
		case 1:
			clear(data[len(data)/4 : len(data)/2])
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("file-%d", n)), data, 0o644); err != nil {
			return err
		}
		total += len(data)
	}
	return nil
}

// makeImage makes a disk image with a file system on it, and holes where nothing is.
func makeImage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	tree, image := filepath.Join(dir, "tree"), filepath.Join(dir, "disk.img")
	if err := makeTree(tree); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(image, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(f.Truncate(imageSize), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-d", tree, image)
	return image
}

// used are the bytes that a file takes on its disk.
func used(t *testing.T, name string) int64 {
	t.Helper()
	var blocks int64
	if _, err := fmt.Sscan(string(run(t, "stat", "-c", "%b", name)), &blocks); err != nil {
		t.Fatal(err)
	}
	return blocks * 512
}

// start starts the server with nothing but --data, and says how long it took until it could be mounted.
func start(t *testing.T, s daemon.Server) *daemon.Process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	began := time.Now()
	p, err := s.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", time.Since(began))
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("the server wrote:\n%s", p.Tail())
		}
	})
	if p.NFS != 2049 || p.API != 8080 {
		t.Fatalf("ports %d and %d, not the defaults", p.NFS, p.API)
	}
	return p
}

func TestRealClients(t *testing.T) {
	bin, err := daemon.Build(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	image := makeImage(t)
	if n := used(t, image); n < treeSize || n > imageSize/2 {
		t.Fatalf("the image takes %d MiB: it is to have data and holes", n>>20)
	}
	s := daemon.Server{Bin: bin, Data: filepath.Join(t.TempDir(), "data"), Plain: true}
	p := start(t, s)
	disks := []string{store + "disk-flat.vmdk", store + "disk.raw"}
	identical := func() {
		t.Helper()
		for _, url := range disks {
			run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", image, url)
		}
	}
	for _, url := range disks {
		run(t, "qemu-img", "convert", "-f", "raw", "-O", "raw", image, url)
	}
	identical()
	files := put(t)
	get(t, files)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	p = start(t, s)
	identical()
	get(t, files)
	p.Kill()
	p = start(t, s)
	identical()
	get(t, files)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	rest, err := os.ReadFile(s.Data + ".log")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(rest, []byte("panic")) || bytes.Contains(rest, []byte("\terror\t")) {
		t.Errorf("the server complained:\n%s", rest)
	}
}

// put copies files in with nfs-cp: their names and contents.
func put(t *testing.T) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	files := map[string][]byte{}
	for _, n := range []int{0, 1, 4095, 1 << 20, 5_000_001} {
		data := make([]byte, n)
		_, _ = noise(fmt.Sprint(n)).Read(data)
		name := fmt.Sprintf("file-%d", n)
		local := filepath.Join(dir, name)
		if err := os.WriteFile(local, data, 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, "nfs-cp", local, store+name)
		files[name] = data
	}
	return files
}

// get reads them back with nfs-cat and nfs-cp, and looks at the listing.
func get(t *testing.T, files map[string][]byte) {
	t.Helper()
	list := string(run(t, "nfs-ls", store))
	for _, want := range []string{fmt.Sprintf("%d disk-flat.vmdk", imageSize), fmt.Sprintf("%d disk.raw", imageSize)} {
		if !strings.Contains(list, want) {
			t.Errorf("%q is not in\n%s", want, list)
		}
	}
	dir := t.TempDir()
	for name, data := range files {
		if want := fmt.Sprintf("%d %s", len(data), name); !strings.Contains(list, want) {
			t.Errorf("%q is not in\n%s", want, list)
		}
		if got := run(t, "nfs-cat", store+name); !bytes.Equal(got, data) {
			t.Errorf("nfs-cat of %s gives %d bytes, or others", name, len(got))
		}
		back := filepath.Join(dir, name)
		run(t, "nfs-cp", store+name, back)
		if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s copied back differs (%v)", name, err)
		}
	}
}
