package storagerouter

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"ovs"
	"ovs/dtl"
	"ovs/internal/vfs"
)

// logKey is the write log's record in the config group: its identity and start number.
func (c *Core) logKey() []byte { return fmt.Appendf(nil, "log/%016x/0", uint64(c.node)) }

// identity is how an operator writes the log of a record in the config group.
func identity(known []byte) string { return fmt.Sprintf("%016x", binary.BigEndian.Uint64(known)) }

// checkLog refuses a write log that is not the one that this node left, before anything is changed. Its identity and start
// number stand in its superblock and in the config group; the superblock goes first, so an honest log is never behind the
// group. One that is missing, foreign or older lost acknowledged writes: nothing is served from it, and it is not touched,
// unless the operator names the lost log's identity (acceptLoss). It returns the group's record, nil at the first start.
func (c *Core) checkLog(ctx context.Context, fsys vfs.FS, dir string) (known []byte, err error) {
	const op = "storagerouter.openLog"
	known, err = c.config.Get(ctx, c.logKey())
	switch {
	case ovs.Is(err, ovs.KindNotFound):
		known, err = nil, nil
	case err != nil:
		return nil, ovs.E(op, ovs.KindUnknown, dir, err)
	case len(known) != 16:
		return nil, ovs.E(op, ovs.KindCorrupt, dir, errors.New("its record in the config group is not 16 bytes"))
	default:
		err = sameLog(fsys, dir, known)
		if ovs.Is(err, ovs.KindNotSupported) {
			return nil, ovs.E(op, ovs.KindNotSupported, dir, err)
		}
		if err != nil && c.cfg.AcceptLogLoss == "" {
			return nil, ovs.E(op, ovs.KindCorrupt, dir, fmt.Errorf("%w; if they are gone for good, --accept-log-loss %s serves what the backend holds: "+
				"all writes that were in that log only are lost then", err, identity(known)))
		}
	}
	if c.cfg.AcceptLogLoss != "" {
		err = c.acceptLoss(ctx, fsys, dir, known, err)
	}
	return known, err
}

func sameLog(fsys vfs.FS, dir string, known []byte) error {
	wantID, wantStart := binary.BigEndian.Uint64(known), binary.BigEndian.Uint64(known[8:])
	id, start, err := dtl.Peek(fsys, dir)
	switch {
	case ovs.Is(err, ovs.KindNotSupported):
		return fmt.Errorf("a newer version wrote this write log: run that one; nothing was touched: %w", err)
	case err != nil:
		return fmt.Errorf("the write log that this node left is missing or damaged (%w): nothing was touched; put its files back", err)
	case id != wantID:
		return fmt.Errorf("this is not the write log that this node left (%016x, not %016x): nothing was touched; put the right files back", id, wantID)
	case start < wantStart:
		return fmt.Errorf("this write log is an older copy of the one that this node left (start %d, not %d): nothing was touched; put the newest files back", start, wantStart)
	}
	return nil
}

// openLog opens the write log and tells the config group of its new start, and of the loss of the one before in the same
// sequence.
func (c *Core) openLog(ctx context.Context, fsys vfs.FS, dir string, known []byte) (err error) {
	const op = "storagerouter.openLog"
	c.wlog, err = dtl.Open(dtl.Config{
		FS: fsys, Dir: dir, Size: int64(c.cfg.LogSize), SegmentSize: int64(c.cfg.LogSegment),
		Relieve: c.askForRoom, Full: c.full.Load, KeepFree: logKeep, Rand: rand.Reader, Log: c.zap,
	})
	if err != nil {
		return ovs.E(op, ovs.KindUnknown, dir, err)
	}
	c.closers.add("write log", func(context.Context) error { return c.wlog.Close() })
	c.log = c.wlog
	id, start := c.wlog.Identity()
	now := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, id), start)
	u := []ovs.Update{ovs.TestAndSet(c.logKey(), known, now)}
	if c.lost != nil {
		u = append(u, c.recordLoss())
		c.log = afterLoss{c.wlog, c.sayWhatStands}
	}
	if _, err := c.config.Sequence(ctx, u...); err != nil {
		return ovs.E(op, ovs.KindUnknown, dir, err)
	}
	return c.readLosses(ctx)
}
