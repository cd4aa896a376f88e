package storagerouter

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/framework"
	"ovs/internal/vfs"
)

// lossKey is the record of a log whose loss an operator accepted, under its identity.
func (c *Core) lossKey(id string) []byte {
	return fmt.Appendf(nil, "lost-log/%016x/%s", uint64(c.node), id)
}

// acceptLoss puts aside what stands in the lost log's place, so that a new log begins; wrong is why it is no source. The
// word counts for the log that it names only, and not for one that is there.
func (c *Core) acceptLoss(ctx context.Context, fsys vfs.FS, dir string, known []byte, wrong error) error {
	const op = "storagerouter.acceptLoss"
	word := c.cfg.AcceptLogLoss
	if _, err := c.config.Get(ctx, c.lossKey(word)); err == nil && wrong == nil {
		c.zap.Warn("the loss of this log was accepted before: --accept-log-loss can go", zap.String("log", word))
		return nil
	} else if err != nil && !ovs.Is(err, ovs.KindNotFound) {
		return ovs.E(op, ovs.KindUnknown, word, err)
	}
	switch {
	case known == nil:
		return ovs.E(op, ovs.KindInvalid, word, errors.New("this node has left no write log: start without --accept-log-loss"))
	case wrong == nil:
		return ovs.E(op, ovs.KindInvalid, word, errors.New("the write log that this node left is there, nothing is lost: start without --accept-log-loss"))
	case word != identity(known):
		return ovs.E(op, ovs.KindInvalid, word, fmt.Errorf("the log that is lost is %s, not that one: %w", identity(known), wrong))
	}
	aside := ""
	if _, err := fsys.Stat(dir); err == nil {
		if aside, err = putAside(fsys, dir, word); err != nil {
			return ovs.E(op, ovs.KindIO, dir, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return ovs.E(op, ovs.KindIO, dir, err)
	}
	c.lost = &framework.LogLoss{Log: word, Start: binary.BigEndian.Uint64(known[8:]), At: time.Now().UTC().Format(time.RFC3339), Aside: aside}
	c.zap.Warn("the loss of the write log is accepted: its objects come back as the backend holds them, named one by one below",
		zap.String("log", word), zap.String("what stood in its place", aside))
	return nil
}

// putAside renames a directory durably and gives its new name.
func putAside(fsys vfs.FS, dir, word string) (string, error) {
	for n := 1; ; n++ {
		to := dir + ".lost-" + word + "." + strconv.Itoa(n)
		if _, err := fsys.Stat(to); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err := fsys.Rename(dir, to); err != nil {
			return "", err
		}
		return to, fsys.SyncDir(path.Dir(dir))
	}
}

// recordLoss is the record's update.
func (c *Core) recordLoss() ovs.Update {
	text, _ := json.Marshal(c.lost) // strings and numbers: it cannot fail
	c.reporting.Store(true)
	return ovs.Set(c.lossKey(c.lost.Log), text)
}

// readLosses lists the logs whose loss was accepted, for ovs status.
func (c *Core) readLosses(ctx context.Context) error {
	return ovs.Scan(ctx, c.config, c.lossKey(""), func(p ovs.Pair) error {
		var l framework.LogLoss
		if err := json.Unmarshal(p.Value, &l); err != nil {
			return ovs.E("storagerouter.readLosses", ovs.KindCorrupt, string(p.Key), err)
		}
		c.losses = append(c.losses, l)
		return nil
	})
}

// afterLoss is the write log of a start that accepted the loss of the one before it: it sees what each driver asks for that
// brings an object back.
type afterLoss struct {
	ovs.Log
	asked func(r ovs.Ref, after ovs.RecordNo)
}

// Replay implements ovs.Log.
func (l afterLoss) Replay(r ovs.Ref, after ovs.RecordNo, f func(*ovs.Record) error) error {
	l.asked(r, after)
	return l.Log.Replay(r, after, f)
}

// sayWhatStands reports an object that comes back without its log, until the start is over.
func (c *Core) sayWhatStands(r ovs.Ref, upTo ovs.RecordNo) {
	if c.reporting.Load() {
		c.zap.Warn("an object comes back as the backend holds it: what was written to it later is lost", zap.Stringer("object", r),
			zap.Uint64("fileid", uint64(r.Object)), zap.Uint64("up to its record", uint64(upTo)))
	}
}

// endReport ends the reports once no object has been waiting to come back for so many looks.
func (c *Core) endReport(looks int) {
	pools := c.relieve.Load()
	if pools == nil || !c.reporting.Load() {
		return
	}
	for _, p := range *pools {
		if p.router.Recovering() > 0 {
			c.quiet = 0
			return
		}
	}
	if c.quiet++; c.quiet >= looks {
		c.reporting.Store(false)
	}
}
