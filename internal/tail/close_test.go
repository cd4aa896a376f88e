package tail

import (
	"context"
	"testing"

	"ovs"
	"ovs/internal/memlog"
)

// hanging is a Below that answers when its context ends.
type hanging struct{ began chan struct{} }

func (h hanging) TryReadBelow([]byte, uint64) bool { return false }

func (h hanging) ReadBelow(ctx context.Context, _ []byte, _ uint64) error {
	close(h.began)
	<-ctx.Done()
	return ovs.E("hanging.ReadBelow", ovs.KindTimeout, nil, ctx.Err())
}

// TestCloseCutsReadsShort: a read that Close cuts short says that another one is in charge, not that it took too long.
func TestCloseCutsReadsShort(t *testing.T) {
	log, pool, below := memlog.New(), NewPool(1), hanging{make(chan struct{})}
	defer log.Close()
	defer pool.Close()
	x := New(Config{Ref: ref, Epoch: 1, Log: log, Below: below, Pool: pool, Now: func() int64 { return 1 }, Size: 4096})
	done := make(chan *ovs.Read, 1)
	x.Read(&ovs.Read{Dst: make([]byte, 512), Done: func(r *ovs.Read) { done <- r }})
	<-below.began
	x.Close()
	if r := <-done; !ovs.Is(r.Err, ovs.KindFenced) || r.N != 0 {
		t.Fatalf("%d bytes, %v", r.N, r.Err)
	}
}
