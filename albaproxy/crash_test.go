package albaproxy

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ovs"
	"ovs/internal/conformance/backendtest"
	"ovs/internal/memregistry"
	"ovs/internal/vfs"
)

// history is what a backend was asked for and answered, up to a power cut.
type history struct {
	data  map[string][]byte
	state map[string]fate
}

type fate int

const (
	mayBe   fate = iota + 1 // a Put that did not return, or a Delete that did not
	stands                  // Put returned
	inFull                  // and said full
	deleted                 // Delete returned
)

// play runs random operations until the power goes, or all are done.
func play(p *Proxy, disk *vfs.Crash, seed uint64) *history {
	h := &history{map[string][]byte{}, map[string]fate{}}
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range 40 {
		if dead(disk) {
			break
		}
		switch x := rng.IntN(10); {
		case x == 0:
			_ = p.Collect(ctx)
		case x == 1:
			_ = p.Maintain(ctx)
		case x < 4 && len(h.data) > 0:
			name := fmt.Sprint("o", rng.IntN(i))
			if was, there := h.state[name]; there && was != deleted {
				h.state[name] = mayBe
				if p.Delete(ctx, "ns", name) == nil {
					h.state[name] = deleted
				}
			}
		default:
			name := fmt.Sprint("o", i)
			h.data[name] = backendtest.Bytes(seed+uint64(i), rng.IntN(40_000), true)
			h.state[name] = mayBe
			full, err := p.Put(ctx, "ns", name, h.data[name], ovs.PutOptions{Unit: 4112, Compress: x == 4})
			if err == nil {
				if h.state[name] = stands; full {
					h.state[name] = inFull
				}
			}
		}
	}
	return h
}

func dead(disk *vfs.Crash) bool {
	select {
	case <-disk.Done():
		return true
	default:
		return false
	}
}

// check compares a backend after the cut with the history.
func (h *history) check(p *Proxy) error {
	ctx := context.Background()
	for name, state := range h.state {
		dst := make([]byte, len(h.data[name])+1)
		n, err := p.Get(ctx, "ns", name, 0, dst)
		switch {
		case err == nil && !bytes.Equal(dst[:n], h.data[name]):
			return fmt.Errorf("%s: half an object is shown", name)
		case err == nil && state == deleted:
			return fmt.Errorf("%s is back", name)
		case err != nil && !ovs.Is(err, ovs.KindNotFound):
			return fmt.Errorf("%s: %w", name, err)
		case err != nil && state != deleted && state != mayBe:
			return fmt.Errorf("%s is lost: %w", name, err)
		}
		if state == inFull {
			if err := allGood(p, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// allGood tells whether every fragment of the object stands and is right, by the first of the default presets.
func allGood(p *Proxy, name string) error {
	good, err := goodFragments(p, name)
	if err == nil && (len(good) != 6 || slices.Contains(good, false)) {
		err = fmt.Errorf("%s was full and is not: %v", name, good)
	}
	return err
}

// goodFragments tells which fragments of an object stand and are right.
func goodFragments(p *Proxy, name string) ([]bool, error) {
	ctx := context.Background()
	s, g, err := p.space(ctx, "test", "ns")
	if err != nil {
		return nil, err
	}
	m, err := g.manifests.fresh(ctx, s.manifests+name)
	if err != nil {
		return nil, err
	}
	r := &reader{p: p, ctx: ctx, space: s, name: name, manifest: m}
	st := r.newStripe(0, r.rows())
	defer st.release()
	return r.check(st), nil
}

// cutOnce plays a history on a disk that loses its power at the given step (0: at its end), opens what survived, and
// checks it. It returns the steps that the whole history takes, where it was not cut.
func cutOnce(t *testing.T, seed uint64, step int, plant func(op vfs.Op, name string) bool) (steps int, err error) {
	disk := vfs.NewCrash(seed)
	disk.SetTear(true)
	r := newRig(t, disk, "")
	nsm := &hooked{Registry: memregistry.New()}
	r.edit = func(c *Config) { c.NSM = []ovs.Registry{nsm} }
	p := r.open()
	ok(t, p.CreateNamespace(t.Context(), "ns"))
	begin := disk.Steps()
	disk.IgnoreSync(plant)
	disk.CutAt(step)
	nsm.set(func([]ovs.Update) error {
		if dead(disk) {
			return vfs.ErrPowerCut // the group's member is on the same host
		}
		return nil
	})
	h := play(p, disk, seed)
	steps = disk.Steps() - begin
	r.fs = disk.Cut()
	_ = p.Close() // of a host without power
	nsm.set(nil)
	p = r.open()
	defer p.Close()
	if err := h.check(p); err != nil {
		return steps, err
	}
	return steps, tidy(p, r)
}

// tidy has the collector and the maintenance run, and finds exactly the fragments that manifests name.
func tidy(p *Proxy, r *rig) error {
	ctx := context.Background()
	for range 2 {
		if err := p.Collect(ctx); err != nil {
			return err
		}
		if err := p.Maintain(ctx); err != nil {
			return err
		}
	}
	named := 0
	err := ovs.Scan(ctx, p.groups[0].reg, []byte{keyManifest}, func(pair ovs.Pair) error {
		m, err := decodeManifest(pair.Value)
		named += len(m.standingFragments(0))
		return err
	})
	if n := r.count(p); err == nil && n != named {
		return fmt.Errorf("%d fragments on the disks, %d in manifests", n, named)
	}
	return err
}

// TestPowerCuts cuts the power at many steps of many histories.
func TestPowerCuts(t *testing.T) {
	rounds := uint64(60)
	if testing.Short() {
		rounds = 30
	}
	for seed := range rounds {
		steps, err := cutOnce(t, seed, 0, nil)
		if err != nil {
			t.Fatalf("seed %d, cut at the end: %v", seed, err)
		}
		step := 1 + rand.New(rand.NewPCG(seed, 9)).IntN(steps)
		if _, err := cutOnce(t, seed, step, nil); err != nil {
			t.Fatalf("seed %d, step %d of %d: %v", seed, step, steps, err)
		}
	}
}

// TestPlantedBugs leaves flushes out, one kind at a time: the cuts must notice.
func TestPlantedBugs(t *testing.T) {
	for name, plant := range map[string]func(op vfs.Op, name string) bool{
		"no fdatasync of a fragment": func(op vfs.Op, name string) bool {
			return op == vfs.OpDatasync && strings.Contains(name, "fragments/")
		},
		"no sync of a directory of fragments": func(op vfs.Op, name string) bool {
			return op == vfs.OpSyncDir && strings.Count(name, "/") > 3
		},
		"no sync of the directories above": func(op vfs.Op, name string) bool {
			return op == vfs.OpSyncDir && strings.Contains(name, "fragments") && strings.Count(name, "/") <= 3
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				if _, err := cutOnce(t, seed, 0, plant); err != nil {
					t.Logf("caught with seed %d: %v", seed, err)
					return
				}
			}
			t.Fatal("not caught")
		})
	}
}
