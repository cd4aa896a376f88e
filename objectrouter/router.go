package objectrouter

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"ovs"
)

// Log is what the router needs of the write log. ovs.Log has it.
type Log interface {
	Tails() []ovs.LogTail
	Release(r ovs.Ref, upTo ovs.RecordNo)
}

// Config is what a Router is made of. Limits that are 0 take their default.
type Config struct {
	Pool     ovs.PoolID
	Node     ovs.NodeID // not 0
	Registry ovs.Registry
	Log      Log
	Backend  ovs.Backend // for Stat; the vPool's space is that of its backend
	Volumes  ovs.Driver  // where it is an ovs.Adopter too, files that outgrow FileLimit become volumes
	Files    ovs.Driver
	// VolumePatterns are the names that become volumes when they are created (path.Match, case counts). Nil:
	// DefaultVolumePatterns.
	VolumePatterns []string
	Now            func() int64 // nanoseconds since 1970
	Zap            *zap.Logger  // nil: silent

	CacheSize int           // objects of which memory keeps records though they are not served: 65,536
	MaxServed int           // objects served at a time before the coldest are rested early: 100,000
	MaxParked int           // operations that wait for their object: 4,096; KindBusy beyond
	Workers   int           // objects brought up at a time: 16
	RestAfter time.Duration // an object untouched so long is rested: 60 s
	FileLimit uint64        // bytes at which a file becomes a volume: 256 MiB
}

// DefaultVolumePatterns are disks, deltas and what a hypervisor writes like one: at random places, in big files.
func DefaultVolumePatterns() []string {
	return []string{
		"*-flat.vmdk", "*-delta.vmdk", "*-sesparse.vmdk", "*.raw", "*.img", "*.qcow2", "*.vswp", "*.vmem",
	}
}

func (c *Config) defaults() {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&c.CacheSize, 65536)
	set(&c.MaxServed, 100_000)
	set(&c.MaxParked, 4096)
	set(&c.Workers, 16)
	if c.RestAfter <= 0 {
		c.RestAfter = time.Minute
	}
	if c.FileLimit == 0 {
		c.FileLimit = 256 << 20
	}
	if c.VolumePatterns == nil {
		c.VolumePatterns = DefaultVolumePatterns()
	}
	if c.Zap == nil {
		c.Zap = zap.NewNop()
	}
}

// Router is the file system of one vPool on one node.
type Router struct {
	cfg     Config
	reg     ovs.Registry
	zap     *zap.Logger
	table   *table
	names   *dentries
	ids     allocator
	usage   usageCache
	queue   *queue       // objects to bring up
	flushes *queue       // objects to flush, because the log needs room
	lastly  atomic.Int64 // the newest time handed out by stamp
	nserved atomic.Int64
	left    atomic.Int64 // objects that the life before left and that are not brought up yet
	began   time.Time    // when that was begun; set before the workers start
	halted  haltedSet
	failed  struct {
		sync.Mutex
		list []*node // pinned; to be tried again
	}
	orphans chan struct{} // cap 1: the orphan worker has something to look at
	cold    chan struct{} // cap 1: too many objects are served

	ctx    context.Context // ends at Close
	stop   context.CancelFunc
	closed atomic.Bool
	wg     sync.WaitGroup // every goroutine of the router
	cancel func()         // ends following the registry
}

var _ ovs.FileSystem = (*Router)(nil)

// New makes a router; Start lets it serve.
func New(cfg Config) (*Router, error) {
	const op = "objectrouter.New"
	if cfg.Pool == 0 || cfg.Node == 0 || cfg.Registry == nil || cfg.Log == nil || cfg.Backend == nil || cfg.Volumes == nil || cfg.Files == nil || cfg.Now == nil {
		return nil, ovs.E(op, ovs.KindInvalid, nil, errors.New("a part of the configuration is missing"))
	}
	cfg.defaults()
	if err := checkPatterns(cfg.VolumePatterns); err != nil {
		return nil, ovs.E(op, ovs.KindInvalid, nil, err)
	}
	r := &Router{
		cfg: cfg, reg: cfg.Registry, zap: cfg.Zap,
		table: newTable(cfg.CacheSize), names: newDentries(2 * cfg.CacheSize), queue: newQueue(), flushes: newQueue(),
		orphans: make(chan struct{}, 1), cold: make(chan struct{}, 1),
	}
	r.ids.reg = cfg.Registry
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r, nil
}

// Pool is the vPool's identity, the fsid of its export.
func (r *Router) Pool() ovs.PoolID { return r.cfg.Pool }

// stamp gives a time for a change: now, after every time that it gave before, and not before atLeast.
func (r *Router) stamp(atLeast int64) int64 {
	now := r.cfg.Now()
	for {
		last := r.lastly.Load()
		t := max(now, last+1, atLeast)
		if r.lastly.CompareAndSwap(last, t) {
			return t
		}
	}
}

// driver is the driver of a kind, nil for driverNone.
func (r *Router) driver(k driverKind) ovs.Driver {
	switch k {
	case driverFile:
		return r.cfg.Files
	case driverVolume:
		return r.cfg.Volumes
	}
	return nil
}

func (r *Router) ref(id ovs.ObjectID) ovs.Ref { return ovs.Ref{Pool: r.cfg.Pool, Object: id} }

// load is all that the registry says of id, from memory where it is there. KindStale: id is gone.
func (r *Router) load(ctx context.Context, id ovs.ObjectID) (known, error) {
	if k, ok := r.table.peek(id); ok {
		return k, nil
	}
	return r.read(ctx, id)
}

// read is load past the memory, which it refreshes.
func (r *Router) read(ctx context.Context, id ovs.ObjectID) (k known, err error) {
	const op = "objectrouter.load"
	for range 4 {
		gen := r.table.generation(id)
		v, err := r.reg.MultiGet(ctx, [][]byte{inodeKey(id), ownerKey(id)})
		if err != nil {
			return known{}, err
		}
		if v[0] == nil {
			return known{}, ovs.E(op, ovs.KindStale, r.ref(id), nil)
		}
		k = known{id: id}
		if k.rec, err = decodeInode(v[0]); err != nil {
			return known{}, ovs.E(op, ovs.KindUnknown, r.ref(id), err)
		}
		if v[1] != nil {
			if k.own, err = decodeEntry(v[1]); err != nil {
				return known{}, ovs.E(op, ovs.KindUnknown, r.ref(id), err)
			}
		}
		if !k.complete() {
			return known{}, ovs.E(op, ovs.KindCorrupt, r.ref(id), errors.New("a regular file without a registry entry"))
		}
		if r.table.fill(&k, gen) {
			break
		}
	}
	return k, nil
}

// find is the entry of a name, from memory where it is there. KindNotFound: there is none.
func (r *Router) find(ctx context.Context, dir ovs.ObjectID, name string) (dirent, error) {
	if e, ok := r.names.get(dir, name); ok {
		return e, nil
	}
	gen := r.names.generation(dir, name)
	v, err := r.reg.Get(ctx, entryKey(dir, name))
	if err != nil {
		return dirent{}, err
	}
	e, err := decodeDirent(v)
	if err != nil {
		return dirent{}, err
	}
	r.names.fill(dir, name, e, gen)
	return e, nil
}

// follow keeps the memory true. It follows the whole group in one stream, because the order of changes across the
// spaces matters (peek). Records that do not parse are forgotten: whoever reads them next gets the error.
func (r *Router) follow() (cancel func()) {
	return r.reg.Follow(nil, func(index uint64, key, value []byte) {
		if key == nil {
			r.table.forget()
			r.names.forget()
			return
		}
		switch key[0] {
		case spaceInode:
			rec, _ := decodeInode(value)
			r.table.followInode(index, idOf(key), rec, value == nil)
		case spaceOwner:
			own, _ := decodeEntry(value)
			r.table.followOwner(idOf(key), own)
		case spaceEntry:
			if len(key) <= nameAt {
				return
			}
			e, err := decodeDirent(value)
			r.names.follow(idOf(key), string(key[nameAt:]), e, err == nil)
		case spaceOrphan:
			if value != nil {
				knock(r.orphans)
			}
		}
	})
}

// knock leaves a note in a channel of capacity 1.
func knock(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// conflicted says that a step of a sequence did not hold: what it was built from has changed.
func conflicted(err error) bool {
	return ovs.Is(err, ovs.KindConflict) || ovs.Is(err, ovs.KindNotFound)
}

// undecided says that only reading again tells what is so by now.
func undecided(err error) bool {
	return conflicted(err) || ovs.Is(err, ovs.KindTimeout) || ovs.Is(err, ovs.KindBusy)
}

// maxTries bounds how often an operation is built again after a conflict.
const maxTries = 32
