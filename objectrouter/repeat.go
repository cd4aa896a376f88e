package objectrouter

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"ovs"
)

// A name operation is not idempotent, and its client sends it again when the reply is lost: to another router, or to this
// one after a crash. So the sequence of each leaves a key of its request, and asserts that it is not there yet:
//
//	'd' age:8 client:16 XID:4 sum:4  ─► the object that it made or linked
//
// Age is the time in units of repeatAge. A sequence looks at two ages, so a key counts for one to two of them; older
// ones are swept away.
const (
	repeatAge  = 4 * time.Minute
	repeatPage = 500 // keys swept in one sequence
)

// attempt is one arrival of a request; the zero attempt is that of a request that nobody could know again.
type attempt struct {
	r         *Router
	now, last []byte // its key in the present age and the one before
}

func (r *Router) attempt(q *ovs.Request) attempt {
	if q.ID == (ovs.RequestID{}) || !q.Client.IsValid() {
		return attempt{}
	}
	age := uint64(r.cfg.Now() / int64(repeatAge))
	return attempt{r: r, now: repeatKey(age, q), last: repeatKey(age-1, q)}
}

func repeatKey(age uint64, q *ovs.Request) []byte {
	b := binary.BigEndian.AppendUint64(append(make([]byte, 0, 33), spaceRepeat), age)
	client := q.Client.As16()
	b = append(b, client[:]...)
	b = binary.BigEndian.AppendUint32(b, q.ID.XID)
	return binary.BigEndian.AppendUint32(b, q.ID.Sum)
}

// once adds to a sequence what makes it go through once; id is the object that the answer tells of, or 0.
func (a *attempt) once(u []ovs.Update, id ovs.ObjectID) []ovs.Update {
	if a.r == nil {
		return u
	}
	return append(u, ovs.AssertAbsent(a.last), ovs.TestAndSet(a.now, nil, encodeCounter(uint64(id))))
}

// again says that the operation should look again and try again after its sequence failed with err: what it was built
// from has changed, or nobody knows whether it was done (then the next try finds out).
func (a *attempt) again(ctx context.Context, err error) bool {
	var broken *ovs.AssertError
	if a.r != nil && errors.As(err, &broken) && (bytes.Equal(broken.Key, a.now) || bytes.Equal(broken.Key, a.last)) {
		return false
	}
	return conflicted(err) || a.r != nil && ovs.Is(err, ovs.KindTimeout) && ctx.Err() == nil
}

// repeated says whether an operation that ended with err had been done when its request came before, and for which object.
func (a *attempt) repeated(ctx context.Context, err error) (ovs.ObjectID, bool) {
	if err == nil || a.r == nil {
		return 0, false
	}
	v, err := a.r.reg.MultiGet(ctx, [][]byte{a.now, a.last})
	if err != nil {
		return 0, false
	}
	for _, value := range v {
		if id, err := decodeCounter(value); err == nil {
			return ovs.ObjectID(id), true
		}
	}
	return 0, false
}

// forgetRequests sweeps away the keys of requests that nobody sends again.
func (r *Router) forgetRequests() {
	prefix := []byte{spaceRepeat}
	old := binary.BigEndian.AppendUint64(bytes.Clone(prefix), uint64(r.cfg.Now()/int64(repeatAge))-1)
	for r.ctx.Err() == nil {
		page, err := r.reg.Range(r.ctx, ovs.RangeOptions{From: prefix, To: old, Limit: repeatPage})
		if err != nil || len(page) == 0 {
			return
		}
		u := make([]ovs.Update, len(page))
		for i, p := range page {
			u[i] = ovs.DeletePrefix(p.Key) // unlike Delete it is content when another router was faster
		}
		if _, err := r.reg.Sequence(r.ctx, u...); err != nil {
			return
		}
	}
}
