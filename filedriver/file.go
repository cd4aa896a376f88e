package filedriver

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"ovs"
	"ovs/internal/tail"
)

// version is the file as one head shows it; immutable once it is current.
type version struct {
	head  head
	table []chunk // index: chunk number; where head.hasTable
}

// used is the space of the version in bytes.
func (v *version) used() uint64 {
	if !v.head.hasTable {
		return uint64(len(v.head.inline))
	}
	n := uint64(0)
	for _, c := range v.table {
		if c != (chunk{}) {
			n += chunkSize
		}
	}
	return n
}

// file is one file served here (ovs.Object): its tail in the log, over the version that its head shows.
type file struct {
	d     *Driver
	claim ovs.Claim
	tail  *tail.Tail
	cur   atomic.Pointer[version] // replaced by the flush only

	leftovers atomic.Bool // an earlier life may have left chunks that nothing names
	started   atomic.Bool // something was asked of it: so it serves, and the epochs before are closed
	failed    error       // the flush's: an interval that could not be brought to the backend, and will not be passed over

	ctx  context.Context // ends with Close
	stop context.CancelFunc

	mu       sync.Mutex // guards all below
	flushing bool       // a flush is queued or running
	again    bool       // it was asked for once more meanwhile
	waiters  []chan error
	aged     *time.Timer // cuts the open interval when it is old
	closed   bool
	ended    sync.WaitGroup // the flush that is queued or running
}

var _ ovs.Object = (*file)(nil)

func (d *Driver) serve(c ovs.Claim, v *version) *file {
	f := &file{d: d, claim: c}
	f.ctx, f.stop = context.WithCancel(d.ctx)
	f.cur.Store(v)
	f.tail = tail.New(tail.Config{
		Ref: c.Ref, Epoch: c.Epoch, Log: d.cfg.Log, Below: f, Pool: d.reads, Now: d.cfg.Now,
		Last: v.head.complete, Size: v.head.size, Time: v.head.time,
		SealAt: d.cfg.SealAt, UrgentTo: inlineMost, Began: f.began, Cut: f.startFlush, Halted: f.halted,
	})
	return f
}

// TryRead answers from memory.
func (f *file) TryRead(r *ovs.Read) bool { return f.tail.TryRead(r) }

// Read completes r.
func (f *file) Read(r *ovs.Read) { f.tail.Read(r) }

// Write refuses what would make the file a volume: the router turns it into one before.
func (f *file) Write(w *ovs.Write) {
	if w.Off > fileMost || uint64(len(w.Data)) > fileMost-w.Off {
		w.Err = ovs.E("filedriver.Write", ovs.KindTooBig, f.claim.Ref, nil)
		w.Done(w)
		return
	}
	f.start()
	f.tail.Write(w)
}

// Commit completes c when all before it is durable.
func (f *file) Commit(c *ovs.Commit) { f.tail.Commit(c) }

// Resize sets the size, up to 256 MiB.
func (f *file) Resize(ctx context.Context, size uint64) error {
	if size > fileMost {
		return ovs.E("filedriver.Resize", ovs.KindTooBig, f.claim.Ref, nil)
	}
	f.start()
	return f.tail.Resize(ctx, size)
}

// Live is the tail's size and time; the space is what stands in the version and in the log, at most what the size takes.
func (f *file) Live() ovs.Live {
	l := f.tail.Live()
	l.Halted = f.tail.Err()
	l.Used = min(l.Used+f.cur.Load().used(), (l.Size+ovs.ClusterSize-1)&^(ovs.ClusterSize-1))
	return l
}

// Flush brings everything acknowledged so far to the backend or the head.
func (f *file) Flush(ctx context.Context) error {
	const op = "filedriver.Flush"
	f.start()
	f.tail.Seal()
	done := make(chan error, 1)
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return ovs.E(op, ovs.KindFenced, f.claim.Ref, nil)
	}
	f.waiters = append(f.waiters, done)
	f.mu.Unlock()
	f.startFlush()
	select {
	case err := <-done:
		if err != nil {
			return ovs.E(op, ovs.KindUnknown, f.claim.Ref, err)
		}
		return nil
	case <-f.ctx.Done():
		return ovs.E(op, ovs.KindFenced, f.claim.Ref, nil)
	case <-ctx.Done():
		return ovs.E(op, ovs.KindTimeout, f.claim.Ref, ctx.Err())
	}
}

// Rest flushes, then ends the file's epoch if nothing came meanwhile. The head stands already: no update is needed.
func (f *file) Rest(ctx context.Context, shut func() error) ([]ovs.Update, error) {
	const op = "filedriver.Rest"
	if err := f.Flush(ctx); err != nil {
		return nil, err
	}
	if err := shut(); err != nil {
		return nil, ovs.E(op, ovs.KindUnknown, f.claim.Ref, err)
	}
	if !f.tail.Freeze() {
		return nil, ovs.E(op, ovs.KindBusy, f.claim.Ref, nil)
	}
	return nil, nil
}

// layerTimeout bounds a Layer: a chunk may have to be put.
const layerTimeout = time.Minute

// Layer gives the file's chunks to the volume that it becomes. Content that lives in the head is put as a chunk first.
func (f *file) Layer() (ovs.Layer, error) {
	const op = "filedriver.Layer"
	v, id := f.cur.Load(), f.claim.Object
	l := ovs.Layer{Namespace: f.d.namespace, Piece: chunkSize, Size: v.head.size, Last: v.head.complete, Time: v.head.time}
	table := v.table
	if !v.head.hasTable && len(v.head.inline) > 0 {
		c := chunk{f.claim.Epoch, v.head.complete}
		name := c.of(id, 0)
		ctx, cancel := context.WithTimeout(f.ctx, layerTimeout)
		defer cancel()
		if err := f.put(ctx, name.Name(), encodeChunk(v.head.inline, name)); err != nil {
			return l, ovs.E(op, ovs.KindUnknown, f.claim.Ref, err)
		}
		table = []chunk{c}
	}
	for i, c := range table {
		name := ""
		if c != (chunk{}) {
			name = c.of(id, i).Name()
		}
		l.Names = append(l.Names, name)
	}
	return l, nil
}

// Close ends it; what is in the log stays there.
func (f *file) Close() {
	f.mu.Lock()
	f.closed = true
	if f.aged != nil {
		f.aged.Stop()
	}
	f.mu.Unlock()
	f.stop()
	f.tail.Close()
	f.ended.Wait()
}

// start runs once, when the first change or flush shows that the file serves: what a start brought back from the log ages
// from now on, and is flushed where it was cut.
func (f *file) start() {
	if f.started.Load() || f.started.Swap(true) {
		return
	}
	f.tail.Release()
	if _, rest := f.tail.Last(); !rest {
		f.began()
		f.startFlush()
	}
}

// began starts the clock of an interval: it is flushed after MaxAge at the latest.
func (f *file) began() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if f.aged == nil {
		f.aged = time.AfterFunc(f.d.cfg.MaxAge, f.tail.Seal)
		return
	}
	f.aged.Reset(f.d.cfg.MaxAge)
}
