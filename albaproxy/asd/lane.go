package asd

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
)

const (
	piece   = 256 << 10 // bytes of a fragment that are written in one call: about 0.1 ms of a device that does 2 GB/s
	crowded = 8 << 20   // bytes that wait for a lane, or are on it: more than the fragments of one SCO with its parity
)

// Lanes keeps the fragments that are written to one device behind each other, piece by piece, whichever ASD they are for. A
// write of 1 MiB from scattered pages fills the whole queue of many a device (virtio-blk: 256 descriptors), and what waits
// behind a few of these is the flush of the write log, with every client in it. Where a lane is crowded the backend does not
// keep up with the log: its fragments are written at once, as fast as the device takes them. The zero value is ready.
type Lanes struct {
	mu sync.Mutex
	by map[string]*lane // device -> its lane
}

// lane is the way to one device.
type lane struct {
	token  chan struct{} // held while a piece is written
	queued atomic.Int64  // bytes
}

func newLane() *lane { return &lane{token: make(chan struct{}, 1)} }

func (l *Lanes) of(device string) *lane {
	if l == nil {
		return newLane()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by[device] == nil {
		if l.by == nil {
			l.by = map[string]*lane{}
		}
		l.by[device] = newLane()
	}
	return l.by[device]
}

// write writes b from the beginning of f. Where the device hangs it gives up with ctx, unless the piece at hand does.
func (l *lane) write(ctx context.Context, f io.WriterAt, b []byte) error {
	l.queued.Add(int64(len(b)))
	defer l.queued.Add(-int64(len(b)))
	for at := 0; at < len(b); at += piece {
		if l.queued.Load() > crowded {
			_, err := f.WriteAt(b[at:], int64(at))
			return err
		}
		select {
		case l.token <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		_, err := f.WriteAt(b[at:min(at+piece, len(b))], int64(at))
		<-l.token
		if err != nil {
			return err
		}
	}
	return nil
}
