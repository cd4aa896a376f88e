package badinput

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"ovs/tests/oracle/nfsclient"
)

const (
	statusInvalid     = 22
	statusTooBig      = 27
	statusNameTooLong = 63
	statusBadHandle   = 10001
)

// TestForgedHandles: no handle but those that were given out opens anything.
func TestForgedHandles(t *testing.T) {
	t.Parallel()
	p := talk(t)
	b := watch(t, p)
	c := mount(t, p, nfsclient.Options{})
	dir := own(t, c)
	h, _, err := c.Create(t.Context(), dir, "file", nfsclient.Guarded, 0)
	if err != nil {
		t.Fatal(err)
	}
	try := func(name string, forged nfsclient.Handle) {
		t.Helper()
		f := &nfsclient.File{Conn: c.Conn(0), Handle: forged, Stable: nfsclient.FileSync}
		_, get := f.GetAttr()
		_, write := f.WriteAt([]byte("x"), 0)
		_, read := f.ReadAt(make([]byte, 1), 0)
		_, commit := f.Commit()
		_, _, look := c.Lookup(t.Context(), forged, "file")
		remove := c.Remove(t.Context(), forged, "file")
		for _, err := range []error{get, write, read, commit, look, remove} {
			if s := status(err); s != statusBadHandle && s != nfsclient.StatusStale {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	try("empty", "")
	try("short", h[:16])
	try("long", h+h)
	try("zeros", nfsclient.Handle(make([]byte, 32)))
	for i := range len(h) * 8 { // each bit
		forged := []byte(h)
		forged[i/8] ^= 1 << (i % 8)
		try("bit", nfsclient.Handle(forged))
	}
	r := rand.NewChaCha8([32]byte{1})
	for range 200 {
		forged := make([]byte, 32)
		_, _ = r.Read(forged) // never fails
		try("random", nfsclient.Handle(forged))
	}
	// Another datastore's handles are foreign here.
	q := start(t, fresh(t))
	other := mount(t, q, nfsclient.Options{})
	try("another datastore's", other.Root)
	stop(t, q)
	if _, _, err := c.Lookup(t.Context(), dir, "file"); err != nil {
		t.Error(err)
	}
	b.unharmed(t)
}

func TestNames(t *testing.T) {
	t.Parallel()
	p := talk(t)
	c := mount(t, p, nfsclient.Options{})
	dir := own(t, c)
	long := strings.Repeat("n", 255)
	if _, _, err := c.Create(t.Context(), dir, long, nfsclient.Guarded, 0); err != nil {
		t.Errorf("a name of 255 bytes: %v", err)
	}
	for name, want := range map[string]uint32{
		long + "n": statusNameTooLong, strings.Repeat("n", 5000): statusNameTooLong, strings.Repeat("n", 200_000): statusNameTooLong,
		"a/b": statusInvalid, "/": statusInvalid, "": statusInvalid, "a\x00b": statusInvalid,
		".": nfsclient.StatusExist, "..": nfsclient.StatusExist,
	} {
		short := name[:min(len(name), 20)]
		_, _, create := c.Create(t.Context(), dir, name, nfsclient.Guarded, 0)
		_, _, mkdir := c.Mkdir(t.Context(), dir, name)
		for _, err := range []error{create, mkdir} {
			if s := status(err); s != want {
				t.Errorf("%q of %d bytes is made: %v, not status %d", short, len(name), err, want)
			}
		}
		if want == nfsclient.StatusExist {
			want = statusInvalid
		}
		rename := c.Rename(t.Context(), dir, long, dir, name)
		remove := c.Remove(t.Context(), dir, name)
		for _, err := range []error{rename, remove} {
			if s := status(err); s != want {
				t.Errorf("%q of %d bytes is renamed to or removed: %v, not status %d", short, len(name), err, want)
			}
		}
	}
	if list, err := c.ReadDir(t.Context(), dir); err != nil || len(list) != 1 || list[0].Name != long {
		t.Errorf("the directory holds %v (%v)", list, err)
	}
}

// TestOffsets: past the largest file is refused, past the end is the end, and nothing overflows.
func TestOffsets(t *testing.T) {
	t.Parallel()
	p := talk(t)
	c := mount(t, p, nfsclient.Options{})
	dir := own(t, c)
	for _, name := range []string{"volume.raw", "file"} {
		h, _, err := c.Create(t.Context(), dir, name, nfsclient.Guarded, 0)
		if err != nil {
			t.Fatal(err)
		}
		const most = 64 << 40
		for _, off := range []uint64{most - 1, most, 1<<63 - 2, 1<<63 - 1, 1 << 63, math.MaxUint64 - 1, math.MaxUint64} {
			cn := c.Conn(0)
			w := nfsclient.Call{File: h, Off: off, Data: []byte("xy"), Stable: nfsclient.FileSync}
			if err := nfsclient.Do(t.Context(), cn, &w, cn.Write); status(err) != statusTooBig {
				t.Errorf("%s: WRITE at %#x: %v", name, off, err)
			}
			r := nfsclient.Call{File: h, Off: off, Dst: make([]byte, 4096)}
			if err := nfsclient.Do(t.Context(), cn, &r, cn.Read); status(err) == 0 && (err != nil || r.N != 0 || !r.EOF) {
				t.Errorf("%s: READ at %#x: %d bytes, end %v, %v", name, off, r.N, r.EOF, err)
			}
			m := nfsclient.Call{File: h, Off: off, Count: math.MaxUint32}
			if err := nfsclient.Do(t.Context(), cn, &m, cn.Commit); err != nil && status(err) != statusInvalid {
				t.Errorf("%s: COMMIT at %#x: %v", name, off, err)
			}
			if err := c.Truncate(t.Context(), h, off); off > most && status(err) != statusTooBig {
				t.Errorf("%s: size %#x: %v", name, off, err)
			}
		}
		if err := truncateBack(t.Context(), c, h); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func truncateBack(ctx context.Context, c *nfsclient.Client, h nfsclient.Handle) error {
	if err := c.Truncate(ctx, h, 0); err != nil {
		return err
	}
	f := &nfsclient.File{Conn: c.Conn(0), Handle: h, Stable: nfsclient.FileSync}
	_, err := f.WriteAt([]byte("small again"), 0)
	return err
}
