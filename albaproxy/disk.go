package albaproxy

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/albaproxy/asd"
)

// disk is an ASD in use, with what this process has lately seen of it.
type disk struct {
	asd.ASD
	id   uint64
	node ovs.NodeID

	mu      sync.Mutex // guards below
	usage   asd.Usage
	asked   time.Time     // when usage was read
	until   time.Time     // no Puts before
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

func (d *disk) worked() {
	d.mu.Lock()
	d.backoff = 0
	d.mu.Unlock()
}

// free gives the disk's free bytes, at most a second old, and false where it may not be written to now, with the reason.
func (d *disk) free(ctx context.Context, repair bool) (uint64, ovs.Kind, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
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
