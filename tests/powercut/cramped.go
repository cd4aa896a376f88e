package powercut

import (
	"errors"
	"syscall"
	"time"

	"ovs"
)

// From operation crampedFrom to crampedTo of some histories the disk is as good as full.
const (
	crampedFrom = 250
	crampedTo   = 310
	roomy       = 1 << 40 // bytes: the size of the disk otherwise
)

func crampedSeed(seed uint64) bool { return seed%4 == 1 }

// full tells whether a start failed for want of space.
func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || refused(err) }

// cramp leaves almost nothing free: so little that the backend takes nothing any more, or (by a stranger) a few pages.
func (h *history) cramp(stranger bool) {
	total, free, err := h.l.disk.Space(dir())
	if err != nil {
		return // the power is gone
	}
	left := int64(340 << 20) // beyond what the backend leaves alone
	if stranger {
		left = 64 << 10
	}
	h.mu.Lock()
	h.cramped, h.wasCramped = true, true
	h.mu.Unlock()
	h.l.disk.SetCapacity(int64(total-free) + left)
}

// giveRoom ends that, and waits until the node takes writes again.
func (h *history) giveRoom() {
	h.l.disk.SetCapacity(roomy)
	h.mu.Lock()
	h.cramped = false
	h.mu.Unlock()
	for began := time.Now(); !h.over() && time.Since(began) < patience; {
		if h.wait() != nil {
			return
		}
		h.mu.Lock()
		was := h.acks.Stable
		h.mu.Unlock()
		h.writeAt(h.l.w.disks[0], h.l.w.disks[0], ovs.FileSync, false, 0, 1)
		if h.wait() != nil {
			return
		}
		h.mu.Lock()
		now := h.acks.Stable
		h.mu.Unlock()
		if now > was {
			return
		}
		time.Sleep(20 * time.Millisecond) // the node looks at its disk twice a second
	}
}
