package storagerouter

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// All parts of a node may share one disk. When it fills up they stop one after the other, so that each is left what it needs
// to give room back:
//
//	free   asdKeep + 5 %   ASDs take no fragments but repair's; the log is half full after a while: NFS3ERR_NOSPC
//	       asdKeep         not even repair's
//	       logKeep         the write log makes no new segment
//	       minFree         Raft takes what replaces and deletes, nothing new
//	       0               a stranger filled it; Raft gives up its ballast and goes on deleting
const (
	minFree = 256 << 20
	logKeep = minFree + 32<<20
	asdKeep = minFree + 64<<20
)

// The backend is full when it has room for fewer user bytes than fullBelow, and no longer full from roomFrom on.
const (
	fullBelow = 16 << 20
	roomFrom  = 32 << 20
)

const (
	roomEvery   = 500 * time.Millisecond
	reportLooks = int(time.Minute / roomEvery)
	healthLooks = 4               // every so many looks for room the backend's disks and queues are looked at
	lookWithin  = 2 * time.Second // for the registry to answer such a look
)

// watchRoom asks the backend twice a second whether it is full, and every two seconds how its disks and queues are, until
// the core closes.
func (c *Core) watchRoom() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	c.lookForRoom(ctx)
	go func() {
		defer close(done)
		tick := time.NewTicker(roomEvery)
		defer tick.Stop()
		for looks := 1; ; looks++ {
			select {
			case <-tick.C:
				c.lookForRoom(ctx)
				if looks%healthLooks == 0 {
					c.lookAtBackend(ctx)
				}
				c.endReport(reportLooks)
			case <-ctx.Done():
				return
			}
		}
	}()
	c.closers.add("room", func(context.Context) error {
		cancel()
		<-done
		return nil
	})
}

func (c *Core) lookForRoom(ctx context.Context) {
	u, err := c.backend.Usage(ctx)
	if err != nil {
		return // the disks' errors come out where they are used
	}
	was := c.full.Load()
	full := u.Free < fullBelow || was && u.Free < roomFrom
	if full == was {
		return
	}
	c.full.Store(full)
	if full {
		c.zap.Warn("the backend is full: writes are refused once the log is half full; reads and deletions go on", zap.Uint64("free MiB", u.Free>>20))
	} else {
		c.zap.Info("the backend has room again", zap.Uint64("free MiB", u.Free>>20))
	}
}

// lookAtBackend keeps what the backend says of its disks and queues. Status, /healthz and /metrics show the last look: they
// are asked by anybody, and a look costs reads of the registry.
func (c *Core) lookAtBackend(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	h, err := c.backend.Health(within)
	if h.InUse == 0 {
		return // the backend is closed
	}
	if err != nil {
		h.Queued = c.health.Load().Queued // the disks were asked; the queues did not answer
	}
	c.health.Store(&h)
	if h.Pausing > 0 {
		c.paused.Add(1)
	} else {
		c.paused.Store(0)
	}
}
