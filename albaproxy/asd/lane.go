package asd

import (
	"context"
	"io"
	"sync"
)

// piece is how much of a fragment is written in one call, in bytes: about 0.1 ms of a device that does 2 GB/s.
const piece = 256 << 10

// Lanes keeps the fragments that are written to one device behind each other, piece by piece, whichever ASD they are for. A
// write of 1 MiB from scattered pages fills the whole queue of many a device (virtio-blk: 256 descriptors), and what waits
// behind a few of these is the flush of the write log, with every client in it. The zero value is ready.
type Lanes struct {
	mu sync.Mutex
	by map[string]lane // device -> its lane
}

// lane holds a token while a piece is written.
type lane chan struct{}

func (l *Lanes) of(device string) lane {
	if l == nil {
		return make(lane, 1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by[device] == nil {
		if l.by == nil {
			l.by = map[string]lane{}
		}
		l.by[device] = make(lane, 1)
	}
	return l.by[device]
}

// write writes b from the beginning of f: in pieces, or in a hurry whole and beside the lane. Where the device hangs it gives up
// with ctx, unless the piece at hand does.
func (l lane) write(ctx context.Context, f io.WriterAt, b []byte, hurry bool) error {
	if hurry {
		_, err := f.WriteAt(b, 0)
		return err
	}
	for at := 0; at < len(b); at += piece {
		select {
		case l <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		_, err := f.WriteAt(b[at:min(at+piece, len(b))], int64(at))
		<-l
		if err != nil {
			return err
		}
	}
	return nil
}
