package albaproxy

import (
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"testing"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/conformance/backendtest"
	"ovs/internal/memregistry"
	"ovs/internal/vfs"
)

// rig is a backend of some directories that a test opens again and again.
type rig struct {
	t    *testing.T
	fs   vfs.FS
	dir  string
	abm  *memregistry.Registry
	nsm  []*memregistry.Registry
	asds int
	edit func(*Config)
	each map[int]vfs.FS // ASDs on a file system of their own
	rand *rand.ChaCha8
}

func newRig(t *testing.T, fsys vfs.FS, dir string) *rig {
	return &rig{
		t: t, fs: fsys, dir: dir, asds: 6, abm: memregistry.New(),
		nsm:  []*memregistry.Registry{memregistry.New(), memregistry.New()},
		rand: rand.NewChaCha8([32]byte{1}),
	}
}

func (r *rig) asdDir(i int) string { return fmt.Sprintf("%s/asd%d", r.dir, i) }

func (r *rig) config() (Config, error) {
	c := Config{Name: "backend1", ABM: r.abm, Rand: r.rand, CollectEvery: -1}
	for _, g := range r.nsm {
		c.NSM = append(c.NSM, g)
	}
	for i := range r.asds {
		fsys, device := r.fs, "one"
		if own := r.each[i]; own != nil {
			fsys, device = own, fmt.Sprint(i)
		}
		d, err := asd.Open(asd.Options{FS: fsys, Dir: r.asdDir(i), Node: 1, Device: device, Rand: r.rand})
		if err != nil {
			return c, err
		}
		c.ASDs = append(c.ASDs, d)
	}
	if r.edit != nil {
		r.edit(&c)
	}
	return c, nil
}

// open opens the backend until the test ends, or until close.
func (r *rig) open() *Proxy {
	r.t.Helper()
	c, err := r.config()
	ok(r.t, err)
	p, err := Open(r.t.Context(), c)
	ok(r.t, err)
	r.t.Cleanup(func() { _ = p.Close() })
	return p
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err error, k ovs.Kind) {
	t.Helper()
	if !ovs.Is(err, k) {
		t.Fatalf("error %v, want kind %q", err, k)
	}
}

func TestConformance(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) ovs.Backend {
		r := newRig(t, vfs.OS(), t.TempDir())
		c, err := r.config()
		ok(t, err)
		c.Rand = crand.Reader
		p, err := Open(t.Context(), c)
		ok(t, err)
		t.Cleanup(func() { ok(t, p.Close()) })
		return p
	})
}
