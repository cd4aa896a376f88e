package albaproxy

import (
	"context"
	"encoding/binary"
	"errors"

	"go.uber.org/zap"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/planted"
)

/*
Collect finds the fragments that no manifest names and deletes them: what cut-off PUTs and repairs left.

	epoch      1 ... judged ... 6 | 7 | 8 | 9     raise: 9 becomes 10, no PUT of an epoch up to 9 succeeds any more
	                               └ judged now ┘
	next time, from                        9      the last epoch is judged twice, for what came in late

It raises the namespace's GC epoch first; then nothing of an older epoch can come into a manifest any more, and what is
in none now is garbage for ever. Each ASD has its own mark of what was judged, so that one that was away is judged from
where it left. A namespace without fragments since its marks is left alone.

A fragment's header names its object, and so the manifest to look into; where the header cannot be read, all manifests of
the namespace are looked through.
*/
func (p *Proxy) Collect(ctx context.Context) error {
	if err := p.begin(ctx, "albaproxy.Collect"); err != nil {
		return err
	}
	defer p.running.Done()
	return p.collect(ctx)
}

func (p *Proxy) collect(ctx context.Context) error {
	p.collecting.Lock()
	defer p.collecting.Unlock()
	// What is listed before the namespaces are read, and is of none of them, is of one that is gone for ever.
	onDisk := make([][]uint64, len(p.disks))
	var errs []error
	for i, d := range p.disks {
		var err error
		if onDisk[i], err = spacesOn(ctx, d); err != nil {
			errs = append(errs, err)
		}
	}
	stray := make([][]uint64, len(p.groups))
	for i, g := range p.groups {
		err := ovs.Scan(ctx, g.reg, []byte{keyEpoch}, func(pair ovs.Pair) error {
			ns, _, _ := parseObjectKey(pair.Key)
			stray[i] = append(stray[i], ns)
			return nil
		})
		errs = append(errs, err)
	}
	known, err := p.knownSpaces(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for i, d := range p.disks {
		for _, ns := range onDisk[i] {
			if _, ok := known[ns]; !ok {
				errs = append(errs, clearFragments(ctx, d, ns))
			}
		}
	}
	for i, g := range p.groups {
		for _, ns := range stray[i] {
			if _, ok := known[ns]; !ok {
				errs = append(errs, clearRecords(ctx, g, ns))
			}
		}
	}
	for _, s := range known {
		if s.state == spaceActive {
			errs = append(errs, p.collectSpace(ctx, s))
		}
	}
	return errors.Join(errs...)
}

// knownSpaces are all namespaces, those being deleted too.
func (p *Proxy) knownSpaces(ctx context.Context) (map[uint64]space, error) {
	known, err := p.spacesByID(ctx)
	if err != nil {
		return nil, err
	}
	err = ovs.Scan(ctx, p.cfg.ABM, p.abmKey(keyDeleted), func(pair ovs.Pair) error {
		s, err := decodeSpace(pair.Value)
		known[s.id] = s
		return err
	})
	return known, err
}

// spacesOn are the namespaces that have fragments on a disk.
func spacesOn(ctx context.Context, d *disk) (list []uint64, err error) {
	for from := uint64(0); ; from++ {
		keys, err := d.List(ctx, asd.Key{Namespace: from}, asd.Key{Namespace: ^uint64(0)}, 1)
		if err != nil || len(keys) == 0 {
			return list, err
		}
		from = keys[0].Namespace
		list = append(list, from)
	}
}

// collectSpace judges the fragments of one namespace.
func (p *Proxy) collectSpace(ctx context.Context, s space) error {
	g, err := p.group(s)
	if err != nil {
		return err
	}
	b, err := g.reg.Get(ctx, idKey(keyEpoch, s.id))
	if err != nil {
		return ignoreMissing(err) // the namespace goes
	}
	epoch, err := decodeEpoch(b)
	if err != nil {
		return err
	}
	marks, err := p.marks(ctx, g, s)
	if err != nil {
		return err
	}
	if idle, err := p.idle(ctx, s, marks, epoch); err != nil || idle {
		return err
	}
	if planted.NoRaise {
		// the epoch stays as it is
	} else if _, err := g.reg.Sequence(ctx, ovs.TestAndSet(idKey(keyEpoch, s.id), b, epochValue(epoch+1))); err != nil {
		return ignoreConflict(err) // another collector was first
	}
	p.stats.raised.Add(1)
	// Another process may still have attempts of the epoch just closed, but none lives through two raises.
	done := p.attempts.lowest(s.id, epoch) - 1
	var errs []error
	var updates []ovs.Update
	for i, d := range p.disks {
		j := judge{p: p, ctx: ctx, g: g, space: s, disk: d}
		if err := j.run(marks[i]+1, epoch); err != nil {
			errs = append(errs, err)
		} else if done > marks[i] {
			updates = append(updates, ovs.Set(pairKey(keyCollected, s.id, d.id), epochValue(done)))
		}
	}
	if len(updates) > 0 {
		updates = append(updates, ovs.AssertExists(idKey(keyEpoch, s.id))) // no marks of a namespace that went
		_, err = g.reg.Sequence(ctx, updates...)
		errs = append(errs, ignoreConflict(err))
	}
	return errors.Join(errs...)
}

func ignoreMissing(err error) error {
	if ovs.Is(err, ovs.KindNotFound) {
		return nil
	}
	return err
}

// marks are the epochs up to which each disk was judged.
func (p *Proxy) marks(ctx context.Context, g *group, s space) ([]uint64, error) {
	keys := make([][]byte, len(p.disks))
	for i, d := range p.disks {
		keys[i] = pairKey(keyCollected, s.id, d.id)
	}
	values, err := g.reg.MultiGet(ctx, keys)
	if err != nil {
		return nil, err
	}
	marks := make([]uint64, len(p.disks))
	for i, v := range values {
		if len(v) == 8 {
			marks[i] = binary.BigEndian.Uint64(v)
		}
	}
	return marks, nil
}

// idle tells whether no disk has fragments that are not judged.
func (p *Proxy) idle(ctx context.Context, s space, marks []uint64, epoch uint64) (bool, error) {
	for i, d := range p.disks {
		keys, err := d.List(ctx, asd.Key{Namespace: s.id, Epoch: marks[i] + 1}, asd.Key{Namespace: s.id, Epoch: epoch + 1}, 1)
		if err != nil || len(keys) > 0 {
			return false, err
		}
	}
	return true, nil
}

// judge looks at the fragments of one namespace on one disk.
type judge struct {
	p     *Proxy
	ctx   context.Context
	g     *group
	space space
	disk  *disk
	dark  map[asd.Key]bool // fragments without a readable header
}

const (
	judgePage = 100
	maxDark   = 10_000 // more are looked for in several walks over the manifests
)

// run judges the fragments of the epochs from first to last.
func (j *judge) run(first, last uint64) error {
	j.dark = map[asd.Key]bool{}
	from, to := asd.Key{Namespace: j.space.id, Epoch: first}, asd.Key{Namespace: j.space.id, Epoch: last + 1}
	for {
		keys, err := j.disk.List(j.ctx, from, to, judgePage)
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			if err := j.page(keys); err != nil {
				return err
			}
			from = keys[len(keys)-1].Next()
		}
		if len(keys) < judgePage {
			return j.look()
		}
		if len(j.dark) > maxDark {
			if err := j.look(); err != nil {
				return err
			}
		}
	}
}

// page judges some fragments by the manifests that their headers lead to.
func (j *judge) page(keys []asd.Key) error {
	var manifests [][]byte
	var named []asd.Key
	for _, k := range keys {
		var b [headerSize]byte
		n, err := j.disk.Get(j.ctx, k, 0, b[:])
		if ovs.Is(err, ovs.KindNotFound) {
			continue // deleted meanwhile
		}
		if err != nil && !ovs.Is(err, ovs.KindIO) {
			return err
		}
		h, wrong := decodeHeader(b[:n])
		if err != nil || wrong != nil || h.key != k { // a sector that cannot be read is as good as a spoilt one
			j.dark[k] = true
			continue
		}
		manifests = append(manifests, objectKey(keyManifest, j.space.id, h.name))
		named = append(named, k)
	}
	values, err := j.g.reg.MultiGet(j.ctx, manifests)
	if err != nil {
		return err
	}
	var garbage []asd.Key
	for i, v := range values {
		if v != nil {
			m, err := decodeManifest(v)
			if err != nil {
				return err
			}
			if j.names(m, named[i]) {
				continue
			}
		}
		garbage = append(garbage, named[i])
	}
	return j.drop(garbage)
}

// names tells whether m names the fragment on this disk.
func (j *judge) names(m *manifest, k asd.Key) bool {
	return int(k.Index) < m.n() && m.fragments[k.Index].disk == j.disk.id && m.key(j.space.id, int(k.Index)) == k
}

// look goes through all manifests for the fragments without a readable header: one that is named is to be repaired.
func (j *judge) look() error {
	if len(j.dark) == 0 {
		return nil
	}
	err := ovs.Scan(j.ctx, j.g.reg, idKey(keyManifest, j.space.id), func(pair ovs.Pair) error {
		m, err := decodeManifest(pair.Value)
		if err != nil {
			return err
		}
		for i := range m.fragments {
			if k := m.key(j.space.id, i); j.dark[k] && j.names(m, k) {
				_, name, _ := parseObjectKey(pair.Key)
				j.p.suspect(j.space, name, span{fragment: i}, j.disk.id, errors.New("its header cannot be read"))
				delete(j.dark, k)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var garbage []asd.Key
	for k := range j.dark {
		garbage = append(garbage, k)
	}
	clear(j.dark)
	return j.drop(garbage)
}

func (j *judge) drop(garbage []asd.Key) error {
	if len(garbage) == 0 {
		return nil
	}
	j.p.stats.collected.Add(uint64(len(garbage)))
	j.p.log.Info("fragments that no manifest names are deleted", zap.Uint64("asd", j.disk.id), zap.String("namespace", j.space.name), zap.Int("fragments", len(garbage)))
	return j.disk.Delete(j.ctx, garbage...)
}
