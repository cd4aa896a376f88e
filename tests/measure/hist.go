package measure

import (
	"math/bits"
	"time"
)

// fine is how many buckets a power of two has: the error is at most 1/128.
const fine = 64

// Hist counts durations in buckets that grow with them. The zero value is empty.
type Hist struct {
	N       int // durations counted
	sum     time.Duration
	buckets [fine * 40]uint32
}

// Add counts one.
func (h *Hist) Add(d time.Duration) {
	h.N++
	h.sum += d
	h.buckets[bucket(d)]++
}

func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < fine {
		return int(v)
	}
	e := bits.Len64(v) - 7 // v>>e is from fine to 2*fine-1
	return min(fine*(e+1)+int(v>>e)-fine, fine*40-1)
}

// At is the middle of the bucket that holds quantile q; 0 when empty.
func (h *Hist) At(q float64) time.Duration {
	left := int(q * float64(h.N))
	for i, n := range h.buckets {
		if left -= int(n); left < 0 {
			if i < fine {
				return time.Duration(i)
			}
			e := i/fine - 1
			return time.Duration(i%fine+fine)<<e + time.Duration(1)<<e/2
		}
	}
	return 0
}

// Mean is 0 when empty.
func (h *Hist) Mean() time.Duration {
	if h.N == 0 {
		return 0
	}
	return h.sum / time.Duration(h.N)
}
