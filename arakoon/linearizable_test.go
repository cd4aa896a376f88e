package arakoon

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"ovs"
)

// operation is a call of the history: a read, a write, or a test-and-set of one of a few keys.
type operation struct {
	key, expect, value string // expect "": a write
	read               bool
}

// answer is what it returned. unknown: a timeout.
type answer struct {
	value         string
	held, unknown bool
}

// registers is the model: each key is a register of its own.
var registers = porcupine.Model{
	Partition: func(h []porcupine.Operation) [][]porcupine.Operation {
		parts := map[string][]porcupine.Operation{}
		for _, o := range h {
			key := o.Input.(operation).key
			parts[key] = append(parts[key], o)
		}
		var all [][]porcupine.Operation
		for _, p := range parts {
			all = append(all, p)
		}
		return all
	},
	Init: func() any { return "-" },
	Step: func(state, input, output any) (bool, any) {
		o, a := input.(operation), output.(answer)
		switch {
		case o.read:
			return a.value == state, state
		case o.expect == "":
			return true, o.value
		case a.unknown && o.expect != state:
			return true, state
		case a.unknown:
			return true, o.value
		case a.held != (o.expect == state):
			return false, state
		case a.held:
			return true, o.value
		}
		return true, state
	},
}

// TestLinearizable: a history of concurrent calls, with reads past Raft and through it, some calls given up early.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	for _, alone := range []bool{true, false} {
		n := openNode(t, config1(t.TempDir()))
		g := openGroup(t, n, "config")
		g.alone.Store(alone)
		begin := time.Now()
		var mu sync.Mutex
		var history []porcupine.Operation
		var wg sync.WaitGroup
		for client := range 6 {
			rnd := rand.New(rand.NewPCG(uint64(client), 5))
			wg.Go(func() {
				for i := range 60 {
					o := operation{key: fmt.Sprint("k", rnd.IntN(3)), value: fmt.Sprintf("%d.%d", client, i)}
					switch rnd.IntN(3) {
					case 0:
						o.read = true
					case 1:
						o.expect = fmt.Sprintf("%d.%d", rnd.IntN(6), i-1)
					}
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
					if !o.read && rnd.IntN(8) == 0 {
						ctx, cancel = context.WithTimeout(context.Background(), 300*time.Microsecond)
					}
					call := time.Since(begin)
					a := perform(ctx, t, g, o)
					done := time.Since(begin)
					cancel()
					if a.unknown { // it may be done at any time from the call on
						done = time.Hour
					}
					mu.Lock()
					history = append(history, porcupine.Operation{ClientId: client, Input: o, Call: int64(call), Output: a, Return: int64(done)})
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if r := porcupine.CheckOperationsTimeout(registers, history, 20*time.Second); r != porcupine.Ok {
			t.Fatalf("alone %v: the history is %v", alone, r)
		}
		n.Close()
	}
}

func perform(ctx context.Context, t *testing.T, g *Group, o operation) answer {
	key := []byte(o.key)
	if o.read {
		v, err := g.Get(ctx, key)
		if ovs.Is(err, ovs.KindNotFound) {
			return answer{value: "-"}
		}
		if err != nil {
			t.Error(err)
		}
		return answer{value: string(v)}
	}
	u := ovs.Set(key, []byte(o.value))
	if o.expect != "" {
		u = ovs.TestAndSet(key, []byte(o.expect), []byte(o.value))
	}
	_, err := g.Sequence(ctx, u)
	switch {
	case err == nil:
		return answer{held: true}
	case ovs.Is(err, ovs.KindConflict):
		return answer{}
	case !ovs.Is(err, ovs.KindTimeout):
		t.Error(err)
	}
	return answer{unknown: true}
}
