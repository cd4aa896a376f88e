package gonfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ovs"
	"ovs/internal/memfs"
)

// host mounts one directory and refuses every other.
type host struct {
	dir    *FS
	status uint32
	path   string
}

func (h *host) Mount(p string) (uint32, *FS) {
	h.path = p
	return h.status, h.dir
}

func (h *host) Handle(r ovs.Ref) []byte {
	return append(make([]byte, 24), binary.BigEndian.AppendUint64(nil, uint64(r.Object))...)
}

func xdrString(s string) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
	return append(b, make([]byte, -len(s)&3)...)
}

func TestLane(t *testing.T) {
	m := memfs.New(memfs.Options{})
	p := NewPool(2)
	defer p.Close()
	for _, call := range [][2]uint32{{100003, 0}, {100005, 0}} {
		if b, err := p.Call(call[0], call[1], nil, &host{}); err != nil || len(b) != 0 {
			t.Errorf("NULL of %d: %x, %v", call[0], b, err)
		}
	}
	ok := &host{dir: NewFS(m, ovs.Request{}, ovs.RootID)}
	b, err := p.Call(100005, 1, xdrString("/export/some where"), ok)
	want := append([]byte{0, 0, 0, 0, 0, 0, 0, 32}, ok.Handle(ovs.Ref{Object: 1})...)
	want = append(want, 0, 0, 0, 1, 0, 0, 0, 1)
	if err != nil || !bytes.Equal(b, want) || ok.path != "/export/some where" {
		t.Errorf("MNT of %q: %x, %v", ok.path, b, err)
	}
	no := &host{status: 13}
	if b, err := p.Call(100005, 1, xdrString("/x"), no); err != nil || !bytes.Equal(b, []byte{0, 0, 0, 13}) {
		t.Errorf("refused MNT: %x, %v", b, err)
	}
	if b, err := p.Call(100005, 3, xdrString("/x"), no); err != nil || len(b) != 0 {
		t.Errorf("UMNT: %x, %v", b, err)
	}
	// What go-nfs does not have is an error here, and the lane is replaced.
	if _, err := p.Call(100005, 5, nil, no); !ovs.Is(err, ovs.KindIO) {
		t.Errorf("EXPORT: %v", err)
	}
	if _, err := p.Call(100003, 0, nil, no); err != nil {
		t.Errorf("after a failed call: %v", err)
	}
}

// silent is a file system that knows no attributes at the moment.
type silent struct{ ovs.FileSystem }

func (silent) GetAttr(*ovs.Request, ovs.ObjectID) (ovs.Attr, error) {
	return ovs.Attr{}, ovs.E("test.GetAttr", ovs.KindBusy, nil, nil)
}

// A MOUNT that its Host granted carries the directory's handle, without asking again.
func TestGrantedMountHasAHandle(t *testing.T) {
	p := NewPool(1)
	defer p.Close()
	h := &host{dir: NewFS(silent{memfs.New(memfs.Options{})}, ovs.Request{}, 77)}
	b, err := p.Call(100005, 1, xdrString("/x"), h)
	want := append([]byte{0, 0, 0, 0, 0, 0, 0, 32}, h.Handle(ovs.Ref{Object: 77})...)
	if want = append(want, 0, 0, 0, 1, 0, 0, 0, 1); err != nil || !bytes.Equal(b, want) {
		t.Errorf("%x, %v", b, err)
	}
}

// late is a Host that answers after the lane's time-out.
type late struct{ host }

func (l *late) Mount(p string) (uint32, *FS) {
	time.Sleep(2 * laneTimeout)
	return l.host.Mount(p)
}

// A call that takes too long fails, once go-nfs is through with its Host; the pool goes on.
func TestLateHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(1)
		h := &late{host{dir: NewFS(memfs.New(memfs.Options{}), ovs.Request{}, ovs.RootID)}}
		if _, err := p.Call(100005, 1, xdrString("/x"), h); !ovs.Is(err, ovs.KindIO) || h.path != "/x" {
			t.Errorf("%v; the Host was asked for %q", err, h.path)
		}
		if _, err := p.Call(100003, 0, nil, h); err != nil {
			t.Error(err)
		}
		p.Close()
	})
}

func TestLanesEnd(t *testing.T) {
	before := runtime.NumGoroutine()
	p := NewPool(8)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := p.Call(100003, 0, nil, &host{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	p.Close()
	p.Close()
	if _, err := p.Call(100003, 0, nil, &host{}); !ovs.Is(err, ovs.KindClosed) {
		t.Errorf("a call after Close: %v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines were there before, %d are now", before, runtime.NumGoroutine())
		}
	}
}

func TestBilly(t *testing.T) {
	m := memfs.New(memfs.Options{})
	f := NewFS(m, ovs.Request{}, ovs.RootID)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(f.MkdirAll("a/b/c", 0o755))
	w, err := f.Create("a/b/c/file")
	must(err)
	data := bytes.Repeat([]byte("0123456789"), 300_000)
	n, err := w.Write(data)
	must(err)
	if n != len(data) {
		t.Fatal(n)
	}
	_, err = w.Seek(-5, io.SeekEnd)
	must(err)
	tail, err := io.ReadAll(w)
	must(err)
	if string(tail) != "56789" {
		t.Errorf("tail %q", tail)
	}
	must(w.Truncate(12))
	must(w.Close())
	must(f.Symlink("b/c/../c/file", "a/link"))
	r, err := f.Open("a/link")
	must(err)
	got, err := io.ReadAll(r)
	must(err)
	if string(got) != "012345678901" {
		t.Errorf("through the link: %q", got)
	}
	if target, err := f.Readlink("a/link"); err != nil || target != "b/c/../c/file" {
		t.Error(target, err)
	}
	st, err := f.Lstat("a/link")
	must(err)
	if st.Mode()&os.ModeSymlink == 0 || st.IsDir() {
		t.Error(st.Mode())
	}
	ap, err := f.OpenFile("a/link", os.O_WRONLY|os.O_APPEND, 0)
	must(err)
	_, err = ap.Write([]byte("!"))
	must(err)

	must(f.Rename("a/b/c/file", "a/moved"))
	must(f.Chmod("a/moved", 0o600))
	must(f.Chown("a/moved", 5, 6))
	must(f.Lchown("a/link", 7, 8))
	must(f.Chtimes("a/moved", time.Unix(1, 0), time.Unix(2, 3)))
	st, err = f.Stat("a/moved")
	must(err)
	if st.Size() != 13 || st.Mode() != 0o600 || !st.ModTime().Equal(time.Unix(2, 3)) || st.Name() != "moved" {
		t.Errorf("%v %v %v", st.Size(), st.Mode(), st.ModTime())
	}
	list, err := f.ReadDir("a")
	must(err)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	if fmt.Sprint(names) != "[b link moved]" {
		t.Error(names)
	}
	sub, err := f.Chroot("a")
	must(err)
	_, err = sub.Stat("/moved")
	must(err)
	t1, err := f.TempFile("a", "t")
	must(err)
	t2, err := f.TempFile("a", "t")
	must(err)
	if t1.Name() == t2.Name() {
		t.Error(t1.Name())
	}
	for what, e := range map[string]struct{ err, want error }{
		"open of nothing":  {second(f.Open("nothing")), fs.ErrNotExist},
		"exclusive create": {second(f.OpenFile("a/moved", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0)), fs.ErrExist},
		"full directory":   {f.Remove("a"), nil},
		"another's file":   {second(NewFS(m, ovs.Request{Cred: ovs.Cred{UID: 9}}, ovs.RootID).OpenFile("a/moved", os.O_RDWR|os.O_TRUNC, 0)), fs.ErrPermission},
	} {
		if e.err == nil || e.want != nil && !errors.Is(e.err, e.want) {
			t.Errorf("%s: %v", what, e.err)
		}
	}
	must(f.Remove("a/b/c"))
	a, err := f.find("a/moved", false)
	must(err)
	if st, err := f.Stat(ObjectPath(a.ID)); err != nil || st.Size() != 13 {
		t.Error("by object: ", err)
	}
	must(f.Symlink("loop", "loop"))
	if _, err := f.Stat("loop"); err == nil {
		t.Error("a link to itself leads somewhere")
	}
}

func second[T any](_ T, err error) error { return err }
