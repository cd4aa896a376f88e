//go:build proof

package powercut

import (
	"flag"
	"runtime"
	"sync"
	"testing"
)

var (
	cuts     = flag.Int("powercut.cuts", 1000, "cuts of full histories with twins for the registries")
	realCuts = flag.Int("powercut.real", 100, "the same with the real store on the crash disk")
	reportTo = flag.String("powercut.report", "", "file for the report, relative to the module; empty: none")
)

// TestProof plays seeds until enough cuts have passed. Seeds that earlier runs of this binary played are not played again.
func TestProof(t *testing.T) {
	const state = "powercut.json"
	p, err := load(state, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		*tallies
		cuts int
		real bool
	}{{&p.Twins, *cuts, false}, {&p.Real, *realCuts, true}} {
		for part.Sum.Main() < part.cuts {
			plan := DefaultPlan()
			plan.Real = part.real
			if err := part.some(plan); err != nil {
				t.Fatal(err)
			}
			if err := p.save(state); err != nil {
				t.Fatal(err)
			}
			t.Logf("seed %d, real store %v: %d cuts of full histories, %d of second ones, %d of recoveries", part.Seeds, part.real, part.Sum.Main(), part.Sum.Second, part.Sum.Recoveries)
		}
	}
	planted, err := load(plantedState, true)
	if err != nil {
		t.Fatal(err)
	}
	p.Caught = planted.Caught
	if *reportTo != "" {
		if err := p.report(*reportTo); err != nil {
			t.Fatal(err)
		}
	}
}

// some plays the next seeds, a few at a time.
func (x *tallies) some(plan Plan) error {
	n := max(2, runtime.GOMAXPROCS(0))
	got, errs := make([]*Tally, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { got[i], errs[i] = Play(x.Seeds+1+uint64(i), plan) })
	}
	wg.Wait()
	for i := range n {
		if errs[i] != nil {
			return errs[i]
		}
		x.Sum.Add(got[i])
	}
	x.Seeds += uint64(n)
	return nil
}
