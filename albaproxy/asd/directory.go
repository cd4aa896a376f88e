package asd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"syscall"

	"ovs"
	"ovs/internal/vfs"
)

// Options of a Directory.
type Options struct {
	FS     vfs.FS
	Dir    string     // made where there is none
	Node   ovs.NodeID // where it is
	Device string     // disks with the same name share one space; empty: asked of the file system
	Rand   io.Reader  // for the identity of a new disk
	Keep   uint64     // bytes of the disk that are others': not even repair takes them
	Lanes  *Lanes     // shared by all disks of the process; nil: this one has its device for itself
}

const (
	fragments     = "fragments" // the directory of all fragments
	reservePart   = 20          // 1/20 of the disk, 5 %, is for repair
	directoryPerm = 0o755
)

// Directory is an ASD that keeps each fragment in a file of its own: fragments/namespace/epoch/attempt-and-index. The
// directories come with their first fragment; an empty one goes once a newer epoch's exists, or at the next open.
//
// A file gets its final name at once, without a rename: a torn one is not named by anybody, and a rename would cost one
// more commit of the file system's journal for each fragment.
type Directory struct {
	fs     vfs.FS
	root   string
	keep   uint64
	tree   string // root/fragments
	id     Identity
	device string
	lane   lane
	lock   io.Closer

	pending atomic.Int64   // bytes of Puts under way, which the free space does not show yet
	calls   sync.WaitGroup // running calls

	mu     sync.RWMutex // held for reading while files are made in a directory, for writing while directories come and go
	dirs   map[string]*group
	newest map[uint64]uint64 // namespace -> newest epoch with a directory

	state  sync.Mutex // guards below
	closed bool
	cursor cursor
}

var _ ASD = (*Directory)(nil)

// Open opens the disk under o.Dir, alone: KindBusy while another process has it open. An empty directory becomes a new
// disk.
func Open(o Options) (*Directory, error) {
	const op = "asd.Open"
	for _, dir := range []string{o.Dir, path.Join(o.Dir, fragments)} {
		if err := o.FS.MkdirAll(dir, directoryPerm); err != nil {
			return nil, ovs.E(op, ovs.KindIO, dir, err)
		}
		if err := o.FS.SyncDir(path.Dir(dir)); err != nil {
			return nil, ovs.E(op, ovs.KindIO, dir, err)
		}
	}
	lock, err := o.FS.Lock(path.Join(o.Dir, "lock"))
	if err != nil {
		kind := ovs.KindIO
		if errors.Is(err, syscall.EWOULDBLOCK) {
			kind = ovs.KindBusy
		}
		return nil, ovs.E(op, kind, o.Dir, err)
	}
	d := &Directory{fs: o.FS, root: o.Dir, keep: o.Keep, tree: path.Join(o.Dir, fragments), lock: lock, dirs: map[string]*group{}, newest: map[uint64]uint64{}}
	if d.id, err = startIdentity(o.FS, o.Dir, o.Rand); err == nil {
		d.id.Node = o.Node
		err = d.sweep()
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	d.device = o.Device
	if d.device == "" {
		d.device = deviceOf(o.FS, o.Dir, d.id.ID)
	}
	d.lane = o.Lanes.of(d.device)
	return d, nil
}

// deviceOf names the file system under dir; where it has no number, the disk is one of its own.
func deviceOf(fsys vfs.FS, dir string, id uint64) string {
	if info, err := fsys.Stat(dir); err == nil {
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			return fmt.Sprintf("dev-%x", s.Dev)
		}
	}
	return fmt.Sprintf("asd-%016x", id)
}

// Identity implements ASD.
func (d *Directory) Identity() Identity { return d.id }

// begin registers a call; end must follow where err is nil.
func (d *Directory) begin(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return ovs.E(op, ovs.KindTimeout, d.root, err)
	}
	d.state.Lock()
	defer d.state.Unlock()
	if d.closed {
		return ovs.E(op, ovs.KindClosed, d.root, nil)
	}
	d.calls.Add(1)
	return nil
}

func (d *Directory) end() { d.calls.Done() }

// Close implements ASD.
func (d *Directory) Close() error {
	d.state.Lock()
	was := d.closed
	d.closed = true
	d.state.Unlock()
	d.calls.Wait()
	if was {
		return nil
	}
	return d.lock.Close()
}

func (d *Directory) path(k Key) string {
	b := make([]byte, 0, 128)
	b = append(append(b, d.tree...), '/')
	return string(k.appendPath(b))
}

// Put implements ASD.
func (d *Directory) Put(ctx context.Context, k Key, fragment []byte, o PutOptions) error {
	const op = "asd.Put"
	if len(fragment) > MaxFragment {
		return ovs.E(op, ovs.KindTooBig, k, nil)
	}
	if err := d.begin(ctx, op); err != nil {
		return err
	}
	defer d.end()
	size := int64(len(fragment))
	pending := d.pending.Add(size)
	defer d.pending.Add(-size)
	if err := d.room(pending, o.Repair); err != nil {
		return ovs.E(op, ovs.KindUnknown, k, err)
	}
	flag := os.O_RDWR | os.O_CREATE | os.O_EXCL
	if vfs.Aligned(fragment, 0) {
		flag |= vfs.Direct
	}
	f, g, err := d.create(k, flag)
	if err != nil {
		return failed(op, k, err)
	}
	if err = d.lane.write(ctx, f, fragment, o.Hurry); err == nil {
		vfs.Mark(d.fs, "asd fragment written")
		err = f.Datasync()
	}
	vfs.Mark(d.fs, "asd fragment flushed")
	if err = errors.Join(err, f.Close()); err == nil {
		err = g.wait()
	}
	if err != nil {
		g.removed.Add(1)
		_ = d.fs.Remove(d.path(k)) // nobody names it: what cannot be removed now is left to the collector
		return failed(op, k, err)
	}
	vfs.Mark(d.fs, "asd fragment named")
	return nil
}

// room refuses where less than the reserve would be left, for repair where less than what is others' would.
func (d *Directory) room(pending int64, repair bool) error {
	total, free, err := d.fs.Space(d.root)
	if err != nil {
		return ovs.E("asd.room", ovs.KindIO, d.root, err)
	}
	keep := d.keep
	if !repair {
		keep += total / reservePart
	}
	if free < keep+uint64(pending) {
		return ovs.E("asd.room", ovs.KindNoSpace, d.root, nil)
	}
	return nil
}

// create makes the fragment's file, and its directories where they are missing; the group makes its name durable.
func (d *Directory) create(k Key, flag int) (vfs.File, *group, error) {
	for {
		d.mu.RLock()
		if g := d.dirs[k.dir()]; g != nil {
			f, err := d.fs.OpenFile(d.path(k), flag, 0o644)
			d.mu.RUnlock()
			return f, g, err
		}
		d.mu.RUnlock()
		if err := d.makeDir(k); err != nil {
			return nil, nil, err
		}
	}
}

// failed is an operation's error with the kind that the cause tells.
func failed(op string, k Key, err error) error {
	kind := ovs.KindIO
	switch {
	case errors.Is(err, fs.ErrExist):
		kind = ovs.KindExists
	case errors.Is(err, fs.ErrNotExist):
		kind = ovs.KindNotFound
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind = ovs.KindNoSpace
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		kind = ovs.KindTimeout
	}
	return ovs.E(op, kind, k, err)
}

// Get implements ASD.
func (d *Directory) Get(ctx context.Context, k Key, off uint64, dst []byte) (int, error) {
	const op = "asd.Get"
	if err := d.begin(ctx, op); err != nil {
		return 0, err
	}
	defer d.end()
	f, err := d.fs.OpenFile(d.path(k), os.O_RDONLY, 0)
	if err != nil {
		return 0, failed(op, k, err)
	}
	defer f.Close()
	if off > MaxFragment || len(dst) == 0 {
		return 0, nil
	}
	n, err := f.ReadAt(dst, int64(off))
	if err != nil && err != io.EOF {
		return 0, failed(op, k, err)
	}
	return n, nil
}

// Delete implements ASD.
func (d *Directory) Delete(ctx context.Context, keys ...Key) error {
	const op = "asd.Delete"
	if err := d.begin(ctx, op); err != nil {
		return err
	}
	defer d.end()
	touched := map[string]Key{} // directory -> a key in it
	for _, k := range keys {
		if g := d.group(k); g != nil {
			g.removed.Add(1)
		}
		if err := d.fs.Remove(d.path(k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return failed(op, k, err)
		}
		touched[k.dir()] = k // also where it was gone: another Delete may have removed it and not be durable yet
	}
	for _, k := range touched {
		g := d.group(k)
		if g == nil {
			continue // the whole directory is gone, durably
		}
		if err := g.wait(); err != nil {
			return failed(op, k, err)
		}
		if err := d.dropEmpty(k); err != nil {
			return failed(op, k, err)
		}
	}
	return nil
}

// Usage implements ASD.
func (d *Directory) Usage(ctx context.Context) (Usage, error) {
	const op = "asd.Usage"
	if err := d.begin(ctx, op); err != nil {
		return Usage{}, err
	}
	defer d.end()
	total, free, err := d.fs.Space(d.root)
	if err != nil {
		return Usage{}, ovs.E(op, ovs.KindIO, d.root, err)
	}
	reserve := min(total, total/reservePart+d.keep)
	return Usage{Total: total - reserve, Free: free - min(free, reserve), Device: d.device}, nil
}
