package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"ovs/tests/oracle/nfsclient"
)

// Dir is one directory of small files and the model of it. One worker at a time.
type Dir struct {
	Name   string
	handle nfsclient.Handle
	now    map[string]uint64 // name → content, what all acknowledged operations made
	then   map[string]uint64 // the same with the operation that has no answer yet; nil without one
	last   uint64            // content given out
}

// content 0 is the empty file; another one is its number's own bytes, up to 4,000.
func content(id uint64) []byte {
	if id == 0 {
		return nil
	}
	rnd := rand.New(rand.NewPCG(id, 99))
	b := make([]byte, 1+rnd.IntN(4000))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// Open finds or makes the directory.
func (d *Dir) Open(ctx context.Context, c *nfsclient.Client) (err error) {
	if d.now == nil {
		d.now = map[string]uint64{}
		d.handle, _, err = c.Mkdir(ctx, c.Root, d.Name)
		return err
	}
	d.handle, _, err = c.Lookup(ctx, c.Root, d.Name)
	return err
}

// Verify reads the directory and all its files after a start: it is as before or after the operation that was cut off.
func (d *Dir) Verify(ctx context.Context, c *nfsclient.Client) error {
	entries, err := c.ReadDir(ctx, d.handle)
	if err != nil {
		return fmt.Errorf("%s: list: %w", d.Name, err)
	}
	found := map[string][]byte{}
	for _, e := range entries {
		b, err := d.read(ctx, c, e.Name, e.FileID)
		if err != nil {
			return fmt.Errorf("%s/%s is listed, but: %w", d.Name, e.Name, err)
		}
		if _, twice := found[e.Name]; twice {
			return fmt.Errorf("%s/%s is listed twice", d.Name, e.Name)
		}
		found[e.Name] = b
	}
	err = differ(found, d.now)
	if err != nil && d.then != nil && differ(found, d.then) == nil {
		d.now, err = d.then, nil
	}
	d.then = nil
	if err != nil {
		return fmt.Errorf("directory %s: %w", d.Name, err)
	}
	return nil
}

// read gives what a file holds, looked up by its name. id is its number, 0 where that is not known.
func (d *Dir) read(ctx context.Context, c *nfsclient.Client, name string, id uint64) ([]byte, error) {
	h, a, err := c.Lookup(ctx, d.handle, name)
	if err != nil {
		return nil, err
	}
	if id != 0 && a.FileID != id {
		return nil, fmt.Errorf("fileid %d in the list, %d by LOOKUP", id, a.FileID)
	}
	b := make([]byte, a.Size)
	f := nfsclient.File{Conn: c.Conn(0), Handle: h, Context: ctx}
	_, err = f.ReadAt(b, 0)
	return b, err
}

func differ(found map[string][]byte, want map[string]uint64) error {
	for name, id := range want {
		b, there := found[name]
		if !there {
			return fmt.Errorf("%s is gone", name)
		}
		if !bytes.Equal(b, content(id)) {
			return fmt.Errorf("%s holds other bytes (%d, must be content %d of %d)", name, len(b), id, len(content(id)))
		}
	}
	for name := range found {
		if _, known := want[name]; !known {
			return fmt.Errorf("%s is there and must not be", name)
		}
	}
	return nil
}

// Work does operations on names until ctx ends or the connection is lost.
func (d *Dir) Work(ctx context.Context, l *Load, rnd *rand.Rand) error {
	for ctx.Err() == nil && !l.Over.Load() {
		name := fmt.Sprintf("file-%d", rnd.IntN(40))
		other := fmt.Sprintf("file-%d", rnd.IntN(40))
		d.then = maps.Clone(d.now)
		err := d.one(ctx, l, rnd, name, other)
		if err != nil {
			return fmt.Errorf("%s/%s: %w", d.Name, name, err)
		}
		d.now, d.then = d.then, nil
		l.Counts.Names.Add(1)
	}
	return nil
}

// Renew gives n files new contents, one after the other. What is not there yet is made.
func (d *Dir) Renew(ctx context.Context, l *Load, n int) error {
	for i := range n {
		name := fmt.Sprintf("file-%d", i)
		for last := d.last; d.last == last; { // made, or emptied, then filled
			d.then = maps.Clone(d.now)
			step := d.fill
			if _, exists := d.now[name]; !exists {
				step = d.create
			}
			if err := step(ctx, l, name); err != nil {
				return fmt.Errorf("%s/%s: %w", d.Name, name, err)
			}
			d.now, d.then = d.then, nil
			l.Counts.Names.Add(1)
		}
	}
	return nil
}

// ReadSome reads one file, by its name, and holds it against the model.
func (d *Dir) ReadSome(ctx context.Context, c *nfsclient.Client, rnd *rand.Rand) error {
	names := slices.Sorted(maps.Keys(d.now))
	name := names[rnd.IntN(len(names))]
	b, err := d.read(ctx, c, name, 0)
	if err == nil && !bytes.Equal(b, content(d.now[name])) {
		err = errors.New("it holds other bytes")
	}
	if err != nil {
		return fmt.Errorf("%s/%s: %w", d.Name, name, err)
	}
	return nil
}

// one does one operation, and to d.then what it does.
func (d *Dir) one(ctx context.Context, l *Load, rnd *rand.Rand, name, other string) error {
	c := l.Client
	_, exists := d.now[name]
	switch n := rnd.IntN(10); {
	case !exists:
		return d.create(ctx, l, name)
	case n < 5:
		return d.fill(ctx, l, name)
	case n < 8 && name != other:
		d.then[other] = d.then[name]
		delete(d.then, name)
		return l.named(ctx, nfsclient.StatusNoEnt, func() error {
			return c.Rename(ctx, d.handle, name, d.handle, other)
		})
	case n < 8:
		return nil
	}
	delete(d.then, name)
	return l.named(ctx, nfsclient.StatusNoEnt, func() error { return c.Remove(ctx, d.handle, name) })
}

// named does an operation on names again while the answer is JUKEBOX. Whether the first try had an effect is unknown
// then: later the status done says that it had.
func (l *Load) named(ctx context.Context, done uint32, f func() error) error {
	for again := false; ; again = true {
		err := f()
		var status *nfsclient.StatusError
		switch {
		case !errors.As(err, &status) || status.RPC:
			return err
		case again && status.Status == done:
			return nil
		case status.Status != nfsclient.StatusJukebox:
			return err
		}
		if err := l.pause(ctx); err != nil {
			return err
		}
	}
}

func (d *Dir) create(ctx context.Context, l *Load, name string) error {
	d.then[name] = 0
	return l.named(ctx, nfsclient.StatusExist, func() error {
		_, _, err := l.Client.Create(ctx, d.handle, name, nfsclient.Guarded, 0)
		return err
	})
}

// fill gives an empty file its content by one stable WRITE, which is one log record; a full one is emptied by one SETATTR.
func (d *Dir) fill(ctx context.Context, l *Load, name string) error {
	var h nfsclient.Handle
	err := l.named(ctx, 0, func() (err error) {
		h, _, err = l.Client.Lookup(ctx, d.handle, name)
		return err
	})
	if err != nil {
		return err
	}
	if d.now[name] != 0 {
		d.then[name] = 0
		return l.named(ctx, 0, func() error { return l.Client.Truncate(ctx, h, 0) })
	}
	d.last++
	d.then[name] = d.last
	call := nfsclient.Call{File: h, Data: content(d.last), Stable: nfsclient.FileSync}
	cn := l.Client.Conn(int(d.last))
	return l.patiently(ctx, cn, &call, cn.Write)
}
