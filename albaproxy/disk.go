package albaproxy

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/albaproxy/asd"
)

// disk is an ASD in use, with what this process has lately seen of it. Its Get, Delete and List return in time, also
// where the ASD hangs; for Put, whose fragment is lent, that is the caller's work (write).
type disk struct {
	asd.ASD
	id      uint64
	node    ovs.NodeID
	running *sync.WaitGroup // for calls that outlast their callers
	behind  atomic.Int64    // those of them that hang

	mu      sync.Mutex // guards below
	usage   asd.Usage
	asked   time.Time     // when usage was read
	until   time.Time     // no Puts before
	late    int           // Puts that their callers no longer wait for, still under way
	backoff time.Duration // the last pause
	why     ovs.Kind      // of the failure that began it
}

// A disk whose Put failed gets none for a second, after each further failure for half as long again, up to a minute. A full
// one is asked again each second: that costs nothing, and room may come at any time.
const (
	minBackoff = time.Second
	maxBackoff = time.Minute
	usageAge   = time.Second
)

const (
	patience = 2 * time.Second // how long a read waits for a disk before it turns to others
	callTime = time.Minute     // bounds a call of the maintenance
)

var errHangs = errors.New("the ASD hangs: the call is left behind")

// ask makes a call on the ASD in a goroutine of its own, and leaves it behind when ctx ends or the time is up: a call that
// hangs in the kernel knows no context. What was lent to a call that ends in KindTimeout is not to be used again. A disk
// that hangs is asked only where there is no limit (0): by who has no other disk left.
func ask[T any](ctx context.Context, d *disk, limit time.Duration, call func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if limit > 0 && d.behind.Load() > 0 {
		return none, ovs.E("albaproxy.disk", ovs.KindTimeout, d.id, errHangs)
	}
	answers, began := make(chan answer, 1), time.Now()
	d.running.Go(func() {
		v, err := call()
		answers <- answer{v, err}
	})
	var late <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case a := <-answers:
		return a.value, a.err
	case <-late:
	case <-ctx.Done():
	}
	if time.Since(began) >= patience { // else the caller only went early
		d.behind.Add(1)
		d.running.Go(func() {
			<-answers
			d.behind.Add(-1)
		})
	}
	return none, ovs.E("albaproxy.disk", ovs.KindTimeout, d.id, errHangs)
}

// get asks for a part of a fragment. dst is lent until the call ends; see ask.
func (d *disk) get(ctx context.Context, limit time.Duration, k asd.Key, off uint64, dst []byte) (int, error) {
	return ask(ctx, d, limit, func() (int, error) { return d.ASD.Get(ctx, k, off, dst) })
}

// Get implements asd.ASD.
func (d *disk) Get(ctx context.Context, k asd.Key, off uint64, dst []byte) (int, error) {
	return d.get(ctx, callTime, k, off, dst)
}

// Delete implements asd.ASD.
func (d *disk) Delete(ctx context.Context, keys ...asd.Key) error {
	_, err := ask(ctx, d, callTime, func() (struct{}, error) { return struct{}{}, d.ASD.Delete(ctx, keys...) })
	return err
}

// List implements asd.ASD.
func (d *disk) List(ctx context.Context, from, to asd.Key, limit int) ([]asd.Key, error) {
	return ask(ctx, d, callTime, func() ([]asd.Key, error) { return d.ASD.List(ctx, from, to, limit) })
}

// failed notes a Put that the disk could not do.
func (d *disk) failed(log *zap.Logger, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	full := ovs.Is(err, ovs.KindNoSpace)
	if full && d.why == ovs.KindNoSpace && d.backoff > 0 { // said already
		d.until = time.Now().Add(minBackoff)
		return
	}
	d.backoff = min(max(minBackoff, d.backoff*3/2), maxBackoff)
	if full {
		d.backoff = minBackoff
	}
	d.until, d.why = time.Now().Add(d.backoff), ovs.KindOf(err)
	log.Warn("ASD takes no fragments for a while", zap.Uint64("asd", d.id), zap.Duration("pause", d.backoff), zap.Error(err))
}

// lag counts Puts, by n more or less, that nobody waits for any longer.
func (d *disk) lag(n int) {
	d.mu.Lock()
	d.late += n
	d.mu.Unlock()
}

func (d *disk) worked() {
	d.mu.Lock()
	d.backoff = 0
	d.mu.Unlock()
}

// free gives the disk's free bytes, at most a second old, and false where it may not be written to now, with the reason.
func (d *disk) free(ctx context.Context, repair bool) (uint64, ovs.Kind, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.late > 0 || d.behind.Load() > 0 { // what it was given stays in memory until it answers
		return 0, ovs.KindTimeout, false
	}
	now := time.Now()
	if now.Before(d.until) && !(repair && d.why == ovs.KindNoSpace) {
		return 0, d.why, false
	}
	if d.asked.IsZero() || now.Sub(d.asked) > usageAge {
		u, err := d.Usage(ctx)
		if err != nil {
			return 0, ovs.KindOf(err), false
		}
		d.usage, d.asked = u, now
	}
	if d.usage.Free == 0 && !repair {
		return 0, ovs.KindNoSpace, false
	}
	return d.usage.Free, ovs.KindUnknown, true
}
