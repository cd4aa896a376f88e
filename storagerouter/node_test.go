package storagerouter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/framework"
	"ovs/internal/memregistry"
	"ovs/internal/vfs"
	"ovs/tests/oracle/nfsclient"
)

// openNode opens a node with its doors over a core on the twins.
func openNode(t *testing.T, disk vfs.FS, groups Groups) (*Node, error) {
	t.Helper()
	cfg := smallConfig()
	cfg.Data, cfg.NFSPort, cfg.APIPort, cfg.Portmap = at(), 0, 0, "off"
	n := &Node{cfg: cfg, zap: zap.NewNop(), started: time.Now(), failed: make(chan error, 2)}
	t.Cleanup(func() { // where the test ended early
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = n.Close(ctx)
	})
	var err error
	if n.dir, err = openDataDir(disk, at(), n.zap); err != nil {
		return nil, err
	}
	n.closers.add("data directory", func(context.Context) error { return n.dir.close() })
	if err := n.listen(); err != nil {
		return nil, err
	}
	if n.core, err = OpenCore(t.Context(), cfg, 1, disk, at, groups, n.zap); err != nil {
		return nil, err
	}
	n.closers.add("core", n.core.Close)
	if err := errors.Join(n.core.Start(t.Context()), n.openDoors()); err != nil {
		return nil, err
	}
	n.ready.Store(true)
	return n, nil
}

func mustNode(t *testing.T, disk vfs.FS, groups Groups) *Node {
	t.Helper()
	n, err := openNode(t, disk, groups)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// closeNode stops a node as ovs serve does.
func closeNode(t *testing.T, n *Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 9*time.Second)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func mount(t *testing.T, n *Node) *nfsclient.Client {
	t.Helper()
	c, err := nfsclient.Dial(t.Context(), nfsclient.Options{Addr: fmt.Sprint("127.0.0.1:", n.ports.NFS), Export: "/vpool1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// ask gives the answer of an open page of the API.
func ask(t *testing.T, n *Node, page string) (int, string) {
	t.Helper()
	res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", n.ports.API, page))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// TestStopAnswersSlowRequests: a write whose flush takes seconds is answered though the stop came meanwhile, what came
// UNSTABLE before is durable, and the stop ends well in time.
func TestStopAnswersSlowRequests(t *testing.T) {
	disk := vfs.NewFault(newDisk(t), rand.New(rand.NewPCG(1, 1)), nil)
	groups := memregistry.NewGroups()
	n := mustNode(t, disk, groups)
	c := mount(t, n)
	h, _, err := c.Create(t.Context(), c.Root, "disk.raw", nfsclient.Guarded, 0)
	if err != nil {
		t.Fatal(err)
	}
	const slow = 4500 * time.Millisecond
	data := bytes.Repeat([]byte("slow"), 1024)
	unstable := &nfsclient.File{Conn: c.Conn(0), Handle: h, Stable: nfsclient.Unstable}
	if _, err := unstable.WriteAt(data, int64(len(data))); err != nil {
		t.Fatal(err)
	}
	flushes := disk.Hits()[vfs.OpDatasync]
	disk.Add(vfs.Rule{Op: vfs.OpDatasync, Path: "log/*", Times: 1, Delay: slow})
	answered := make(chan error, 1)
	go func() {
		_, err := (&nfsclient.File{Conn: c.Conn(0), Handle: h, Stable: nfsclient.FileSync}).WriteAt(data, 0)
		answered <- err
	}()
	for disk.Hits()[vfs.OpDatasync] == flushes {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	closeNode(t, n)
	if err := <-answered; err != nil {
		t.Errorf("the write that ran: %v", err)
	}
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("the stop took %v", took)
	}
	n = mustNode(t, disk, groups)
	c = mount(t, n)
	h, _, err = c.Lookup(t.Context(), c.Root, "disk.raw")
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 2*len(data))
	if _, err := (&nfsclient.File{Conn: c.Conn(0), Handle: h}).ReadAt(got, 0); err != nil || !bytes.Equal(got, append(data, data...)) {
		t.Errorf("after the stop: other bytes, or %v", err)
	}
	closeNode(t, n)
}

// TestStopWithWaitingWrites: writes that wait for room in a full log, which nothing can give, do not hold up what is below
// the doors longer than the stop keeps for it.
func TestStopWithWaitingWrites(t *testing.T) {
	disk := vfs.NewFault(newDisk(t), rand.New(rand.NewPCG(1, 1)), nil)
	c := openCore(t, disk, memregistry.NewGroups(), 1)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	fs := c.FileSystem("vpool1")
	id := create(t, fs, "disk.raw")
	disk.Add(vfs.Rule{Op: vfs.OpDatasync, Path: "asd/*/*/*/*/*", Err: syscall.EIO})
	block := bytes.Repeat([]byte{7}, 256<<10)
	acked := make(chan error, 100)
	for i := range cap(acked) {
		fs.Write(&ovs.Write{Request: request(), File: id, Off: uint64(i * len(block)), Data: block, Stable: ovs.FileSync, Done: func(w *ovs.Write) { acked <- w.Err }})
	}
	for range 4 {
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), keptForRest)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > keptForRest {
		t.Errorf("it took %v", took)
	}
	waited := 0
	for range cap(acked) - 4 {
		select {
		case err := <-acked:
			if err != nil {
				waited++
			}
		case <-time.After(5 * time.Second):
			t.Fatal("a write is answered by nobody")
		}
	}
	if waited == 0 {
		t.Error("none waited: the test shows nothing")
	}
}

// TestMissingDisk: a disk that is gone, broken or another's is left out, loudly; all is read and written without it, and
// repaired once an empty one is in its place.
func TestMissingDisk(t *testing.T) {
	first, base := newDisk(t), memregistry.NewGroups()
	n := mustNode(t, first, base)
	data := bytes.Repeat([]byte("0123456789abcdef"), 12_500)
	fs := n.core.FileSystem("vpool1")
	for _, name := range []string{"disk.raw", "vm.vmx"} {
		if err := write(fs, create(t, fs, name), 0, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Flush(t.Context(), "vpool1"); err != nil {
		t.Fatal(err)
	}
	closeNode(t, n)
	spoil := func(d *vfs.Crash, name, text string) error {
		f, err := d.OpenFile(name, syscall.O_RDWR|syscall.O_CREAT|syscall.O_TRUNC, 0o644)
		if err != nil {
			return err
		}
		_, err = f.Write([]byte(text))
		return errors.Join(err, f.Close())
	}
	for name, c := range map[string]struct {
		harm func(d *vfs.Crash) error
		why  string
	}{
		"identity scratched": {func(d *vfs.Crash) error { return spoil(d, at("asd", "3", "Identity"), "ovs-asd 1 00") }, "Identity: asd.decodeIdentity: corrupt"},
		"identity gone":      {func(d *vfs.Crash) error { return d.Remove(at("asd", "3", "Identity")) }, "no identity"},
		"no directory": {func(d *vfs.Crash) error {
			return errors.Join(d.RemoveAll(at("asd", "3")), spoil(d, at("asd", "3"), ""))
		}, "not a directory"},
		"removed": {func(d *vfs.Crash) error { return d.RemoveAll(at("asd", "3")) }, "an empty one took its place"},
	} {
		t.Run(name, func(t *testing.T) {
			disk, groups := first.Fork(), base.Fork()
			if err := c.harm(disk); err != nil {
				t.Fatal(err)
			}
			n := mustNode(t, disk, groups)
			showsMissing(t, n, c.why)
			worksWithout(t, n, data, name)
			closeNode(t, n)
			repaired := uint64(1) // whether reads met a gap is up to where the fragments were put
			if name != "removed" {
				if err := disk.RemoveAll(at("asd", "3")); err != nil {
					t.Fatal(err)
				}
				n = mustNode(t, disk, groups)
				showsMissing(t, n, "an empty one took its place")
				worksWithout(t, n, data, "again")
				repaired = n.core.backend.Stats().Repaired
				closeNode(t, n)
			}
			n = mustNode(t, disk, groups)
			if s := n.Status(t.Context()); !s.Health.OK || s.Backend.InUse != 6 {
				t.Errorf("with an empty disk: %+v", s)
			}
			_ = n.core.backend.Maintain(t.Context()) // what reads met is repaired: nothing is left
			n.core.lookAtBackend(t.Context())
			repaired += n.core.backend.Stats().Repaired
			if h := n.core.health.Load(); h.Queued != 0 || repaired == 0 {
				t.Errorf("%d objects wait for repair, %d were repaired", h.Queued, repaired)
			}
			closeNode(t, n)
		})
	}
}

// showsMissing looks that the start, ovs status, /healthz and /metrics all say that asd/3 is missing, and why.
func showsMissing(t *testing.T, n *Node, why string) {
	t.Helper()
	if text := n.HowToMount(); !strings.Contains(text, "warning: disk asd/3 of the backend is missing") || !strings.Contains(text, why) {
		t.Error(text)
	}
	s := n.Status(t.Context())
	if len(s.Backend.Missing) != 1 || s.Backend.Missing[0].Disk != "asd/3" || !strings.Contains(s.Backend.Missing[0].Why, why) || s.Backend.Missing[0].Next == "" || !s.Backend.Readable {
		t.Errorf("%+v", s.Backend)
	}
	if code, text := ask(t, n, "/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "The first is asd/3") || !strings.Contains(text, "restart") && !strings.Contains(text, "start again") {
		t.Errorf("%d %s", code, text)
	}
	if _, text := ask(t, n, "/metrics"); !strings.Contains(text, "\novs_backend_disks_missing 1\n") || !strings.Contains(text, "\novs_backend_repair_queue ") {
		t.Error(text)
	}
}

// worksWithout reads what was written before, and writes and reads something new, all by the backend.
func worksWithout(t *testing.T, n *Node, data []byte, name string) {
	t.Helper()
	fs := n.core.FileSystem("vpool1")
	if err := write(fs, create(t, fs, name+".raw"), 0, data); err != nil {
		t.Fatal(err)
	}
	if err := n.Flush(t.Context(), "vpool1"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"disk.raw", "vm.vmx", name + ".raw"} {
		if got, err := read(fs, find(t, fs, name), 0, len(data)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// TestTooFewDisks: without any of the disks that held data the start is refused; they are served as soon as they are back.
func TestTooFewDisks(t *testing.T) {
	disk, groups := newDisk(t), memregistry.NewGroups()
	closeCore(t, openCore(t, disk, groups, 1))
	if err := disk.Rename(at("asd"), at("elsewhere")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCore(t.Context(), smallConfig(), 1, disk, at, groups, zap.NewNop()); !ovs.Is(err, ovs.KindCorrupt) || !strings.Contains(err.Error(), "mount or mend") {
		t.Errorf("all disks are empty ones: %v", err)
	}
	broken := vfs.NewFault(disk, rand.New(rand.NewPCG(1, 1)), nil, vfs.Rule{Op: vfs.OpLock, Path: "asd/*/lock", Err: syscall.EIO})
	if _, err := OpenCore(t.Context(), smallConfig(), 1, broken, at, groups, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("no disk opens: %v", err)
	}
	if err := errors.Join(disk.RemoveAll(at("asd")), disk.Rename(at("elsewhere"), at("asd"))); err != nil {
		t.Fatal(err)
	}
	closeCore(t, openCore(t, disk, groups, 1))
}

// TestPausingDisksAreSeen: a disk that fails writes shows at the next look, and speaks up when it lasts.
func TestPausingDisksAreSeen(t *testing.T) {
	disk := vfs.NewFault(newDisk(t), rand.New(rand.NewPCG(1, 1)), nil)
	n := mustNode(t, disk, memregistry.NewGroups())
	disk.Add(vfs.Rule{Op: vfs.OpDatasync, Path: "asd/3/fragments/*/*/*", Err: syscall.EIO})
	fs := n.core.FileSystem("vpool1")
	var s framework.Status
	seen := func() bool {
		return s.Backend.Pausing > 0 && s.Backend.Queued > 0 && s.Backend.Stuck && strings.Contains(s.Health.Sentence, "of 6 disks of backend backend1 take no fragments")
	}
	for i := 0; i < 20 && !seen(); i++ { // a pause may be over before the look on a busy machine; the next is longer
		if err := write(fs, create(t, fs, fmt.Sprint(i, ".raw")), 0, bytes.Repeat([]byte{1}, 64<<10)); err != nil {
			t.Fatal(err)
		}
		_ = n.Flush(t.Context(), "vpool1") // less than whole is fine
		for range stuckLooks {
			n.core.lookAtBackend(t.Context())
		}
		s = n.Status(t.Context())
	}
	if !seen() {
		t.Errorf("%+v\n%+v", s.Backend, s.Health)
	}
	closeNode(t, n)
}
