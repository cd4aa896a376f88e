package storagerouter

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/vfs"
)

func openDir(t *testing.T, fsys vfs.FS, dir string) *dataDir {
	t.Helper()
	d, err := openDataDir(fsys, dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// same tells whether two opens found the same node.
func same(a, b *dataDir) bool {
	return a.node == b.node && a.token == b.token && string(a.key) == string(b.key)
}

func TestDataDirKeepsWhatItMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "data")
	first := openDir(t, vfs.OS(), dir)
	if first.node == 0 || len(first.token) != 64 || len(first.key) != 32 {
		t.Fatalf("%+v", first)
	}
	if _, err := openDataDir(vfs.OS(), dir, zap.NewNop()); !ovs.Is(err, ovs.KindBusy) || !strings.Contains(err.Error(), "another server") {
		t.Errorf("a second open: %v", err)
	}
	if err := first.close(); err != nil {
		t.Fatal(err)
	}
	again := openDir(t, vfs.OS(), dir)
	defer again.close()
	if !same(first, again) {
		t.Errorf("%+v, then %+v", first, again)
	}
	for _, name := range []string{"admin.token", "handle.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// TestDataDirCrash lets the power go at every step of a first start. The next start always works, and finds what was told to
// the world: what an open that returned had made.
func TestDataDirCrash(t *testing.T) {
	done := false
	for step := 1; !done; step++ {
		for seed := range uint64(8) {
			disk := vfs.NewCrash(seed)
			disk.CutAt(step)
			first, err := openDataDir(disk, "/var/lib/ovs", zap.NewNop())
			if done = err == nil; !done && !errors.Is(err, vfs.ErrPowerCut) {
				t.Fatalf("step %d: %v", step, err)
			}
			disk = disk.Cut()
			again := openDir(t, disk, "/var/lib/ovs")
			if done && !same(first, again) {
				t.Fatalf("step %d, seed %d: another node after the cut", step, seed)
			}
			disk = disk.Cut() // whatever is served now must be there the next time
			if third := openDir(t, disk, "/var/lib/ovs"); !same(again, third) {
				t.Fatalf("step %d, seed %d: another node after the second cut", step, seed)
			}
		}
		if step > 200 {
			t.Fatal("a first start never ends")
		}
	}
}

// TestDataDirRefuses: what is not ours, or not for us, is refused before a step that changes anything.
func TestDataDirRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		file, text string
		want       ovs.Kind
		word       string
	}{
		"newer":          {"VERSION", "2\n", ovs.KindNotSupported, "newer ovs"},
		"no version":     {"VERSION", "x\n", ovs.KindCorrupt, "VERSION"},
		"something else": {"photo.jpg", "", ovs.KindInvalid, "photo.jpg"},
	} {
		disk := vfs.NewCrash(1)
		if err := disk.MkdirAll("/d", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := writeFile(disk, "/d/"+c.file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		before := disk.Steps()
		if _, err := openDataDir(disk, "/d", zap.NewNop()); !ovs.Is(err, c.want) || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v", name, err)
		}
		if disk.Steps() != before {
			t.Errorf("%s: it was touched", name)
		}
	}
}

// TestDataDirLosesItsFiles: whose the data are cannot be guessed; a token and a key can be made anew.
func TestDataDirLosesItsFiles(t *testing.T) {
	disk := vfs.NewCrash(1)
	first := openDir(t, disk, "/d")
	if err := errors.Join(first.close(), disk.MkdirAll("/d/raft", 0o700), disk.Remove("/d/admin.token")); err != nil {
		t.Fatal(err)
	}
	again := openDir(t, disk, "/d")
	if again.node != first.node || again.token == first.token || string(again.key) != string(first.key) {
		t.Errorf("%+v, then %+v", first, again)
	}
	if err := errors.Join(again.close(), disk.Remove("/d/node")); err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(disk, "/d", zap.NewNop()); !ovs.Is(err, ovs.KindCorrupt) || !strings.Contains(err.Error(), "file node is missing") {
		t.Errorf("without the file node: %v", err)
	}
}

// TestDataDirBlankFiles: a file emptied by hand or by a bad restore is one that is missing. A blank token would let anybody in.
func TestDataDirBlankFiles(t *testing.T) {
	disk := vfs.NewCrash(1)
	first := openDir(t, disk, "/d")
	if err := errors.Join(first.close(), writeFile(disk, "/d/admin.token", []byte("\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	again := openDir(t, disk, "/d")
	if len(again.token) != 64 || again.token == first.token {
		t.Errorf("the token is %q", again.token)
	}
	if err := errors.Join(again.close(), disk.MkdirAll("/d/raft", 0o700), writeFile(disk, "/d/node", []byte("  \n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(disk, "/d", zap.NewNop()); !ovs.Is(err, ovs.KindCorrupt) || !strings.Contains(err.Error(), "file node") {
		t.Errorf("with a blank file node: %v", err)
	}
	if err := writeFile(disk, "/d/node", []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(disk, "/d/admin.token", []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(disk, "/d", zap.NewNop()); !ovs.Is(err, ovs.KindCorrupt) || !strings.Contains(err.Error(), "admin.token") {
		t.Errorf("with a token of 5 letters: %v", err)
	}
}

// TestLogSize: chosen once, by the disk at the first start; what is said by a setting wins.
func TestLogSize(t *testing.T) {
	disk := vfs.NewCrash(1)
	disk.SetCapacity(20 << 30)
	resolve := func(set Size) (Size, error) {
		d := openDir(t, disk, "/d")
		defer d.close()
		c := DefaultConfig()
		c.LogSize = set
		err := c.resolve(d)
		return c.LogSize, err
	}
	first, err := resolve(0)
	if err != nil || first < 1<<30 || first > 2<<30 || first%(64<<20) != 0 {
		t.Fatalf("%v, %v", first, err)
	}
	if err := disk.MkdirAll("/d/raft", 0o700); err != nil {
		t.Fatal(err)
	}
	disk.SetCapacity(1 << 30) // it filled up
	if again, err := resolve(0); err != nil || again != first {
		t.Errorf("%v, then %v, %v", first, again, err)
	}
	if set, err := resolve(512 << 20); err != nil || set != 512<<20 {
		t.Errorf("512 MiB set: %v, %v", set, err)
	}
	small := vfs.NewCrash(1)
	small.SetCapacity(500 << 20)
	c := DefaultConfig()
	if err := c.resolve(openDir(t, small, "/d")); !ovs.Is(err, ovs.KindNoSpace) || !strings.Contains(err.Error(), "--data") {
		t.Errorf("a first start on a disk of 500 MiB: %v", err)
	}
}
