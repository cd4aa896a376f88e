package nbd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ovs/internal/vfs"
)

const size = 8 << 20

func serve(t *testing.T, disk *vfs.Crash) (url string, s *Server, f vfs.File) {
	t.Helper()
	f, err := disk.OpenFile("disk", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	if s, err = Serve(socket, f, size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return "nbd+unix:///?socket=" + socket, s, f
}

func qemuIO(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command("qemu-io", args...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("failed")) {
		t.Fatalf("qemu-io %q: %v\n%s", args, err, out)
	}
}

// TestFlush: over QEMU's NBD driver, what was flushed survives a cut, and what was not is gone where the disk says so.
func TestFlush(t *testing.T) {
	disk := vfs.NewCrash(1)
	disk.SetCutMode(vfs.CutAll)
	url, s, f := serve(t, disk)
	if err := f.Datasync(); err != nil { // its size
		t.Fatal(err)
	}
	if err := disk.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	// The sigraise ends qemu-io as a crash would: it flushes what it has at a good end.
	cmd := exec.Command("qemu-io", "-f", "raw", "-t", "none", "-c", "write -P 17 0 1M", "-c", "flush", "-c", "write -P 34 1M 64k",
		"-c", "read -P 34 1M 64k", "-c", "sigraise 9", url)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.Success() || bytes.Contains(out, []byte("failed")) {
		t.Fatalf("qemu-io: %v\n%s", err, out)
	}
	after := disk.Cut()
	s.Close()
	url, _, _ = serve(t, after)
	qemuIO(t, "-f", "raw", "-c", "read -P 17 0 1M", "-c", "read -P 0 1M 64k", url)
}

// TestWholeDisk: its size is told, and its last sectors are there.
func TestWholeDisk(t *testing.T) {
	url, _, _ := serve(t, vfs.NewCrash(1))
	out, _ := exec.Command("qemu-img", "info", "--output=json", url).CombinedOutput()
	if !bytes.Contains(out, []byte(`"virtual-size": 8388608`)) {
		t.Fatalf("qemu-img info says\n%s", out)
	}
	qemuIO(t, "-f", "raw", "-c", "write -P 1 8387584 1k", "-c", "read -P 1 8387584 1k", "-c", "read -P 0 0 4M", url)
}
