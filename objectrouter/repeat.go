package objectrouter

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"ovs"
)

// A change of names, of a size, or with a guard is not idempotent, and its client sends it again when the reply is lost: to
// another router, or to this one after a crash. So the sequence of each leaves a key of its request, and asserts that it
// is not there yet:
//
//	'd' age:8 client:16 XID:4 sum:4  ─► the object that it made, linked or changed
//
// Age is the time in units of repeatAge when the request came. A sequence looks at the ages before and after, too: of two
// arrivals in neighbouring ages either may be done first. So a key counts for one to two ages; older ones are swept away.
const (
	repeatAge  = 4 * time.Minute
	repeatPage = 500 // keys swept in one sequence
)

// attempt is one arrival of a request.
type attempt struct {
	r    *Router
	keys [][]byte // its keys of the present age, the one before and the one after; nil: nobody could know it again
}

func (r *Router) attempt(q *ovs.Request) attempt {
	if q.ID == (ovs.RequestID{}) || !q.Client.IsValid() {
		return attempt{r: r}
	}
	age := uint64(r.cfg.Now() / int64(repeatAge))
	return attempt{r, [][]byte{repeatKey(age, q), repeatKey(age-1, q), repeatKey(age+1, q)}}
}

func repeatKey(age uint64, q *ovs.Request) []byte {
	b := binary.BigEndian.AppendUint64(append(make([]byte, 0, 33), spaceRepeat), age)
	client := q.Client.As16()
	b = append(b, client[:]...)
	b = binary.BigEndian.AppendUint32(b, q.ID.XID)
	return binary.BigEndian.AppendUint32(b, q.ID.Sum)
}

// errAgain says that an operation must look again: what it was built from has changed, or nobody knows whether its
// sequence was done (then the next try finds out).
var errAgain = errors.New("look again")

// attempts runs try until it ends otherwise than by errAgain, a bounded number of times. before: it did not go through,
// because it had been done when its request came before; id is the object that the answer tells of.
func (a *attempt) attempts(ctx context.Context, op string, try func() error) (id ovs.ObjectID, before bool, err error) {
	for range maxTries {
		if err = try(); err == nil {
			return 0, false, nil
		}
		if !errors.Is(err, errAgain) {
			break
		}
	}
	if id, before, lookErr := a.known(ctx); before && lookErr == nil {
		return id, true, nil
	}
	if errors.Is(err, errAgain) {
		err = ovs.E(op, ovs.KindBusy, nil, errAgain)
	}
	return 0, false, err
}

// sequence does what goes through once; id is the object that the answer tells of, or 0.
func (a *attempt) sequence(ctx context.Context, id ovs.ObjectID, u ...ovs.Update) (index uint64, err error) {
	if a.keys != nil {
		u = append(u, ovs.TestAndSet(a.keys[0], nil, encodeCounter(uint64(id))), ovs.AssertAbsent(a.keys[1]), ovs.AssertAbsent(a.keys[2]))
	}
	if index, err = a.r.reg.Sequence(ctx, u...); a.again(ctx, err) {
		err = errAgain
	}
	return index, err
}

func (a *attempt) again(ctx context.Context, err error) bool {
	var broken *ovs.AssertError
	if errors.As(err, &broken) && slices.ContainsFunc(a.keys, func(k []byte) bool { return bytes.Equal(k, broken.Key) }) {
		return false
	}
	return conflicted(err) || a.keys != nil && ovs.Is(err, ovs.KindTimeout) && ctx.Err() == nil
}

// known says whether the request was done when it came before, and for which object.
func (a *attempt) known(ctx context.Context) (id ovs.ObjectID, before bool, err error) {
	if a.keys == nil {
		return 0, false, nil
	}
	v, err := a.r.reg.MultiGet(ctx, a.keys)
	if err != nil {
		return 0, false, err
	}
	for _, value := range v {
		if id, err := decodeCounter(value); err == nil {
			return ovs.ObjectID(id), true, nil
		}
	}
	return 0, false, nil
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
