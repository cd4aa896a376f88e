package volumedriver

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/tail"
)

// volume is one virtual disk, served by its owner. It is an ovs.Object.
//
// Locks: tail has its own, m.mu guards the map, flush.mu the flusher's state, ahead.mu the read-ahead. None is held over
// I/O or over a call of another part that takes one, but that flush.commit applies to the map and drops from the tail.
type volume struct {
	d       *Driver
	claim   ovs.Claim
	ns      string
	lineage lineage     // closed epochs; what is past them is this epoch's. Set before it serves.
	layers  [256]*layer // the layer table. Set before it serves.
	tail    *tail.Tail
	m       volumeMap
	reads   *tail.Pool
	ahead   readAhead
	flush   flusher
	zap     *zap.Logger
	started atomic.Bool // something was asked of it: so it serves, and the epochs before are closed
	ctx     context.Context
	stop    context.CancelFunc
}

var _ ovs.Object = (*volume)(nil)

// state is how far the backend has come with a volume: a prefix of its SCOs that ends where an interval does.
type state struct {
	SCO    ovs.SCONo
	Record ovs.RecordNo
	Size   uint64
	Time   int64
}

func (d *Driver) newVolume(c ovs.Claim) *volume {
	v := &volume{d: d, claim: c, ns: namespace(c.Ref), reads: d.reads, zap: d.cfg.Zap.With(zap.Stringer("volume", c.Ref))}
	v.ctx, v.stop = context.WithCancel(d.ctx)
	v.m.budget, v.m.fetch, v.m.stretches = d.cfg.Budget, v.fetchSegment, map[uint32]*stretch{}
	v.flush.progress = make(chan struct{})
	v.flush.gate = make(chan struct{}, 1)
	v.flush.slots = make(chan struct{}, putsPerVolume)
	return v
}

// serve gives the volume its tail, when the backend's part of it is known.
func (v *volume) serve(s state) {
	v.flush.stands, v.flush.nextSCO = s, s.SCO+1
	v.flush.firstPending = s.SCO + 1
	v.tail = tail.New(tail.Config{Ref: v.claim.Ref, Epoch: v.claim.Epoch, Log: v.d.cfg.Log, Below: v, Pool: v.d.reads, Now: v.d.cfg.Now,
		Last: s.Record, Size: s.Size, Time: s.Time, SealAt: uint64(v.d.clusters) * ovs.ClusterSize,
		Began: v.began, Cut: v.kick, Halted: v.halted})
}

// TryRead implements ovs.Object.
func (v *volume) TryRead(r *ovs.Read) bool { return v.tail.TryRead(r) }

// Read implements ovs.Object.
func (v *volume) Read(r *ovs.Read) { v.tail.Read(r) }

// Write implements ovs.Object.
func (v *volume) Write(w *ovs.Write) {
	v.start()
	v.tail.Write(w)
}

// Commit implements ovs.Object.
func (v *volume) Commit(c *ovs.Commit) { v.tail.Commit(c) }

// Resize implements ovs.Object.
func (v *volume) Resize(ctx context.Context, size uint64) error {
	v.start()
	return v.tail.Resize(ctx, size)
}

// Live implements ovs.Object.
func (v *volume) Live() ovs.Live {
	l := v.tail.Live()
	l.Halted = v.tail.Err()
	l.Used += uint64(max(v.m.mapped.Load(), 0)) * ovs.ClusterSize
	l.Used = min(l.Used, (l.Size+ovs.ClusterSize-1)/ovs.ClusterSize*ovs.ClusterSize) // overwrites in the log count once
	return l
}

// Layer implements ovs.Object: volumes stay what they are.
func (v *volume) Layer() (ovs.Layer, error) {
	return ovs.Layer{}, ovs.E("volumedriver.Layer", ovs.KindNotSupported, v.claim.Ref, nil)
}

// Close implements ovs.Object.
func (v *volume) Close() {
	v.tail.Close()
	v.stop()
	v.flush.end()
	v.m.close()
}

// start runs once, when the first change or flush shows that the volume serves: what an earlier epoch left is seen to.
func (v *volume) start() {
	if v.started.Load() || v.started.Swap(true) {
		return
	}
	v.tail.Release()
	if _, rest := v.tail.Last(); !rest {
		v.began()
	}
	v.kick()
}

// halted is told once when the volume takes no more writes. Live says so from then on.
func (v *volume) halted(err error) {
	v.zap.Error("volume halted: it takes no more writes until the next start; what is durable is still read", zap.Error(err))
	v.flush.moved()
}

// began starts the clock of an interval.
func (v *volume) began() {
	f := &v.flush
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ended:
	case f.timer == nil:
		f.timer = time.AfterFunc(v.d.cfg.MaxAge, v.tail.Seal)
	default:
		f.timer.Reset(v.d.cfg.MaxAge)
	}
}

// flusher is what brings a volume's intervals to the backend: one goroutine while there are any, and one for each PUT.
type flusher struct {
	gate       chan struct{} // held by the goroutine, or by Rest
	slots      chan struct{} // PUTs under way
	namespace  atomic.Bool   // there is one
	committing sync.Mutex    // held by who moves stands; mu is taken inside

	mu       sync.Mutex // guards all below
	ended    bool
	running  bool // the goroutine is under way
	again    bool // something came that it may not have seen
	timer    *time.Timer
	progress chan struct{} // closed and made anew when stands moved, or the volume halted
	stands   state
	jobs     []*job // SCOs being put, in their order
	wg       sync.WaitGroup

	// Those below belong to the holder of gate.
	opened       state // where this epoch began: SCO and Record of the one before
	nextSCO      ovs.SCONo
	raw          []byte // the head as it stands in Raft
	head         head   // the same
	layers       []layerRef
	live         uint32    // length of the counts that go with the root; 0: it has none
	cleared      bool      // the SCOs that are dead by these counts were deleted
	tlogs        []string  // names of the TLogs since the root
	logged       int64     // their bytes
	firstPending ovs.SCONo // the first SCO that is in no TLog
	garbage      []string  // objects that nothing reaches
	swept        bool      // leftovers of earlier epochs have been looked for
}
