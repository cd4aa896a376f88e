package arakoon

import (
	"time"

	"go.uber.org/zap"

	"ovs"
)

// spaceInterval is how often the guard looks at the disk.
const spaceInterval = time.Second

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
		}
	}
}

// look decides whether growing sequences are refused. A disk that cannot tell is taken for a good one: its errors come out
// elsewhere.
func (n *Node) look() {
	_, free, err := n.cfg.FS.Space(n.cfg.Dir)
	full := err == nil && free < n.cfg.MinFree
	if n.full.Swap(full) != full {
		if full {
			n.log.Warn("disk nearly full: only deletions are taken", zap.Uint64("free", free), zap.Uint64("keep", n.cfg.MinFree))
		} else {
			n.log.Warn("disk has room again", zap.Uint64("free", free))
		}
	}
}

// grows tells whether a sequence only adds: one that also deletes something is let pass.
func grows(u []ovs.Update) bool {
	sets := false
	for i := range u {
		switch u[i].Op {
		case ovs.OpDelete, ovs.OpDeletePrefix:
			return false
		case ovs.OpTestAndSet:
			if u[i].Value == nil {
				return false
			}
			sets = true
		case ovs.OpSet, ovs.OpSetStamped:
			sets = true
		}
	}
	return sets
}
