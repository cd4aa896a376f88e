package albaproxy

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"ovs"
	"ovs/albaproxy/asd"
)

// watched is an ASD whose calls a test sees, and may fail or hold up.
type watched struct {
	asd.ASD
	mu   sync.Mutex // guards below
	gets []int      // bytes asked for by each Get
	hook func(op string, k asd.Key) error
	u    *asd.Usage
}

func (w *watched) call(op string, k asd.Key) error {
	w.mu.Lock()
	hook := w.hook
	w.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(op, k)
}

func (w *watched) set(hook func(op string, k asd.Key) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hook = hook
}

func (w *watched) Put(ctx context.Context, k asd.Key, b []byte, o asd.PutOptions) error {
	if err := w.call("put", k); err != nil {
		return err
	}
	return w.ASD.Put(ctx, k, b, o)
}

func (w *watched) Get(ctx context.Context, k asd.Key, off uint64, dst []byte) (int, error) {
	w.mu.Lock()
	w.gets = append(w.gets, len(dst))
	w.mu.Unlock()
	if err := w.call("get", k); err != nil {
		return 0, err
	}
	return w.ASD.Get(ctx, k, off, dst)
}

func (w *watched) Delete(ctx context.Context, keys ...asd.Key) error {
	for _, k := range keys {
		if err := w.call("delete", k); err != nil {
			return err
		}
	}
	return w.ASD.Delete(ctx, keys...)
}

func (w *watched) Usage(ctx context.Context) (asd.Usage, error) {
	if w.u != nil {
		return *w.u, nil
	}
	return w.ASD.Usage(ctx)
}

// watch puts a watched around each ASD that the rig opens from now on, and gives those of the last opening.
func (r *rig) watch() *[]*watched {
	var list []*watched
	r.edit = func(c *Config) {
		list = nil
		for i := range c.ASDs {
			w := &watched{ASD: c.ASDs[i]}
			list = append(list, w)
			c.ASDs[i] = w
		}
	}
	return &list
}

// hooked is a registry that a test may hold up or fail before each Sequence.
type hooked struct {
	ovs.Registry
	mu   sync.Mutex
	hook func(u []ovs.Update) error
}

func (h *hooked) set(hook func(u []ovs.Update) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = hook
}

func (h *hooked) Sequence(ctx context.Context, u ...ovs.Update) (uint64, error) {
	h.mu.Lock()
	hook := h.hook
	h.mu.Unlock()
	if hook != nil {
		if err := hook(u); err != nil {
			return 0, err
		}
	}
	return h.Registry.Sequence(ctx, u...)
}

// manifestOf gives the manifest and id of the namespace of an object.
func manifestOf(t *testing.T, p *Proxy, ns, name string) (*manifest, space, *group) {
	t.Helper()
	s, g, err := p.space(t.Context(), "test", ns)
	ok(t, err)
	m, err := g.manifests.fresh(t.Context(), s.manifests+name)
	ok(t, err)
	return m, s, g
}

// place gives the directory number of the ASD with that id.
func (r *rig) asdNumber(p *Proxy, id uint64) int {
	for i, d := range p.disks {
		if d.id == id {
			return i
		}
	}
	r.t.Fatalf("no ASD %x", id)
	return 0
}

// fragmentFile is the file of fragment i of an object.
func (r *rig) fragmentFile(p *Proxy, ns, name string, i int) string {
	m, s, _ := manifestOf(r.t, p, ns, name)
	n := r.asdNumber(p, m.fragments[i].disk)
	return r.asdDir(n) + "/fragments/" + m.key(s.id, i).String()
}

func (r *rig) lose(p *Proxy, ns, name string, i int) {
	r.t.Helper()
	ok(r.t, r.fs.Remove(r.fragmentFile(p, ns, name, i)))
}

// rot changes one byte of a fragment.
func (r *rig) rot(p *Proxy, ns, name string, i int, at int64) {
	r.t.Helper()
	f, err := r.fs.OpenFile(r.fragmentFile(p, ns, name, i), os.O_RDWR, 0)
	ok(r.t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	ok(r.t, err)
	b[0] ^= 0x10
	_, err = f.WriteAt(b[:], at)
	ok(r.t, err)
}

// count is the number of fragments on all disks.
func (r *rig) count(p *Proxy) (n int) {
	r.t.Helper()
	for _, d := range p.disks {
		keys, err := d.List(r.t.Context(), asd.Key{}, asd.Key{Namespace: ^uint64(0)}, 100_000)
		ok(r.t, err)
		n += len(keys)
	}
	return n
}

// rotKey changes one byte of the fragment with that key on disk 0.
func (r *rig) rotKey(p *Proxy, k asd.Key, at int64) {
	r.t.Helper()
	name := r.asdDir(0) + "/fragments/" + k.String()
	f, err := r.fs.OpenFile(name, os.O_RDWR, 0)
	ok(r.t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte{0xEE}, at)
	ok(r.t, err)
}

// forgive ends all pauses of disks, and what is known of their free space.
func forgive(p *Proxy) {
	for _, d := range p.disks {
		d.mu.Lock()
		d.until, d.asked = time.Time{}, time.Time{}
		d.mu.Unlock()
	}
}
