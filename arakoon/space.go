package arakoon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"go.uber.org/zap"

	"ovs"
)

// The guard keeps a disk that fills up from making Dragonboat panic:
//
//	free   MinFree    what adds keys is refused; what replaces, counts or deletes goes on
//	       low        the ballast is given up for these
//	       low / 2    nothing is taken any more
const (
	spaceInterval = time.Second           // how often the guard looks at the disk
	spaceAge      = 50 * time.Millisecond // how old its view may be when a sequence comes
	low           = 16 << 20
	ballastSize   = 64 << 20
	smallValue    = 4 << 10 // a value may become longer by so much and still count as replaced
)

// watchSpace looks at the free space until the node closes.
func (n *Node) watchSpace() {
	ticker := time.NewTicker(spaceInterval)
	defer ticker.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
			n.look()
			n.keepBallast()
		}
	}
}

// look decides whether growing sequences are refused. A disk that cannot tell is taken for a good one: its errors come out
// elsewhere.
func (n *Node) look() {
	n.looked.Store(time.Since(n.began).Nanoseconds())
	_, free, err := n.cfg.FS.Space(n.cfg.Dir)
	full := err == nil && free < n.cfg.MinFree
	if n.full.Swap(full) != full {
		if full {
			n.log.Warn("disk nearly full: nothing new is taken, only what replaces or deletes", zap.Uint64("free", free), zap.Uint64("keep", n.cfg.MinFree))
		} else {
			n.log.Warn("disk has room again", zap.Uint64("free", free))
		}
	}
}

// admit refuses a sequence that the disk has no room for, before it is proposed.
func (g *Group) admit(ctx context.Context, u []ovs.Update) error {
	n := g.node
	if n.cfg.MinFree == 0 {
		return nil
	}
	if time.Since(n.began).Nanoseconds()-n.looked.Load() > int64(spaceAge) {
		n.look()
	}
	if !n.full.Load() {
		return nil
	}
	if g.grows(ctx, u) {
		return errors.New("less is free than is to be kept")
	}
	return n.lastRoom()
}

// lastRoom says whether a sequence that does not grow still fits, and gives the ballast up for it.
func (n *Node) lastRoom() error {
	for gaveUp := false; ; gaveUp = true {
		_, free, err := n.cfg.FS.Space(n.cfg.Dir)
		switch {
		case err != nil || free >= low:
			return nil
		case !gaveUp:
			n.dropBallast()
		case free < low/2:
			return fmt.Errorf("the disk is full: %d KiB are free", free>>10)
		default:
			return nil
		}
	}
}

// grows tells whether a sequence only adds: one that also deletes something is let pass, and one that replaces.
func (g *Group) grows(ctx context.Context, u []ovs.Update) bool {
	sizes := map[string]int{} // of the values that are set
	for i := range u {
		switch u[i].Op {
		case ovs.OpDelete, ovs.OpDeletePrefix:
			return false
		case ovs.OpTestAndSet:
			if u[i].Value == nil {
				return false
			}
			sizes[string(u[i].Key)] = len(u[i].Value)
		case ovs.OpSet, ovs.OpSetStamped:
			sizes[string(u[i].Key)] = len(u[i].Value)
		}
	}
	if len(sizes) == 0 {
		return false
	}
	more := false
	err := g.read(ctx, "arakoon.grows", func(v view) error {
		for key, size := range sizes {
			was, found, err := v.Get([]byte(key))
			if err != nil {
				return err
			}
			more = more || !found || size > len(was)+smallValue
		}
		return nil
	})
	return more || err != nil
}

func (n *Node) ballastName() string { return path.Join(n.cfg.Dir, "ballast") }

// startSpace looks at the disk before anything is written. The ballast goes first where little is free: a start needs room
// of its own.
func (n *Node) startSpace() error {
	if n.cfg.MinFree == 0 {
		return nil
	}
	n.look()
	if err := n.lastRoom(); err != nil {
		return ovs.E("arakoon.Open", ovs.KindNoSpace, n.cfg.Dir, err)
	}
	n.keepBallast()
	return nil
}

// keepBallast makes the file that only takes room, where the disk can spare it. Each start does it again, since a crash may
// have left the name without the room; where the room is there that changes nothing.
func (n *Node) keepBallast() {
	n.ballast.Lock()
	defer n.ballast.Unlock()
	if n.ballasted {
		return
	}
	_, free, err := n.cfg.FS.Space(n.cfg.Dir)
	if err != nil || free < n.cfg.MinFree+ballastSize {
		return
	}
	if err := n.makeBallast(); err != nil {
		n.log.Debug("no ballast", zap.Error(err)) // tried again a second later
		_ = n.cfg.FS.Remove(n.ballastName())
		return
	}
	n.ballasted = true
}

func (n *Node) makeBallast() error {
	f, err := n.cfg.FS.OpenFile(n.ballastName(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Preallocate(0, ballastSize), f.Close())
}

func (n *Node) dropBallast() {
	n.ballast.Lock()
	defer n.ballast.Unlock()
	n.ballasted = false
	if err := n.cfg.FS.Remove(n.ballastName()); err == nil {
		n.log.Warn("disk full: the ballast is given up, so that deletions go on")
	}
}
