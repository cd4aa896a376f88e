package registrytest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"ovs"
)

// model runs random sequences beside a map that does the same in the plainest way.
func model(x *fixture) {
	rnd := rand.New(rand.NewPCG(7, 7))
	m := map[string]string{}
	for n := range 400 {
		u := randomSequence(rnd, m)
		after := maps.Clone(m)
		failed := -1
		var kind ovs.Kind
		for i := range u {
			if kind = plain(after, &u[i]); kind != ovs.KindUnknown {
				failed = i
				break
			}
		}
		_, err := x.Sequence(x.ctx, u...)
		var a *ovs.AssertError
		switch {
		case failed < 0 && err != nil, failed >= 0 && !ovs.Is(err, kind):
			x.Fatalf("sequence %d: %v; the model says step %d, %v\n%+v", n, err, failed, kind, u)
		case errors.As(err, &a) && a.Step != failed:
			x.Fatalf("sequence %d failed at step %d, the model at %d", n, a.Step, failed)
		}
		if failed < 0 {
			m = after
		}
		if n%20 == 0 {
			var b strings.Builder
			for _, k := range slices.Sorted(maps.Keys(m)) {
				fmt.Fprintf(&b, "%s=%s ", k, m[k])
			}
			if got := x.all(); got != b.String() {
				x.Fatalf("after %d sequences\n%q\nthe model has\n%q", n+1, got, b.String())
			}
		}
	}
}

// randomSequence makes 1 to 5 steps, most of which hold.
func randomSequence(rnd *rand.Rand, m map[string]string) []ovs.Update {
	var u []ovs.Update
	for range 1 + rnd.IntN(5) {
		key := fmt.Sprintf("%c/%c", 'a'+rnd.IntN(3), 'a'+rnd.IntN(5))
		current, there := m[key]
		expect := []byte(current)
		if !there {
			expect = nil
		}
		value := binary.BigEndian.AppendUint64(nil, rnd.Uint64N(1000))
		k := []byte(key)
		switch rnd.IntN(16) {
		case 0:
			u = append(u, ovs.Delete(k))
		case 1:
			u = append(u, ovs.DeletePrefix(k[:2]))
		case 2:
			u = append(u, ovs.Assert(k, expect))
		case 3:
			u = append(u, ovs.AssertNone(k))
		case 4:
			u = append(u, ovs.TestAndSet(k, expect, nil))
		case 5, 6:
			u = append(u, ovs.TestAndSet(k, expect, value))
		case 7:
			u = append(u, ovs.Add(k, 0, rnd.Int64N(100)-50))
		case 8:
			u = append(u, ovs.Max(k, 0, rnd.Uint64N(1000)))
		case 9:
			if there {
				u = append(u, ovs.AssertExists(k))
			} else {
				u = append(u, ovs.AssertAbsent(k))
			}
		default:
			u = append(u, ovs.Set(k, value))
		}
	}
	return u
}

// plain does one step on a map; KindUnknown: it held.
func plain(m map[string]string, u *ovs.Update) ovs.Kind {
	key := string(u.Key)
	v, there := m[key]
	holds := true
	switch u.Op {
	case ovs.OpSet:
		m[key] = string(u.Value)
	case ovs.OpDelete:
		if !there {
			return ovs.KindNotFound
		}
		delete(m, key)
	case ovs.OpDeletePrefix:
		maps.DeleteFunc(m, func(k, _ string) bool { return strings.HasPrefix(k, key) })
	case ovs.OpAssert:
		holds = there && v == string(u.Value)
	case ovs.OpAssertAbsent:
		holds = !there
	case ovs.OpAssertExists:
		holds = there
	case ovs.OpAssertNone:
		for k := range m {
			holds = holds && !strings.HasPrefix(k, key)
		}
	case ovs.OpTestAndSet:
		if holds = there == (u.Expect != nil) && v == string(u.Expect); holds {
			if m[key] = string(u.Value); u.Value == nil {
				delete(m, key)
			}
		}
	case ovs.OpAdd, ovs.OpMax:
		if !there {
			return ovs.KindNotFound
		}
		n := binary.BigEndian.Uint64([]byte(v))
		if u.Op == ovs.OpAdd {
			n += u.Delta
		} else {
			n = max(n, u.Delta)
		}
		m[key] = string(binary.BigEndian.AppendUint64(nil, n))
	}
	if !holds {
		return ovs.KindConflict
	}
	return ovs.KindUnknown
}
