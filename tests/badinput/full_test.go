package badinput

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ovs/tests/daemon"
	"ovs/tests/oracle/nfsclient"
)

// smallDisk is a disk mounted where only this test sees it.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	dir := t.TempDir()
	image, at := filepath.Join(dir, "disk.img"), filepath.Join(dir, "disk")
	f, err := os.Create(image)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close(), os.Mkdir(at, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s(a free /dev/loop* is needed)", args, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return at
}

func free(t *testing.T, dir string) int64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// slowest is how long one write may take to be refused.
const slowest = 10 * time.Second

// fill writes noise to a file until the server refuses: it says how much was taken. The refusal must be a clear one, and come
// soon.
func fill(t *testing.T, f *nfsclient.File, limit int64) int64 {
	t.Helper()
	b := make([]byte, 1<<20)
	began := time.Now()
	for off := int64(0); off < limit; off += int64(len(b)) {
		noise(b, off)
		asked := time.Now()
		_, err := f.WriteAt(b, off)
		if err == nil {
			continue
		}
		if s := status(err); s != nfsclient.StatusNoSpace && s != nfsclient.StatusJukebox {
			t.Fatalf("a full disk is answered with %v after %v", err, time.Since(asked))
		}
		if d := time.Since(asked); d > slowest {
			t.Errorf("the refusal took %v", d)
		}
		t.Logf("%d MiB in %v, then %v", off>>20, time.Since(began), err)
		return off
	}
	t.Fatalf("a disk of 1.25 GiB took %d MiB", limit>>20)
	return 0
}

func noise(b []byte, off int64) {
	var seed [32]byte
	copy(seed[:], fmt.Sprintf("noise at %d", off))
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
}

// put writes n bytes of noise; all must be taken.
func put(t *testing.T, f *nfsclient.File, n int64) {
	t.Helper()
	b := make([]byte, 1<<20)
	for off := int64(0); off < n; off += int64(len(b)) {
		noise(b, off)
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatalf("write at %d MiB: %v", off>>20, err)
		}
	}
}

// holds checks the first n bytes that fill or put wrote.
func holds(t *testing.T, f *nfsclient.File, n int64) {
	t.Helper()
	want, got := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < n; off += int64(len(want)) {
		noise(want, off)
		if _, err := f.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read at %d MiB: wrong, or %v", off>>20, err)
		}
	}
}

// full is a server on a small disk, and a client of it.
type full struct {
	disk string
	s    daemon.Server
	p    *daemon.Process
	c    *nfsclient.Client
}

func (w *full) start(t *testing.T) {
	t.Helper()
	w.p = start(t, w.s)
	w.c = mount(t, w.p, nfsclient.Options{Timeout: 2 * time.Minute})
}

func (w *full) create(t *testing.T, name string) *nfsclient.File {
	t.Helper()
	h, _, err := w.c.Create(t.Context(), w.c.Root, name, nfsclient.Guarded, 0)
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return w.file(h)
}

func (w *full) open(t *testing.T, name string) *nfsclient.File {
	t.Helper()
	h, _, err := w.c.Lookup(t.Context(), w.c.Root, name)
	if err != nil {
		t.Fatalf("look up %s: %v", name, err)
	}
	return w.file(h)
}

func (w *full) file(h nfsclient.Handle) *nfsclient.File {
	return &nfsclient.File{Conn: w.c.Conn(0), Handle: h, Stable: nfsclient.FileSync}
}

// smallFile makes a file as a lock is: some hundred bytes, rewritten in place. It must always go.
func (w *full) smallFile(t *testing.T, f *nfsclient.File) {
	t.Helper()
	if _, err := f.WriteAt(make([]byte, 512), 0); err != nil {
		t.Errorf("a small file's write: %v", err)
	}
}

func newFull(t *testing.T) *full {
	disk := smallDisk(t, 1280<<20)
	w := &full{disk: disk, s: daemon.Server{Bin: bin, Data: filepath.Join(disk, "data"), Log: filepath.Join(t.TempDir(), "log")}}
	w.start(t)
	return w
}

// TestDiskTooSmall: a disk that would be full at once is refused before anything large is made on it.
func TestDiskTooSmall(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 512<<20)
	data := filepath.Join(disk, "data")
	for _, want := range []string{" MiB are free, a first start needs 1024", " 0 MiB are free"} {
		code, said := serve(t, at(data)...)
		refused(t, code, said, 6, "no space", "make room", want)
		for _, name := range []string{"log", "asd", "raft"} {
			if _, err := os.Stat(filepath.Join(data, name)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s was made (%v)", name, err)
			}
		}
		stranger(t, filepath.Join(disk, "theirs"))
	}
}

func TestDiskFilledByUs(t *testing.T) {
	t.Parallel()
	w := newFull(t)
	lock := w.create(t, "vm.lck")
	f := w.create(t, "big.raw")
	n := fill(t, f, 2<<30)
	t.Logf("%d MiB are free on the disk", free(t, w.disk)>>20)
	if n < 250<<20 {
		t.Errorf("only %d MiB were taken", n>>20)
	}
	holds(t, f, n)
	w.smallFile(t, lock)
	w.p.Kill()
	w.start(t)
	f = w.open(t, "big.raw")
	holds(t, f, n)
	w.smallFile(t, w.open(t, "vm.lck"))
	if err := w.c.Remove(t.Context(), w.c.Root, "big.raw"); err != nil {
		t.Fatal(err)
	}
	again := w.create(t, "again.raw")
	eventually(t, 30*time.Second, "a write after space returned", func() error {
		_, err := again.WriteAt(make([]byte, 1<<20), 0)
		return err
	})
	eventually(t, 30*time.Second, "the space of what was removed", func() error {
		if n := free(t, w.disk); n < 550<<20 {
			return fmt.Errorf("%d MiB are free", n>>20)
		}
		return nil
	})
	put(t, again, 150<<20)
	stop(t, w.p)
	w.start(t)
	holds(t, w.open(t, "again.raw"), 150<<20)
	stop(t, w.p)
}

// stranger fills the disk to the last block.
func stranger(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1<<20)
	for len(b) > 0 {
		if _, err = f.Write(b); err != nil {
			b = b[:len(b)/2]
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func TestDiskFilledByAStranger(t *testing.T) {
	t.Parallel()
	w := newFull(t)
	lock := w.create(t, "vm.lck")
	f, gone := w.create(t, "kept.raw"), w.create(t, "gone.raw")
	put(t, f, 50<<20)
	put(t, gone, 20<<20)
	theirs := filepath.Join(w.disk, "theirs")
	stranger(t, theirs)
	t.Logf("%d KiB are free on the disk", free(t, w.disk)>>10)
	holds(t, f, 50<<20)
	w.smallFile(t, lock)
	fill(t, gone, 2<<30)
	if _, _, err := w.c.Create(t.Context(), w.c.Root, "new", nfsclient.Guarded, 0); status(err) != nfsclient.StatusNoSpace {
		t.Errorf("create on a full disk: %v", err)
	}
	if err := w.c.Remove(t.Context(), w.c.Root, "gone.raw"); err != nil {
		t.Errorf("remove on a full disk: %v", err)
	}
	holds(t, f, 50<<20)
	noPanic(t, w.p)
	w.p.Kill()

	// The server starts on a full disk if at all, and says why not.
	p, err := w.s.Launch()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Ready(ctx); err != nil {
		t.Logf("start on a full disk: %v", err)
		noPanic(t, p)
		if s := p.Tail(); !strings.Contains(s, "no space") {
			t.Errorf("it does not say that the disk is full:\n%s", s)
		}
	}
	p.Kill()

	if err := os.Remove(theirs); err != nil {
		t.Fatal(err)
	}
	w.start(t)
	f = w.open(t, "kept.raw")
	holds(t, f, 50<<20)
	put(t, w.create(t, "new.raw"), 50<<20)
	w.smallFile(t, w.open(t, "vm.lck"))
	stop(t, w.p)
}
