package volumedriver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/pagecache"
	"ovs/internal/tail"
	"ovs/internal/unit"
)

// Config is what a Driver is made of.
type Config struct {
	Pool     ovs.PoolID
	Log      ovs.Log
	Backend  ovs.Backend
	Registry ovs.Registry     // the vPool's group
	Cache    *pagecache.Cache // verified clusters; nil: none
	Budget   *Budget          // of the maps, shared by all drivers of the node
	Now      func() int64     // nanoseconds since 1970
	Zap      *zap.Logger      // nil: silent

	SCOSize   int           // bytes of clusters in an SCO: 4 MiB
	MaxAge    time.Duration // the longest that data wait for a flush: 10 minutes
	TLogSCOs  int           // SCOs whose headers are merged into a TLog: 64
	MostTLogs int           // TLogs since the root that call for a checkpoint: 256
}

const (
	workers = 32 // goroutines for reads that block
	puts    = 16 // SCOs under way in all volumes of the vPool, each with a buffer
)

// Driver keeps the volumes of one vPool. It implements ovs.Driver and ovs.Adopter.
type Driver struct {
	cfg      Config
	clusters int           // in an SCO
	retry    time.Duration // the first pause before a failed step is tried again
	reads    *tail.Pool
	units    units
	buffers  sync.Pool     // of *[]byte, each an SCO
	building chan struct{} // as many as buffers are out
	ctx      context.Context
	stop     context.CancelFunc
}

var (
	_ ovs.Driver  = (*Driver)(nil)
	_ ovs.Adopter = (*Driver)(nil)
)

// New makes the driver of a vPool. Close ends it.
func New(cfg Config) (*Driver, error) {
	const op = "volumedriver.New"
	if cfg.Pool == 0 || cfg.Log == nil || cfg.Backend == nil || cfg.Registry == nil || cfg.Budget == nil || cfg.Now == nil {
		return nil, ovs.E(op, ovs.KindInvalid, nil, errors.New("a part of the configuration is missing"))
	}
	if cfg.SCOSize <= 0 {
		cfg.SCOSize = 4 << 20
	}
	if cfg.TLogSCOs <= 0 {
		cfg.TLogSCOs = 64
	}
	if cfg.MostTLogs <= 0 {
		cfg.MostTLogs = 256
	}
	if cfg.MaxAge <= 0 {
		cfg.MaxAge = 10 * time.Minute
	}
	if cfg.Zap == nil {
		cfg.Zap = zap.NewNop()
	}
	d := &Driver{cfg: cfg, clusters: cfg.SCOSize / ovs.ClusterSize, retry: 50 * time.Millisecond, reads: tail.NewPool(workers), building: make(chan struct{}, puts)}
	if d.clusters < 1 || d.clusters+headerUnits(d.clusters+extraRuns) > maxUnits {
		return nil, ovs.E(op, ovs.KindInvalid, nil, fmt.Errorf("an SCO of %d bytes", cfg.SCOSize))
	}
	d.ctx, d.stop = context.WithCancel(context.Background())
	return d, nil
}

// Close ends the driver after all its objects were closed.
func (d *Driver) Close() error {
	d.stop()
	d.reads.Close()
	return nil
}

// NewHead is the head of an empty volume.
func (d *Driver) NewHead(ovs.ObjectID) []byte { return (&head{}).encode() }

// Create serves a volume that was just made.
func (d *Driver) Create(c ovs.Claim) ovs.Object {
	v := d.newVolume(c)
	v.flush.raw = d.NewHead(c.Object)
	v.serve(state{})
	return v
}

// Drop deletes all that a volume has on the backend. The chunks under a volume that was a file are that driver's to delete.
// It may be called again.
func (d *Driver) Drop(ctx context.Context, id ovs.ObjectID) error {
	r := ovs.Ref{Pool: d.cfg.Pool, Object: id}
	if err := d.cfg.Backend.DeleteNamespace(ctx, namespace(r)); err != nil && !ovs.Is(err, ovs.KindNotFound) {
		return ovs.E("volumedriver.Drop", ovs.KindUnknown, r, err)
	}
	return nil
}

// page is how many names one List or Delete takes.
const page = 1000

// list gives all objects that begin with prefix and come after a name, in order; none where there is no namespace.
func (d *Driver) list(ctx context.Context, ns, prefix, after string) ([]ovs.ObjectInfo, error) {
	var all []ovs.ObjectInfo
	for {
		l, err := d.cfg.Backend.List(ctx, ns, prefix, after, page)
		if ovs.Is(err, ovs.KindNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, l...)
		if len(l) < page {
			return all, nil
		}
		after = l[len(l)-1].Name
	}
}

// get reads a whole object of known length.
func (d *Driver) get(ctx context.Context, ns, name string, n int) ([]byte, error) {
	b := make([]byte, n)
	got, err := d.cfg.Backend.Get(ctx, ns, name, 0, b)
	if err == nil && got < n {
		err = ovs.E("volumedriver.get", ovs.KindCorrupt, ns+"/"+name, fmt.Errorf("%d bytes of %d", got, n))
	}
	return b, err
}

// delete deletes objects, those that are there; each page of them has a deadline of its own.
func (d *Driver) delete(ctx context.Context, ns string, names []string) error {
	for part := range slices.Chunk(names, page) {
		once, cancel := context.WithTimeout(ctx, ioTimeout)
		err := d.cfg.Backend.Delete(once, ns, part...)
		cancel()
		if err != nil && !ovs.Is(err, ovs.KindNotFound) {
			return err
		}
	}
	return nil
}

// buffer lends memory for one SCO, when no more than puts are out.
func (d *Driver) buffer(ctx context.Context) (*[]byte, error) {
	select {
	case d.building <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if b, ok := d.buffers.Get().(*[]byte); ok {
		return b, nil
	}
	b := make([]byte, (d.clusters+headerUnits(d.clusters+extraRuns))*unit.Size)
	return &b, nil
}

func (d *Driver) release(b *[]byte) {
	d.buffers.Put(b)
	<-d.building
}

// epochIn is the epoch at the end of an object's name; 0 where there is none.
func epochIn(name string) ovs.Epoch {
	var e ovs.Epoch
	if i := strings.LastIndexByte(name, '-'); i >= 0 && parse(name[i+1:], "%x", &e) {
		return e
	}
	return 0
}
