package asd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"ovs"
)

// makeDir makes the directories of a key, durably.
func (d *Directory) makeDir(k Key) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dirs[k.dir()] != nil {
		return nil
	}
	dir := path.Join(d.tree, k.dir())
	if err := d.fs.MkdirAll(dir, directoryPerm); err != nil {
		return err
	}
	for _, parent := range []string{path.Dir(dir), path.Dir(path.Dir(dir))} {
		if err := d.fs.SyncDir(parent); err != nil {
			return err
		}
	}
	d.know(k)
	return nil
}

// know registers a directory that stands. mu is held for writing.
func (d *Directory) know(k Key) {
	dir := path.Join(d.tree, k.dir())
	g := &group{sync: func() error {
		err := d.fs.SyncDir(dir)
		if errors.Is(err, fs.ErrNotExist) { // dropped meanwhile: its end is to be durable
			err = d.fs.SyncDir(path.Dir(dir))
		}
		return err
	}}
	g.removed.Store(1) // an earlier process may have removed some, not durably
	d.dirs[k.dir()] = g
	d.newest[k.Namespace] = max(d.newest[k.Namespace], k.Epoch)
}

// group gives the group of a key's directory; nil: there is no such directory, durably.
func (d *Directory) group(k Key) *group {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.dirs[k.dir()]
}

// dropEmpty removes a key's directory if it is empty and of an epoch that is over: nothing new comes there.
func (d *Directory) dropEmpty(k Key) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k.Epoch >= d.newest[k.Namespace] || d.dirs[k.dir()] == nil {
		return nil
	}
	dir := path.Join(d.tree, k.dir())
	left, err := d.fs.ReadDir(dir)
	if err == nil && len(left) > 0 {
		return nil
	}
	if err == nil {
		err = d.fs.Remove(dir)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) { // gone since an earlier call that could not make that durable
		err = d.fs.SyncDir(path.Dir(dir))
	}
	if err == nil {
		delete(d.dirs, k.dir())
	}
	return err
}

// sweep learns the directories at open and removes the empty ones. Nobody else is there yet.
func (d *Directory) sweep() error {
	const op = "asd.Open"
	spaces, err := d.numbers("", 16)
	if err != nil {
		return ovs.E(op, ovs.KindIO, d.root, err)
	}
	for _, ns := range spaces {
		dir := fmt.Sprintf("%016x", ns)
		epochs, err := d.numbers(dir, 16)
		if err != nil {
			return ovs.E(op, ovs.KindIO, d.root, err)
		}
		for _, e := range epochs {
			d.know(Key{Namespace: ns, Epoch: e})
		}
		removed := false
		for _, e := range epochs {
			k := Key{Namespace: ns, Epoch: e}
			if err := d.fs.Remove(path.Join(d.tree, k.dir())); err == nil {
				delete(d.dirs, k.dir())
				removed = true
			}
		}
		if removed {
			if err := d.fs.SyncDir(path.Join(d.tree, dir)); err != nil {
				return ovs.E(op, ovs.KindIO, d.root, err)
			}
		}
		if err := d.fs.Remove(path.Join(d.tree, dir)); err == nil {
			delete(d.newest, ns)
		}
	}
	return nil
}

// numbers are the names in a directory of fragments that are numbers of that many digits, in order. A missing directory
// has none.
func (d *Directory) numbers(dir string, digits int) ([]uint64, error) {
	names, err := d.names(dir, digits)
	list := make([]uint64, len(names))
	for i, name := range names {
		list[i], _ = parseHex(name, digits)
	}
	return list, err
}

func (d *Directory) names(dir string, digits int) ([]string, error) {
	entries, err := d.fs.ReadDir(path.Join(d.tree, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if len(e.Name()) == digits && strings.Trim(e.Name(), "0123456789abcdef") == "" {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

// cursor remembers the directory that the last List ended in, so that the next page need not read it again.
type cursor struct {
	from  Key      // the key at which the next page begins
	names []string // the files that are left
}

// List implements ASD.
func (d *Directory) List(ctx context.Context, from, to Key, limit int) ([]Key, error) {
	const op = "asd.List"
	if err := d.begin(ctx, op); err != nil {
		return nil, err
	}
	defer d.end()
	if limit <= 0 {
		return nil, nil
	}
	var keys []Key
	spaces, err := d.numbers("", 16)
	if err != nil {
		return nil, failed(op, from, err)
	}
	for _, ns := range spaces {
		if ns < from.Namespace || ns > to.Namespace {
			continue
		}
		epochs, err := d.numbers(fmt.Sprintf("%016x", ns), 16)
		if err != nil {
			return nil, failed(op, from, err)
		}
		for _, e := range epochs {
			dir := Key{Namespace: ns, Epoch: e}
			if dir.Compare(to) >= 0 || ns == from.Namespace && e < from.Epoch {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, ovs.E(op, ovs.KindTimeout, d.root, err)
			}
			if keys, err = d.listDir(keys, dir, from, to, limit); err != nil || len(keys) >= limit {
				return keys, err
			}
		}
	}
	return keys, nil
}

// listDir appends the keys of one directory.
func (d *Directory) listDir(keys []Key, dir, from, to Key, limit int) ([]Key, error) {
	names, err := d.resume(dir, from)
	if err != nil {
		return nil, failed("asd.List", dir, err)
	}
	for i, name := range names {
		if len(keys) >= limit {
			next := keys[len(keys)-1].Next()
			d.state.Lock()
			d.cursor = cursor{from: next, names: names[i:]}
			d.state.Unlock()
			break
		}
		k := dir
		k.Attempt, _ = parseHex(name[:16], 16)
		index, _ := parseHex(name[16:], 2)
		k.Index = uint8(index)
		if k.Compare(from) >= 0 && k.Compare(to) < 0 {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// resume gives the file names of a directory: what the last page left, where this one begins there.
func (d *Directory) resume(dir, from Key) ([]string, error) {
	d.state.Lock()
	c := d.cursor
	if c.names != nil && c.from == from && from.dir() == dir.dir() {
		d.cursor = cursor{}
		d.state.Unlock()
		return c.names, nil
	}
	d.state.Unlock()
	names, err := d.names(dir.dir(), 18)
	if g := d.group(dir); g != nil && err == nil {
		err = g.settle() // what is not shown does not come back with a power cut
	}
	return names, err
}
