package objectrouter

import (
	"context"
	"sync"
	"time"

	"ovs"
)

// usageCache keeps the backend's figures for a second, and answers with the old ones while new ones are fetched.
type usageCache struct {
	mu       sync.Mutex // guards all below
	known    bool
	fetching bool
	at       int64 // nanoseconds since 1970
	usage    ovs.Usage
}

const (
	usageAge   = int64(time.Second)
	usageLimit = 2 * time.Second // how long the first STAT waits for the backend
	maxFiles   = 1 << 40         // inode numbers that FSSTAT speaks of; there are more
)

// Stat gives the space of the vPool's backend and the files that can still be made.
func (r *Router) Stat(q *ovs.Request) (s ovs.FSStat, err error) {
	ctx, cancel := q.Context()
	defer cancel()
	u, err := r.space(ctx)
	if err != nil {
		return s, wrap("objectrouter.Stat", err)
	}
	free := maxFiles - min(r.ids.high.Load(), maxFiles)
	return ovs.FSStat{
		TotalBytes: u.Total, FreeBytes: u.Free, AvailBytes: u.Free,
		TotalFiles: maxFiles, FreeFiles: free, AvailFiles: free,
	}, nil
}

func (r *Router) space(ctx context.Context) (ovs.Usage, error) {
	c := &r.usage
	c.mu.Lock()
	usage, known := c.usage, c.known
	fresh := known && r.cfg.Now()-c.at < usageAge
	fetch := !fresh && !c.fetching && !r.closed.Load()
	if known && fetch {
		c.fetching = true
		r.wg.Add(1)
	}
	c.mu.Unlock()
	switch {
	case known && fetch:
		go func() {
			defer r.wg.Done()
			r.fetchUsage(r.ctx)
		}()
		return usage, nil
	case known:
		return usage, nil
	}
	return r.fetchUsage(ctx)
}

func (r *Router) fetchUsage(ctx context.Context) (ovs.Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, usageLimit)
	defer cancel()
	u, err := r.cfg.Backend.Usage(ctx)
	c := &r.usage
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fetching = false
	if err == nil {
		c.known, c.at, c.usage = true, r.cfg.Now(), u
	}
	return u, err
}
