package albaproxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"syscall"
	"testing"
	"time"

	"ovs"
	"ovs/internal/conformance/backendtest"
	"ovs/internal/exhaust"
	"ovs/internal/vfs"
)

// TestEveryCall plays three lives of a backend again and again, each time with the next call on the disks, the registry or
// the source of random numbers going wrong, in every way in which one can, until a play has no such call any more. Then the
// power goes, and everything is sound again.
//
//   - What was acknowledged is there, byte by byte, and what was deleted is not; no read gives a wrong byte, ever.
//   - What failed once goes well when it is asked for again; an error says what failed, and of which kind.
//   - After one pass of maintenance and collection all objects stand in full, and the disks hold their fragments and no
//     others; after the namespace went, nothing at all.
//   - No goroutine and no file is left.
func TestEveryCall(t *testing.T) {
	type mode struct {
		name  string
		span  exhaust.Span
		kinds []ovs.Kind // of the errors that may come of it
		ops   []vfs.Op   // on the disks, one after the other; "" is all
		rule  vfs.Rule
		group *exhaust.Mishap
		rand  bool
	}
	all, written := []vfs.Op{""}, []vfs.Op{vfs.OpCreate, vfs.OpWrite, vfs.OpDatasync, vfs.OpMkdir, vfs.OpSyncDir}
	kinds := func(k ...ovs.Kind) []ovs.Kind { return k }
	modes := []mode{
		{name: "EIO", ops: all, rule: vfs.Rule{Err: syscall.EIO}, kinds: kinds(ovs.KindIO)},
		{name: "EIO for ever", span: exhaust.Ever, ops: all, rule: vfs.Rule{Err: syscall.EIO}, kinds: kinds(ovs.KindIO)},
		{name: "ENOSPC", ops: written, rule: vfs.Rule{Err: syscall.ENOSPC}, kinds: kinds(ovs.KindNoSpace, ovs.KindIO)},
		{name: "ENOSPC for ever", span: exhaust.Ever, ops: written, rule: vfs.Rule{Err: syscall.ENOSPC}, kinds: kinds(ovs.KindNoSpace, ovs.KindIO)},
		{name: "short", ops: []vfs.Op{vfs.OpRead, vfs.OpWrite}, rule: vfs.Rule{Err: syscall.EIO, Short: true}, kinds: kinds(ovs.KindIO)},
		{name: "late", ops: append(written, vfs.OpRemove, vfs.OpRename, vfs.OpLock), rule: vfs.Rule{Err: syscall.EIO, Late: true}, kinds: kinds(ovs.KindIO)},
		// Time stands still in a bubble while somebody waits for a mutex: these are the calls that hold none.
		{name: "slow", ops: []vfs.Op{vfs.OpOpen, vfs.OpRead, vfs.OpWrite, vfs.OpDatasync}, rule: vfs.Rule{Delay: 90 * time.Second}, kinds: kinds(ovs.KindIO, ovs.KindTimeout)},
		{name: "no random numbers", ops: all, rand: true, kinds: kinds(ovs.KindIO)},
	}
	for i := range exhaust.Mishaps {
		m := &exhaust.Mishaps[i]
		modes = append(modes, mode{name: m.Name, ops: all, group: m, kinds: kinds(m.Kind, ovs.KindBusy)})
		if m.Kind == ovs.KindTimeout || m.Kind == ovs.KindIO {
			modes = append(modes, mode{name: m.Name + " for ever", span: exhaust.Ever, ops: all, group: m, kinds: kinds(m.Kind)})
		}
	}
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			plays := 0
			for _, op := range m.ops {
				m.rule.Op = op
				plays += exhaust.Run(t, m.span, func(t *testing.T, c *exhaust.Call) {
					s := newStory(t, c)
					s.kinds, s.lasting = m.kinds, m.span == exhaust.Ever
					if m.rule != (vfs.Rule{Op: op}) {
						s.disk = exhaust.Disk(s.crash, c, m.rule)
					}
					if m.rand {
						s.rand = exhaust.Reader(s.rand, c, io.ErrUnexpectedEOF)
					}
					if m.group != nil {
						s.groups = func(r ovs.Registry) ovs.Registry { return exhaust.Registry(r, c, *m.group) }
					}
					s.tell()
				})
			}
			t.Log(plays, "plays")
		})
	}
}

// tell plays the story and looks at its end.
func (s *story) tell() {
	for _, life := range []func(){s.first, s.second, s.third} {
		life()
		s.close()
	}
	s.end()
}

// first: everything goes in, is read, damaged, read, repaired; something is deleted; rubbish is collected.
func (s *story) first() {
	s.open(4)
	s.do("CreateNamespace", func(p *Proxy) error { return p.CreateNamespace(s.ctx(), "ns") })
	s.put("plain", backendtest.Bytes(1, 5000, false), ovs.PutOptions{Unit: 512})
	s.put("packed", backendtest.Bytes(2, 70_000, true), ovs.PutOptions{Unit: 4112, Compress: true})
	s.put("small", []byte("small"), ovs.PutOptions{Compress: true})
	s.put("empty", nil, ovs.PutOptions{})
	s.put("plain", s.data["plain"], ovs.PutOptions{Unit: 512})
	s.readAll(true)
	s.damage("plain")
	s.damage("packed")
	s.stray("plain")
	s.readAll(true)
	s.do("Collect", func(p *Proxy) error { return p.Collect(s.ctx()) })
	s.maintain(true)
	s.delete("small")
	s.maintain(true)
	s.list()
	s.do("Health", func(p *Proxy) error { _, err := p.Health(s.ctx()); return err })
	s.do("Usage", func(p *Proxy) error { _, err := p.Usage(s.ctx()); return err })
}

// second: two of the four ASDs are away, so that objects are written by a lesser policy, and fragments cannot be deleted.
func (s *story) second() {
	s.open(2)
	s.put("poor", backendtest.Bytes(3, 3000, false), ovs.PutOptions{Unit: 512})
	s.delete("packed")
	s.maintain(false)
	s.readAll(false)
}

// third: they are back.
func (s *story) third() {
	s.open(4)
	s.maintain(true)
	s.do("Collect", func(p *Proxy) error { return p.Collect(s.ctx()) })
	s.do("CreateNamespace", func(p *Proxy) error { return p.CreateNamespace(s.ctx(), "other") })
	s.do("Put", func(p *Proxy) error {
		_, err := p.Put(s.ctx(), "other", "o", []byte("goes with it"), ovs.PutOptions{})
		return err
	})
	s.do("DeleteNamespace", func(p *Proxy) error { return p.DeleteNamespace(s.ctx(), "other") })
	s.maintain(true)
	s.do("Collect", func(p *Proxy) error { return p.Collect(s.ctx()) })
}

// end cuts the power, opens what survived, sound and whole, and compares it with what was acknowledged.
func (s *story) end() {
	s.c.Heal()
	s.crash = s.crash.Cut()
	s.disk, s.over = exhaust.Disk(s.crash, s.c, vfs.Rule{Op: "none"}), false
	s.open(4)
	p := s.p
	ok(s.t, p.CreateNamespace(s.ctx(), "ns"))
	s.readAll(true)
	for range 2 {
		ok(s.t, p.Maintain(s.ctx()))
		ok(s.t, p.Collect(s.ctx()))
	}
	named := 0
	for name, state := range s.state {
		_, err := p.Get(s.ctx(), "ns", name, 0, nil)
		if ovs.Is(err, ovs.KindNotFound) && state != stands {
			continue
		}
		ok(s.t, err)
		if good, err := goodFragments(p, name); err != nil || len(good) != 4 || slices.Contains(good, false) {
			s.t.Errorf("%s does not stand in full: %v, %v", name, good, err)
		}
		named += 4
	}
	ok(s.t, p.DeleteNamespace(s.ctx(), "other"))
	ok(s.t, p.Maintain(s.ctx()))
	if n := s.fragments(); n != named {
		s.t.Errorf("%d fragments are on the disks, manifests name %d", n, named)
		for i := range 4 {
			s.t.Log(s.walk(path.Join(s.dir(i), "fragments")))
		}
	}
	s.readAll(true)
	ok(s.t, p.DeleteNamespace(s.ctx(), "ns"))
	ok(s.t, p.Maintain(s.ctx()))
	ok(s.t, p.Collect(s.ctx()))
	if n, records := s.fragments(), s.nsm.Len(); n != 0 || records != 0 || s.abm.Len() > 4 {
		s.t.Errorf("%d fragments, %d records in the NSM group, %d in the ABM group are left", n, records, s.abm.Len())
	}
	s.close()
}

// put puts an object; full is true only where all of the best policy's fragments stand.
func (s *story) put(name string, data []byte, o ovs.PutOptions) {
	if s.over {
		return
	}
	if s.data[name] = data; s.state[name] == 0 {
		s.state[name] = mayBe
	}
	var full bool
	if s.do("Put of "+name, func(p *Proxy) (err error) { full, err = p.Put(s.ctx(), "ns", name, data, o); return err }) {
		s.state[name] = stands
		if m := s.manifest(name); full != (m.k == 2 && m.m == 2 && m.standing() == 4) {
			s.t.Errorf("Put of %s: full %v, with %d of %d+%d fragments", name, full, m.standing(), m.k, m.m)
		}
	}
}

func (s *story) delete(name string) {
	if s.over || s.state[name] == 0 {
		return
	}
	s.state[name] = mayBe
	if s.do("Delete of "+name, func(p *Proxy) error { return p.Delete(s.ctx(), "ns", name) }) {
		s.state[name] = deleted
	}
}

// readAll reads all objects, whole and in part. Where not all is there, a read may fail.
func (s *story) readAll(must bool) {
	for name, data := range s.data {
		for _, r := range [][2]int{{0, len(data) + 1}, {len(data) / 3, 700}} {
			dst := make([]byte, r[1])
			var n int
			read := func(p *Proxy) (err error) {
				n, err = p.Get(s.ctx(), "ns", name, uint64(r[0]), dst)
				if state := s.state[name]; ovs.Is(err, ovs.KindNotFound) && state != stands {
					n, err = -1, nil
				} else if err == nil && state == deleted {
					err = fmt.Errorf("it is back")
				}
				return err
			}
			what := fmt.Sprintf("Get of %s from %d, %d bytes", name, r[0], r[1])
			if !must {
				if s.over || read(s.p) != nil {
					continue
				}
			} else if !s.do(what, read) {
				continue
			}
			if want := data[min(r[0], len(data)):min(r[0]+r[1], len(data))]; n >= 0 && !bytes.Equal(dst[:n], want) {
				s.t.Errorf("%s: wrong bytes", what)
			}
		}
	}
}

// maintain makes a pass with all disks that may be used again. Where not all are there, something may stay to be done.
func (s *story) maintain(must bool) {
	if s.over {
		return
	}
	s.settle()
	if err := s.p.Maintain(s.ctx()); err != nil && s.c.Met() == "" {
		s.t.Errorf("Maintain: %v, and nothing has gone wrong", err)
	} else if err != nil && must {
		s.do("Maintain", func(p *Proxy) error { return p.Maintain(s.ctx()) })
	}
}

func (s *story) list() {
	var list []ovs.ObjectInfo
	if !s.do("List", func(p *Proxy) (err error) { list, err = p.List(s.ctx(), "ns", "", "", 100); return err }) {
		return
	}
	listed := map[string]bool{}
	for _, o := range list {
		if s.state[o.Name] == deleted || o.Size != uint64(len(s.data[o.Name])) {
			s.t.Errorf("List shows %+v", o)
		}
		listed[o.Name] = true
	}
	for name, state := range s.state {
		if state == stands && !listed[name] {
			s.t.Errorf("List lacks %s", name)
		}
	}
}

// TestCollectDeletesDurably: a fragment that a collection removed, but not durably, comes back with a power cut. It is not
// listed meanwhile, so that the next collection knows nothing of it.
func TestCollectDeletesDurably(t *testing.T) {
	crash := vfs.NewCrash(1)
	crash.SetCutMode(vfs.CutAll)
	disk := vfs.NewFault(crash, rand.New(rand.NewPCG(1, 1)), nil)
	r := newRig(t, disk, "")
	p := r.open()
	ok(t, p.CreateNamespace(t.Context(), "ns"))
	_, err := p.Put(t.Context(), "ns", "stays", nil, ovs.PutOptions{}) // else the namespace is idle, and no epoch is done with
	ok(t, err)
	strand(t, p, "o")
	heal := disk.Add(vfs.Rule{Op: vfs.OpSyncDir, Err: syscall.EIO})
	want(t, p.Collect(t.Context()), ovs.KindIO)
	heal()
	for range 3 {
		ok(t, p.Collect(t.Context()))
	}
	r.fs = crash.Cut()
	_ = p.Close()
	p = r.open()
	ok(t, p.Maintain(t.Context()))
	ok(t, p.Collect(t.Context()))
	if n := r.count(p); n != 6 {
		t.Errorf("%d fragments, 6 of them are named", n)
	}
}

func (s *story) ctx() context.Context { return context.Background() }
