package dtl

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/bufpool"
	"ovs/internal/vfs"
)

// Config says where a log stands and how large it is. The zero value of a size is its default.
type Config struct {
	FS          vfs.FS
	Dir         string
	Size        int64                  // bytes of all segments; default 4 GiB. An existing log never shrinks.
	SegmentSize int64                  // bytes of one, a multiple of 4 KiB from 64 KiB to 1 GiB; default 64 MiB. Fixed at the first Open.
	Memory      int64                  // bytes of batches kept in memory; default 64 MiB
	Shares      map[ovs.PoolID]float64 // of the log, above 0 to 1, that a vPool may fill; 1 for those not in it
	Relieve     func(ovs.Ref)          // asks an owner to move an object's data to the backend and Release it; must not block
	Full        func() bool            // the backend takes nothing more for now; must not block. nil: never
	KeepFree    uint64                 // bytes that growing leaves free on the file system
	Rand        io.Reader              // the identity of a new log comes from it
	Log         *zap.Logger            // nil: silent

	bugs bugs
}

// bugs are mistakes that a test plants, to see that its proof notices them.
type bugs struct {
	ignoreGeneration bool // checksums do not begin from the generation
	noHeaderFlush    bool // batches follow a segment's header that is not flushed
	ignoreMarks      bool // a bad tail is torn, whatever later batches say
}

// Limits and defaults of Config, in bytes.
const (
	DefaultSize    = 4 << 30
	DefaultSegment = 64 << 20
	DefaultMemory  = 64 << 20
	MinSegment     = 64 << 10
	MaxSegment     = 1 << 30
	minSegments    = 4
)

// Log is the write log of a node on one disk.
type Log struct {
	cfg   Config
	zap   *zap.Logger
	lock  io.Closer
	super vfs.File
	id    uint64
	start uint64

	size       int64 // of a segment, in bytes
	recordMost int   // bytes of data in the largest record
	frameMost  int   // bytes of a batch of that record alone
	usable     int64 // certain room of an empty segment
	slotsMost  int   // how many segments there may be
	dirtyMost  int64

	reads   *bufpool.Pool
	latency atomic.Int64 // nanoseconds of the last flush

	flusher, completer, preparer chan struct{} // wake them
	flusherGone                  chan struct{}
	quit                         chan struct{} // ends the preparer
	work                         sync.WaitGroup

	index  []byte              // the preparer's: the last index that it wrote
	views  sync.RWMutex        // inside mu; guards memory's stretches and byGen
	byGen  map[uint32]*segment // all lives
	memory *slabs

	mu       sync.Mutex // guards all below
	gen      uint32     // the last one given
	slots    []*slot    // free
	all      []*slot    // free or not
	slotNext int        // the number of the next file
	cramped  bool       // no other can be made for now
	total    int64      // usable of all segments, those still to be made included
	open     *segment
	next     *segment   // prepared ahead
	live     []*segment // open and those before it, by generation
	unready  []*segment // the preparer is to write their headers
	toSeal   []*segment
	spare    [][]byte // memory for frames

	head, tail *batch // the queue of batches; tail is open to appends
	writing    *batch
	idle       *batch // batch structs not in use
	resting    bool   // the flusher sleeps
	flushed    place  // all before it is flushed
	due        due
	stats      Stats

	objects  map[ovs.Ref]*object
	pools    map[ovs.PoolID]*pool
	waiting  []*object // for room
	hungry   bool      // the log as a whole has no room for the first of them
	reserved int64     // bytes promised by Admit
	dirty    int64     // bytes of batches not yet flushed
	asked    time.Time // when Relieve was last called

	damage  map[ovs.Ref]ovs.RecordNo // the highest record that is known to be damaged
	doubted uint32                   // the last generation in which something was lost, and nobody knows whose; 0: none

	failed  error
	closing bool // nothing is accepted any more; the flusher ends when nothing is left
	marked  bool // the closing mark was made, or there is nothing to mark
	ending  bool // the completer ends when nothing is left
	ended   bool // it has
}

var errClosed = ovs.E("dtl.Append", ovs.KindClosed, nil, nil)

// refused is why nothing is accepted any more. mu is held.
func (l *Log) refused() error {
	if l.failed == nil && l.closing {
		return errClosed
	}
	return l.failed
}

// Identity is the log's own random number, and how often it was opened.
func (l *Log) Identity() (id, start uint64) { return l.id, l.start }

// MaxRecord is the bytes of data in the largest record that fits: ovs.MaxIO, less where segments are small.
func (l *Log) MaxRecord() int { return l.recordMost }

// Stats are the log's figures for metrics.
type Stats struct {
	Size, Used   int64  // bytes of room, and how much of it is taken
	Flushes      uint64 // since the start, as are the next four
	Replayed     uint64 // records
	Records      uint64
	Written      uint64 // bytes
	Padding      uint64 // of these, bytes that only fill blocks
	FlushLatency int64  // nanoseconds of the last flush
	Objects      int    // that hold anything
	Waiting      int    // objects that wait for room
}

// Stats gives the figures of this moment.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Size, s.Used = l.total, l.total-l.free()
	s.FlushLatency = l.latency.Load()
	s.Objects, s.Waiting = len(l.objects), len(l.waiting)
	return s
}

// Close flushes everything, makes all callbacks, and gives the directory up. Later records are Done with KindClosed; whoever
// waits for room is told so. No ReadAt or Replay may be under way.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return nil
	}
	l.closing = true
	wake(l.flusher)
	wake(l.completer)
	l.mu.Unlock()
	<-l.flusherGone
	close(l.quit)
	l.mu.Lock()
	l.ending = true
	err := l.failed
	wake(l.completer)
	l.mu.Unlock()
	l.work.Wait()
	if e := l.letGo(); e != nil {
		err = errors.Join(err, ovs.E("dtl.Close", ovs.KindIO, l.cfg.Dir, e))
	}
	return err
}

// letGo closes what Open opened.
func (l *Log) letGo() error {
	var errs []error
	for _, s := range l.all {
		errs = append(errs, s.file.Close())
	}
	if l.super != nil {
		errs = append(errs, l.super.Close())
	}
	if l.memory != nil {
		errs = append(errs, l.closeMemory())
	}
	if l.reads != nil {
		errs = append(errs, l.reads.Close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}

// configure checks cfg and sets what follows from it.
func (l *Log) configure() error {
	const op = "dtl.Open"
	c := &l.cfg
	bad := func(format string, args ...any) error {
		return ovs.E(op, ovs.KindInvalid, c.Dir, fmt.Errorf(format, args...))
	}
	if c.Size == 0 {
		c.Size = DefaultSize
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = DefaultSegment
	}
	if c.Memory == 0 {
		c.Memory = DefaultMemory
	}
	if l.zap = c.Log; l.zap == nil {
		l.zap = zap.NewNop()
	}
	if c.SegmentSize < MinSegment || c.SegmentSize > MaxSegment || c.SegmentSize%block != 0 {
		return bad("segments of %d bytes", c.SegmentSize)
	}
	for p, s := range c.Shares {
		if !(s > 0 && s <= 1) {
			return bad("vPool %x has a share of %v", uint64(p), s)
		}
	}
	return nil
}

// measure sets the sizes that follow from the segment's.
func (l *Log) measure(size int64) error {
	l.size = size
	l.recordMost = min(ovs.MaxIO, int(size/4))
	l.frameMost = int(charge(l.recordMost)) - frameSize
	l.slotsMost = max(minSegments, int(l.cfg.Size/size))
	l.usable = l.left(&segment{end: block})
	l.reckon()
	var err error
	if l.memory, err = newSlabs(l.cfg.Memory, l.frameMost, int(size)); err != nil {
		return err
	}
	l.dirtyMost = l.memory.dirtyMost()
	l.reads, err = bufpool.New(readBuffer, readBuffers*readBuffer)
	return err
}

// reckon sets how much room there is in all. What cannot be made for now does not count: shares, delay and what is kept for
// urgent records are parts of what is there. mu is held.
func (l *Log) reckon() {
	n := l.slotsMost
	if l.cramped {
		n = len(l.all)
	}
	l.total = int64(n) * l.usable
}
