package storagerouter

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"go.uber.org/zap"

	"ovs"
	"ovs/albaproxy"
	"ovs/albaproxy/asd"
	"ovs/framework"
	"ovs/internal/vfs"
)

// slots are the disks of the embedded backend: data/asd/N is one.
type slots struct {
	known map[uint64]string // identities that earlier starts used, and where they were
	at    map[uint64]string // those that are open, and where
	disks []asd.ASD
	errs  []error // of those that did not open
}

// slotKey is the record of the disk at data/asd/i in the config group: its identity.
func (c *Core) slotKey(i string) []byte { return fmt.Appendf(nil, "asd/%016x/%s", uint64(c.node), i) }

// openBackend opens the disks and the backend over them. A disk that fails, or is not the one that it was, is left out and
// said; the start is refused only where nothing could be read from what is left.
func (c *Core) openBackend(ctx context.Context, fsys vfs.FS, dir func(...string) string) error {
	const op = "storagerouter.openBackend"
	abm, err := c.groups.Group(ctx, "abm")
	if err != nil {
		return ovs.E(op, ovs.KindUnknown, "abm", err)
	}
	var nsm []ovs.Registry
	for i := range nsmGroups {
		g, err := c.groups.Group(ctx, fmt.Sprintf("nsm-%d", i))
		if err != nil {
			return ovs.E(op, ovs.KindUnknown, i, err)
		}
		nsm = append(nsm, g)
	}
	c.times.part("backend's groups")
	s, err := c.openDisks(ctx, fsys, dir)
	if err != nil {
		return err
	}
	c.times.part("disks")
	presets := make([]albaproxy.Policy, len(c.cfg.Backend.Presets))
	for i, p := range c.cfg.Backend.Presets {
		presets[i] = albaproxy.Policy{K: p.K, M: p.M, C: p.C, X: p.X}
	}
	c.backend, err = albaproxy.Open(ctx, albaproxy.Config{
		Name: c.cfg.Backend.Name, ABM: abm, NSM: nsm, ASDs: s.disks, Presets: presets, Rand: rand.Reader, Log: c.zap, CollectEvery: c.cfg.Backend.CollectEvery,
	})
	if err != nil {
		return errors.Join(ovs.E(op, ovs.KindUnknown, c.cfg.Backend.Name, err), closeAll(s.disks))
	}
	c.closers.add("backend", func(context.Context) error { return c.backend.Close() })
	h, err := c.backend.Health(ctx)
	if err != nil {
		return ovs.E(op, ovs.KindUnknown, c.cfg.Backend.Name, err)
	}
	c.health.Store(&h)
	if err := c.settle(ctx, s, h.LeftOut); err != nil {
		return ovs.E(op, ovs.KindUnknown, dir("asd"), err)
	}
	return nil
}

// openDisks opens every disk that opens.
func (c *Core) openDisks(ctx context.Context, fsys vfs.FS, dir func(...string) string) (*slots, error) {
	const op = "storagerouter.openDisks"
	// An ASD makes its own name durable; the registry is to know none whose directory a power cut could still take along.
	if err := fsys.MkdirAll(dir("asd"), 0o755); err != nil {
		return nil, ovs.E(op, ovs.KindIO, dir("asd"), err)
	}
	if err := fsys.SyncDir(dir()); err != nil {
		return nil, ovs.E(op, ovs.KindIO, dir(), err)
	}
	s := &slots{known: map[uint64]string{}, at: map[uint64]string{}}
	prefix := c.slotKey("")
	err := ovs.Scan(ctx, c.config, prefix, func(p ovs.Pair) error {
		if len(p.Value) != 8 {
			return ovs.E(op, ovs.KindCorrupt, string(p.Key), errors.New("its record in the config group is not 8 bytes"))
		}
		s.known[binary.BigEndian.Uint64(p.Value)] = string(p.Key[len(prefix):])
		return nil
	})
	if err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, nil, err)
	}
	// All at once: each waits for flushes, which they share where they share a file system.
	opened, errs := make([]asd.ASD, c.cfg.Backend.ASDs), make([]error, c.cfg.Backend.ASDs)
	var all sync.WaitGroup
	var lanes asd.Lanes
	for n := range opened {
		all.Go(func() {
			opened[n], errs[n] = asd.Open(asd.Options{FS: fsys, Dir: dir("asd", strconv.Itoa(n)), Node: c.node, Keep: asdKeep, Lanes: &lanes, Rand: rand.Reader})
		})
	}
	all.Wait()
	for n, d := range opened {
		i := strconv.Itoa(n)
		if err := errs[n]; err != nil {
			s.errs = append(s.errs, err)
			c.miss("asd/"+i, err.Error(), "Mend or mount that disk and restart. If it is gone for good, move its directory away and restart: an empty disk takes its place.")
			continue
		}
		s.disks = append(s.disks, d)
		if was, twice := s.at[d.Identity().ID]; twice {
			i = was + " or " + i
		}
		s.at[d.Identity().ID] = i
	}
	if len(s.disks) == 0 {
		return nil, s.tooFew(op)
	}
	return s, nil
}

// settle judges what is left, and records which disks are where.
func (c *Core) settle(ctx context.Context, s *slots, out []albaproxy.LeftOut) error {
	for _, o := range out {
		c.miss("asd/"+s.at[o.ID], o.Reason, "Put the disk back that was there, or move its directory away, and restart: an empty disk takes its place.")
	}
	left := len(s.disks) - len(out)
	if len(s.known) > 0 {
		left = 0
		for _, d := range s.disks {
			if s.known[d.Identity().ID] != "" {
				left++
			}
		}
		for _, o := range out {
			if s.known[o.ID] != "" {
				left--
			}
		}
	}
	least := c.cfg.Backend.Presets[0].K
	for _, p := range c.cfg.Backend.Presets {
		least = min(least, p.K)
	}
	if left < least {
		return s.tooFew("storagerouter.settle")
	}
	return c.recordSlots(ctx, s, out)
}

// tooFew is the refusal of a start without disks to read from.
func (s *slots) tooFew(op string) error {
	err := errors.Join(s.errs...)
	kind := ovs.KindOf(err)
	if err == nil {
		kind, err = ovs.KindCorrupt, errors.New("none is the one that it was")
	}
	return ovs.E(op, kind, nil, fmt.Errorf("too few disks of the backend are left to read anything: mount or mend them, and start again: %w", err))
}

// recordSlots writes down where each disk is. One that was there and is nowhere now is gone: an empty one that stands in its
// place is in use, but what the old one held is not there.
func (c *Core) recordSlots(ctx context.Context, s *slots, out []albaproxy.LeftOut) error {
	skip := map[uint64]bool{}
	for _, o := range out {
		skip[o.ID] = true
	}
	var u []ovs.Update
	for id, i := range s.at {
		if skip[id] || s.known[id] == i {
			continue
		}
		u = append(u, ovs.Set(c.slotKey(i), binary.BigEndian.AppendUint64(nil, id)))
		for was, at := range s.known {
			if _, open := s.at[was]; at == i && !open {
				c.miss("asd/"+i, fmt.Sprintf("disk %016x that was there is gone, an empty one took its place", was),
					"If it is only not mounted, stop, mount it and start again. Else read what matters once: what reads miss is made anew. The next start forgets this.")
			}
		}
	}
	if len(u) == 0 {
		return nil
	}
	_, err := c.config.Sequence(ctx, u...)
	return err
}

// miss notes a disk whose fragments count as lost.
func (c *Core) miss(disk, why, next string) {
	c.missing = append(c.missing, framework.MissingDisk{Disk: disk, Why: why, Next: next})
	c.zap.Error("a disk of the backend is missing: its fragments count as lost", zap.String("disk", disk), zap.String("why", why), zap.String("next", next))
}

func closeAll(disks []asd.ASD) (all error) {
	for _, d := range disks {
		all = errors.Join(all, d.Close())
	}
	return all
}
