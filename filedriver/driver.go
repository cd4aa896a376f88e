package filedriver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/pagecache"
	"ovs/internal/settle"
	"ovs/internal/tail"
	"ovs/internal/unit"
)

// Config is what a Driver is made of.
type Config struct {
	Pool     ovs.PoolID
	Log      ovs.Log
	Backend  ovs.Backend
	Registry ovs.Registry     // the vPool's group
	Cache    *pagecache.Cache // verified clusters of chunks
	Now      func() int64     // nanoseconds since 1970, rising
	Zap      *zap.Logger      // nil: silent

	SealAt uint64        // bytes of data at which a flush begins by itself: 4 MiB
	MaxAge time.Duration // the longest that data wait for a flush: 10 minutes
}

const workers = 8 // goroutines of each pool

// Driver keeps the files of one vPool. All share one namespace of the backend.
type Driver struct {
	cfg       Config
	namespace string
	retry     time.Duration // the first pause before a failed step is tried again
	reads     *tail.Pool    // reads of the backend
	flushes   *tail.Pool    // flushes; apart, so that readers are not kept waiting by them
	inline    *tail.Pool    // flushes of files that live in their heads
	ctx       context.Context
	stop      context.CancelFunc
}

var _ ovs.Driver = (*Driver)(nil)

// New makes the driver of a vPool. Close ends it.
func New(cfg Config) (*Driver, error) {
	if cfg.Pool == 0 || cfg.Log == nil || cfg.Backend == nil || cfg.Registry == nil || cfg.Cache == nil || cfg.Now == nil {
		return nil, ovs.E("filedriver.New", ovs.KindInvalid, nil, errors.New("a part of the configuration is missing"))
	}
	if cfg.SealAt == 0 {
		cfg.SealAt = 4 << 20
	}
	if cfg.MaxAge <= 0 {
		cfg.MaxAge = 10 * time.Minute
	}
	if cfg.Zap == nil {
		cfg.Zap = zap.NewNop()
	}
	d := &Driver{cfg: cfg, namespace: fmt.Sprintf("files-%016x", uint64(cfg.Pool)), retry: 50 * time.Millisecond,
		reads: tail.NewPool(workers), flushes: tail.NewPool(workers), inline: tail.NewPool(workers)}
	d.ctx, d.stop = context.WithCancel(context.Background())
	return d, nil
}

// Close ends the driver after all its objects were closed.
func (d *Driver) Close() error {
	d.stop()
	d.flushes.Close()
	d.inline.Close()
	d.reads.Close()
	return nil
}

// NewHead is the head of an empty file.
func (d *Driver) NewHead(ovs.ObjectID) []byte { return (&head{open: 1}).encode() }

// Create serves a file that was just made.
func (d *Driver) Create(c ovs.Claim) ovs.Object {
	return d.serve(c, &version{head: head{open: c.Epoch}})
}

// Recover reads head and table, and brings the records after them back from the log.
func (d *Driver) Recover(ctx context.Context, c ovs.Claim) (ovs.Recovery, error) {
	const op = "filedriver.Recover"
	v, err := d.load(ctx, c.Object)
	if err != nil {
		return ovs.Recovery{}, err
	}
	f := d.serve(c, v)
	lineage := v.head
	ends := map[ovs.Epoch]ovs.RecordNo{}
	err = d.cfg.Log.Replay(c.Ref, v.head.complete, func(r *ovs.Record) error {
		if !lineage.valid(r.Epoch, r.Number) {
			return nil
		}
		if _, ok := ends[r.Epoch]; !ok && !listed(v.head.closed, r.Epoch) {
			v.head.closed = append(v.head.closed, closed{epoch: r.Epoch})
		}
		ends[r.Epoch] = r.Number
		return f.tail.Restore(r)
	})
	if err == nil && len(ends) > 0 {
		err = settle.Log(ctx, d.cfg.Log)
	}
	if err != nil {
		f.Close()
		return ovs.Recovery{}, ovs.E(op, ovs.KindUnknown, c.Ref, err)
	}
	for _, e := range lineage.closed {
		if ends[e.epoch] < e.last {
			f.Close()
			return ovs.Recovery{}, ovs.E(op, ovs.KindCorrupt, c.Ref, fmt.Errorf("the log ends at record %d of epoch %d, but %d were acknowledged", ends[e.epoch], e.epoch, e.last))
		}
	}
	next := v.head
	next.open, next.closed = c.Epoch, nil
	for _, e := range v.head.closed {
		if last, ok := ends[e.epoch]; ok {
			next.closed = append(next.closed, closed{e.epoch, last})
		}
	}
	f.cur.Store(&version{head: next, table: v.table})
	f.leftovers.Store(true)
	return ovs.Recovery{Close: []ovs.Update{ovs.Set(ovs.HeadKey(c.Object), next.encode())}, Object: f}, nil
}

func listed(l []closed, e ovs.Epoch) bool {
	for _, c := range l {
		if c.epoch == e {
			return true
		}
	}
	return false
}

// load reads what stands of a file outside the log.
func (d *Driver) load(ctx context.Context, id ovs.ObjectID) (*version, error) {
	const op = "filedriver.load"
	values, err := d.cfg.Registry.MultiGet(ctx, [][]byte{ovs.HeadKey(id), tableKey(id)})
	if err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, id, err)
	}
	if values[0] == nil {
		return nil, ovs.E(op, ovs.KindNotFound, id, errors.New("no head"))
	}
	v := &version{}
	if v.head, err = decodeHead(values[0]); err != nil {
		return nil, ovs.E(op, ovs.KindCorrupt, id, err)
	}
	if !v.head.hasTable {
		return v, nil
	}
	if v.table, err = decodeTable(values[1]); err != nil {
		return nil, ovs.E(op, ovs.KindCorrupt, id, err)
	}
	return v, nil
}

// Drop deletes all chunks of a file.
func (d *Driver) Drop(ctx context.Context, id ovs.ObjectID) error {
	err := d.sweep(ctx, id, func(string) bool { return true })
	if err != nil && !ovs.Is(err, ovs.KindNotFound) {
		return ovs.E("filedriver.Drop", ovs.KindUnknown, id, err)
	}
	return nil
}

// sweep deletes the file's chunks that are gone.
func (d *Driver) sweep(ctx context.Context, id ovs.ObjectID, gone func(name string) bool) error {
	prefix, after := unit.ChunkPrefix(id), ""
	for {
		page, err := d.cfg.Backend.List(ctx, d.namespace, prefix, after, 1000)
		if err != nil {
			return err
		}
		var names []string
		for _, o := range page {
			if after = o.Name; gone(o.Name) {
				names = append(names, o.Name)
			}
		}
		if len(names) > 0 {
			if err := d.cfg.Backend.Delete(ctx, d.namespace, names...); err != nil {
				return err
			}
		}
		if len(page) < 1000 {
			return nil
		}
	}
}
