/*
Package memfs is ovs.FileSystem in memory: the twin behind which nfsd is built and tested, and a server for guests that
need no disk. It is honest about durability: UNSTABLE data is readable at once and lost at Crash unless a COMMIT came.

	page  now      what READ shows
	      stable   what survives Crash; nil when it is the same

A stable write goes to both; COMMIT makes stable follow now; Crash makes now follow stable and opens a new epoch, so
that the verifier changes. Names and attributes are durable at once, as the interface asks.
*/
package memfs

import (
	"slices"
	"sync"

	"ovs"
)

// Options of a file system. The zero value of each is its default.
type Options struct {
	Pool     ovs.PoolID   // 1
	Capacity uint64       // bytes that files may use; 1 TiB
	Now      func() int64 // nanoseconds since 1970; a clock that only counts, from a fixed day
	// Later runs the completion of a Read, Write or Commit; at once, in the caller's goroutine. A test delays or reorders
	// completions with it.
	Later func(complete func())
	// Cold makes TryGetAttr, TryLookup and TryRead say "not now" when it returns true.
	Cold func() bool
}

// FS is a file system in memory. All methods are safe for concurrent use.
type FS struct {
	opt Options

	mu     sync.Mutex // guards everything below and all nodes
	nodes  map[ovs.ObjectID]*node
	lastID ovs.ObjectID
	cookie uint64
	epoch  ovs.Epoch
	clock  int64
	pages  uint64 // in use, of all files
}

var _ ovs.FileSystem = (*FS)(nil)

// node is one object.
type node struct {
	attr   ovs.Attr
	target string // of a symbolic link

	verf    uint64 // of an EXCLUSIVE create, until the first SETATTR
	hasVerf bool

	parent  ovs.ObjectID // of a directory
	names   map[string]*entry
	entries []*entry // by cookie

	pages  map[uint64]*page
	stable durable // of a file with unstable data
}

// entry is one name in a directory.
type entry struct {
	name   string
	id     ovs.ObjectID
	cookie uint64
}

// durable is what a crash leaves of a file's size and times.
type durable struct {
	dirty        bool
	size         uint64
	mtime, ctime int64
}

// New makes an empty file system whose root anybody may write.
func New(o Options) *FS {
	if o.Pool == 0 {
		o.Pool = 1
	}
	if o.Capacity == 0 {
		o.Capacity = 1 << 40
	}
	if o.Later == nil {
		o.Later = func(f func()) { f() }
	}
	if o.Cold == nil {
		o.Cold = func() bool { return false }
	}
	fs := &FS{opt: o, nodes: map[ovs.ObjectID]*node{}, lastID: ovs.RootID, cookie: 2, epoch: 1, clock: 1_800_000_000_000_000_000}
	now := fs.now()
	fs.nodes[ovs.RootID] = &node{
		attr: ovs.Attr{ID: ovs.RootID, Type: ovs.TypeDir, Mode: 0o777, Links: 2, Size: ovs.ClusterSize, Used: ovs.ClusterSize,
			Atime: now, Mtime: now, Ctime: now},
		parent: ovs.RootID, names: map[string]*entry{},
	}
	return fs
}

// now rises with every call. fs.mu is held.
func (fs *FS) now() int64 {
	t := fs.clock + 1
	if fs.opt.Now != nil {
		t = max(t, fs.opt.Now())
	}
	fs.clock = t
	return t
}

// Pool is the file system's identity.
func (fs *FS) Pool() ovs.PoolID { return fs.opt.Pool }

// Crash loses what was not stable: as a power cut, then a start in a new epoch.
func (fs *FS) Crash() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.epoch++
	for _, n := range fs.nodes {
		fs.revert(n)
	}
}

// node finds an object; a handle to one that is gone is stale.
func (fs *FS) node(op string, id ovs.ObjectID) (*node, error) {
	n := fs.nodes[id]
	if n == nil {
		return nil, ovs.E(op, ovs.KindStale, id, nil)
	}
	return n, nil
}

// dir finds a directory.
func (fs *FS) dir(op string, id ovs.ObjectID) (*node, error) {
	n, err := fs.node(op, id)
	if err == nil && n.attr.Type != ovs.TypeDir {
		err = ovs.E(op, ovs.KindNotDir, id, nil)
	}
	return n, err
}

// wcc runs change between the two snapshots of n's attributes: both are taken under the same lock.
func wcc(n *node, change func() error) (ovs.Wcc, error) {
	w := ovs.Wcc{HasBefore: true, SizeBefore: n.attr.Size, MtimeB: n.attr.Mtime, CtimeB: n.attr.Ctime}
	err := change()
	w.HasAfter, w.After = true, n.attr
	return w, err
}

// insert adds a name; fs.mu is held and the name is absent.
func (fs *FS) insert(d *node, name string, id ovs.ObjectID) {
	fs.cookie++
	e := &entry{name: name, id: id, cookie: fs.cookie}
	d.names[name] = e
	d.entries = append(d.entries, e)
	d.touch(fs.now())
}

// delete takes a name away.
func (fs *FS) delete(d *node, e *entry) {
	delete(d.names, e.name)
	i, _ := slices.BinarySearchFunc(d.entries, e.cookie, func(x *entry, c uint64) int { return int(x.cookie) - int(c) })
	d.entries = slices.Delete(d.entries, i, i+1)
	d.touch(fs.now())
}

// touch says that the content changed.
func (n *node) touch(now int64) { n.attr.Mtime, n.attr.Ctime = now, now }

// unlink takes one link away; the last one frees the object.
func (fs *FS) unlink(n *node) {
	n.attr.Links--
	n.attr.Ctime = fs.now()
	if n.attr.Links == 0 {
		fs.resize(n, 0)
		delete(fs.nodes, n.attr.ID)
	}
}
