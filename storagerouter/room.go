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
)

// watchRoom asks the backend twice a second whether it is full, until the core closes.
func (c *Core) watchRoom() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	c.lookForRoom(ctx)
	go func() {
		defer close(done)
		tick := time.NewTicker(roomEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				c.lookForRoom(ctx)
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
