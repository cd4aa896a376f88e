package albaproxy

import (
	"context"
	"encoding/binary"
	"errors"

	"ovs"
	"ovs/internal/decode"
)

// space is a namespace's record in the ABM group. Its id is the index of the command that made it: it never comes back.
type space struct {
	state  spaceState
	id     uint64
	group  uint16 // the NSM group that has its objects
	preset string // the name of its preset; empty: the backend's
	name   string

	manifests string // the front of the keys of its manifests; follows from id
	epoch     string // the key of its GC epoch; follows from id
}

type spaceState byte

const (
	spaceMaking  spaceState = 1 // its GC epoch may be missing yet
	spaceActive  spaceState = 2
	spaceDeleted spaceState = 3 // under keyDeleted: to be worked off
)

const (
	spaceVersion = 1
	spaceIDAt    = 2 // where the id stands in a record
)

// encode has no checksum: the group writes the id into it.
func (s *space) encode() []byte {
	b := []byte{spaceVersion, byte(s.state)}
	b = binary.BigEndian.AppendUint64(b, s.id)
	b = binary.BigEndian.AppendUint16(b, s.group)
	for _, text := range []string{s.preset, s.name} {
		b = append(b, byte(len(text)))
		b = append(b, text...)
	}
	return b
}

func decodeSpace(b []byte) (space, error) {
	const op = "albaproxy.decodeSpace"
	d := decode.Of(b)
	if d.Uint8() != spaceVersion {
		return space{}, ovs.E(op, ovs.KindNotSupported, nil, errVersion)
	}
	s := space{state: spaceState(d.Uint8()), id: d.Uint64(), group: d.Uint16()}
	s.preset = string(d.Take(uint64(d.Uint8())))
	s.name = string(d.Take(uint64(d.Uint8())))
	d.Check(s.state >= spaceMaking && s.state <= spaceDeleted)
	s.manifests, s.epoch = string(idKey(keyManifest, s.id)), string(idKey(keyEpoch, s.id))
	return s, whole(op, d)
}

// maxTries bounds how often a change is tried again because something else changed meanwhile.
const maxTries = 10

// space looks a namespace up, for an operation on its objects.
func (p *Proxy) space(ctx context.Context, op, ns string) (space, *group, error) {
	s, err := p.namespaces.get(ctx, p.spaces+ns)
	if err == nil && s.state != spaceActive {
		err = ovs.E(op, ovs.KindNotFound, ns, nil)
	}
	if err != nil {
		return s, nil, ovs.E(op, ovs.KindUnknown, ns, err)
	}
	g, err := p.group(s)
	return s, g, err
}

func (p *Proxy) group(s space) (*group, error) {
	if int(s.group) >= len(p.groups) {
		return nil, ovs.E("albaproxy.group", ovs.KindInvalid, s.name, errors.New("its NSM group is not in the configuration"))
	}
	return p.groups[s.group], nil
}

// CreateNamespace implements ovs.Backend.
func (p *Proxy) CreateNamespace(ctx context.Context, ns string) error {
	const op = "albaproxy.CreateNamespace"
	if err := ovs.CheckBackendName(op, ns); err != nil {
		return err
	}
	if err := p.begin(ctx, op); err != nil {
		return err
	}
	defer p.running.Done()
	for range maxTries {
		done, err := p.makeSpace(ctx, ns)
		if done || err != nil && !ovs.Is(err, ovs.KindConflict) {
			return err
		}
	}
	return ovs.E(op, ovs.KindBusy, ns, nil)
}

// makeSpace does the next step of making a namespace: its record, its GC epoch, the record's state.
func (p *Proxy) makeSpace(ctx context.Context, ns string) (done bool, err error) {
	key := p.abmKey(keyNamespace, []byte(ns)...)
	current, err := p.cfg.ABM.Get(ctx, key)
	if ovs.Is(err, ovs.KindNotFound) {
		s := space{state: spaceMaking, group: uint16(int(checksum([]byte(ns))) % len(p.groups)), name: ns}
		_, err = p.cfg.ABM.Sequence(ctx, ovs.AssertAbsent(key), ovs.SetStamped(key, s.encode(), -1, spaceIDAt))
		return false, err
	}
	if err != nil {
		return false, err
	}
	s, err := decodeSpace(current)
	if err != nil || s.state == spaceActive {
		return true, err
	}
	g, err := p.group(s)
	if err != nil {
		return false, err
	}
	epoch := idKey(keyEpoch, s.id)
	if _, err := g.reg.Sequence(ctx, ovs.AssertAbsent(epoch), ovs.Set(epoch, epochValue(1))); err != nil && !ovs.Is(err, ovs.KindConflict) {
		return false, err
	}
	s.state = spaceActive
	_, err = p.cfg.ABM.Sequence(ctx, ovs.TestAndSet(key, current, s.encode()))
	return err == nil, err
}

// DeleteNamespace implements ovs.Backend. The name is free on return; the maintenance works the rest off.
func (p *Proxy) DeleteNamespace(ctx context.Context, ns string) error {
	const op = "albaproxy.DeleteNamespace"
	if err := ovs.CheckBackendName(op, ns); err != nil {
		return err
	}
	if err := p.begin(ctx, op); err != nil {
		return err
	}
	defer p.running.Done()
	key := p.abmKey(keyNamespace, []byte(ns)...)
	for range maxTries {
		current, err := p.cfg.ABM.Get(ctx, key)
		if ovs.Is(err, ovs.KindNotFound) {
			return nil
		}
		if err != nil {
			return ovs.E(op, ovs.KindUnknown, ns, err)
		}
		s, err := decodeSpace(current)
		if err != nil {
			return ovs.E(op, ovs.KindUnknown, ns, err)
		}
		s.state = spaceDeleted
		_, err = p.cfg.ABM.Sequence(ctx, ovs.TestAndSet(key, current, nil), ovs.Set(p.abmID(keyDeleted, s.id), s.encode()))
		if err == nil {
			p.wake()
			return nil
		}
		if !ovs.Is(err, ovs.KindConflict) {
			return ovs.E(op, ovs.KindUnknown, ns, err)
		}
	}
	return ovs.E(op, ovs.KindBusy, ns, nil)
}
