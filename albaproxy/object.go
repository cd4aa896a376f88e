package albaproxy

import (
	"context"
	"strings"

	"ovs"
)

// List implements ovs.Backend: straight from the manifests in Raft.
func (p *Proxy) List(ctx context.Context, ns, prefix, after string, limit int) ([]ovs.ObjectInfo, error) {
	const op = "albaproxy.List"
	if err := p.begin(ctx, op); err != nil {
		return nil, err
	}
	defer p.running.Done()
	s, g, err := p.space(ctx, op, ns)
	if err != nil {
		return nil, err
	}
	o := ovs.RangeOptions{From: objectKey(keyManifest, s.id, prefix), To: ovs.PrefixEnd(objectKey(keyManifest, s.id, prefix))}
	if after >= prefix && after != "" {
		if !strings.HasPrefix(after, prefix) {
			return nil, nil
		}
		o.From = append(objectKey(keyManifest, s.id, after), 0)
	}
	var list []ovs.ObjectInfo
	for len(list) < limit {
		o.Limit = min(limit-len(list), 1000)
		page, err := g.reg.Range(ctx, o)
		if err != nil {
			return nil, ovs.E(op, ovs.KindUnknown, ns, err)
		}
		for _, pair := range page {
			m, err := decodeManifest(pair.Value)
			if err != nil {
				return nil, ovs.E(op, ovs.KindUnknown, ns, err)
			}
			_, name, _ := parseObjectKey(pair.Key)
			list = append(list, ovs.ObjectInfo{Name: name, Size: m.size, Checksum: m.checksum})
		}
		if len(page) < o.Limit {
			break
		}
		o.From = append(page[len(page)-1].Key, 0)
	}
	return list, nil
}

// Bounds of one sequence that deletes objects.
const (
	deleteCount = 64
	deleteBytes = 256 << 10
)

// Delete implements ovs.Backend. One sequence takes the manifests away and queues their fragments.
func (p *Proxy) Delete(ctx context.Context, ns string, names ...string) error {
	const op = "albaproxy.Delete"
	if err := p.begin(ctx, op); err != nil {
		return err
	}
	defer p.running.Done()
	s, g, err := p.space(ctx, op, ns)
	if ovs.Is(err, ovs.KindNotFound) {
		return nil
	}
	for tries := 0; err == nil && len(names) > 0; {
		var n int
		if n, err = p.deleteSome(ctx, s, g, names); err == nil {
			names = names[n:]
			tries = 0
		} else if tries++; ovs.Is(err, ovs.KindConflict) && tries < maxTries {
			err = nil // one of them changed meanwhile
		}
	}
	if err != nil {
		return ovs.E(op, ovs.KindUnknown, ns, err)
	}
	p.wake()
	return nil
}

// deleteSome deletes objects from the front of names in one sequence and says how many names that were.
func (p *Proxy) deleteSome(ctx context.Context, s space, g *group, names []string) (int, error) {
	names = names[:min(len(names), deleteCount)]
	keys, seen := make([][]byte, len(names)), map[string]bool{}
	for i, name := range names {
		keys[i] = objectKey(keyManifest, s.id, name)
	}
	values, err := g.reg.MultiGet(ctx, keys)
	if err != nil {
		return 0, err
	}
	var updates []ovs.Update
	bytes, done := 0, 0
	for i, v := range values {
		if bytes += len(v); bytes > deleteBytes && i > 0 {
			break
		}
		done++
		if v == nil || seen[names[i]] {
			continue
		}
		seen[names[i]] = true
		m, err := decodeManifest(v)
		if err != nil {
			return 0, err
		}
		updates = append(updates, ovs.TestAndSet(keys[i], v, nil), discardUpdate(s.id, i, m.standingFragments(s.id)))
	}
	if len(updates) > 0 {
		_, err = g.reg.Sequence(ctx, updates...)
	}
	return done, err
}
