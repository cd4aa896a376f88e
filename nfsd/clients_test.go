package nfsd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	gonfs "github.com/willscott/go-nfs-client/nfs"
	"github.com/willscott/go-nfs-client/nfs/rpc"
)

// Clients that others wrote: libnfs's tools, go-nfs-client and QEMU's nfs driver.

// need finds a program, or fails the test with the package that has it.
func need(t *testing.T, prog, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(prog)
	if err != nil {
		t.Fatalf("%s is missing: install the package %s (make deps)", prog, pkg)
	}
	return path
}

// run runs a program for at most a minute and gives what it printed.
func run(t *testing.T, prog string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, prog, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", prog, args, err, out, stderr.Bytes())
	}
	return out
}

func TestLibnfs(t *testing.T) {
	ls, cp, cat := need(t, "nfs-ls", "libnfs-utils"), need(t, "nfs-cp", "libnfs-utils"), need(t, "nfs-cat", "libnfs-utils")
	port := serveFS(t, newMem()).port()
	url := func(path string) string {
		return fmt.Sprintf("nfs://127.0.0.1/pool%s?version=3&nfsport=%d&mountport=%d", path, port, port)
	}
	dir := t.TempDir()
	for _, n := range []int{0, 1, 4095, 1 << 20, 5_000_001} {
		data := pattern(n, byte(n))
		local := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(local, data, 0o600); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("/file-%d", n)
		run(t, cp, local, url(name))
		if got := run(t, cat, url(name)); !bytes.Equal(got, data) {
			t.Errorf("nfs-cat of %d bytes gives %d, or others", n, len(got))
		}
		run(t, cp, url(name), local+".back")
		if back, err := os.ReadFile(local + ".back"); err != nil || !bytes.Equal(back, data) {
			t.Errorf("%d bytes copied back differ (%v)", n, err)
		}
	}
	list := string(run(t, ls, url("")))
	for _, want := range []string{"file-0", "5000001 file-5000001"} {
		if !strings.Contains(list, want) {
			t.Errorf("%q is not in\n%s", want, list)
		}
	}
}

func TestGoNFSClient(t *testing.T) {
	port := serveFS(t, newMem()).port()
	c, err := rpc.DialTCP("tcp", fmt.Sprintf("127.0.0.1:%d", port), false)
	for tries := 0; errors.Is(err, syscall.EADDRINUSE) && tries < 20; tries++ { // it draws its own port blindly
		c, err = rpc.DialTCP("tcp", fmt.Sprintf("127.0.0.1:%d", port), false)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m := gonfs.Mount{Client: c}
	if _, err := m.Mount("/nothing", rpc.AuthNull); err == nil {
		t.Error("a path that is no export was mounted")
	}
	v, err := m.Mount("/pool", rpc.NewAuthUnix("test", 0, 0).Auth())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Unmount() }()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	second := func(_ []byte, err error) error { return err }
	must(second(v.Mkdir("/dir", 0o755)))
	f, err := v.OpenFile("/dir/file", 0o640)
	must(err)
	data := pattern(3_000_000, 1)
	_, err = io.Copy(f, bytes.NewReader(data))
	must(err)
	must(f.Close())
	must(v.Rename("/dir/file", "/dir/renamed"))
	r, err := v.Open("/dir/renamed")
	must(err)
	got, err := io.ReadAll(r)
	must(err)
	if !bytes.Equal(got, data) {
		t.Error("what was read back differs")
	}
	a, err := v.Getattr("/dir/renamed")
	must(err)
	if a.Filesize != uint64(len(data)) || a.FileMode != 0o640 {
		t.Errorf("%+v", a)
	}
	for i := range 500 {
		must(second(v.Create(fmt.Sprintf("/dir/many-%03d", i), 0o600)))
	}
	list, err := v.ReadDirPlus("/dir")
	must(err)
	names := map[string]bool{}
	for _, e := range list {
		names[e.Name()] = true
	}
	if len(names) != 501 {
		t.Errorf("%d names in a directory of 501", len(names))
	}
	must(v.RemoveAll("/dir"))
	if _, _, err := v.Lookup("/dir"); err == nil {
		t.Error("the directory is still there")
	}
}

// TestQEMU lets qemu-img find the server by the portmapper, which has to be on port 111: in a network namespace, where that
// is always free.
func TestQEMU(t *testing.T) {
	if os.Getenv("OVS_TEST_NAMESPACE") == "" {
		need(t, "qemu-img", "qemu-utils")
		cmd := exec.Command(need(t, "unshare", "util-linux"), "--net", "sh", "-c",
			need(t, "ip", "iproute2")+` link set lo up && exec "$0" -test.run '^TestQEMU$' -test.v`, os.Args[0])
		cmd.Env = append(os.Environ(), "OVS_TEST_NAMESPACE=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	p, err := ServePortmap(PortmapConfig{Port: serveFS(t, newMem()).port()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	image := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 3 << 20, 40<<20 + 512} { // a disk with holes
		if _, err := f.WriteAt(pattern(1<<20, byte(at>>9)), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	const url = "nfs://127.0.0.1/pool/disk-flat.vmdk"
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "raw", image, url)
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", image, url)
	run(t, "qemu-img", "bench", "-f", "raw", "-w", "-c", "2000", "-d", "32", "-s", "4096", "-t", "none", url)
}
