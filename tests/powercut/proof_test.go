//go:build proof

package powercut

import (
	"flag"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"
)

var (
	cuts     = flag.Int("powercut.cuts", 1000, "cuts of full histories with twins for the registries")
	realCuts = flag.Int("powercut.real", 100, "the same with the real store on the crash disk")
	each     = flag.Int("powercut.each", 5, "cuts of each point, at least")
	reportTo = flag.String("powercut.report", "", "file for the report, relative to the module; empty: none")
)

// TestProof plays seeds until enough cuts have passed, and each point was cut often enough. Seeds that earlier runs of this
// binary played are not played again.
func TestProof(t *testing.T) {
	const state = "powercut"
	p, err := load(state, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		*tallies
		cuts int
		real bool
	}{{&p.Twins, *cuts, false}, {&p.Real, *realCuts, true}} {
		enough := func() bool {
			// Points that twins do not have are all that the real store owes by itself.
			scarce := part.Sum.Scarce(*each)
			maps.DeleteFunc(scarce, func(point string, _ bool) bool { return part.real && p.Twins.Sum.Passed[point] > 0 })
			return part.Sum.Main() >= part.cuts && (len(scarce) == 0 || part.Sum.Main() >= 3*part.cuts)
		}
		for !enough() {
			plan := DefaultPlan()
			plan.Real, plan.Scarce = part.real, part.Sum.Scarce(*each)
			if err := part.some(plan); err != nil {
				t.Fatal(err)
			}
			if err := p.save(state); err != nil {
				t.Fatal(err)
			}
			t.Logf("seed %d, real store %v: %d cuts of full histories, %d of second ones, %d of recoveries, %d points with fewer than %d",
				part.Seeds, part.real, part.Sum.Main(), part.Sum.Second, part.Sum.Recoveries, len(part.Sum.Scarce(*each)), *each)
		}
	}
	if few := p.scarce(*each); len(few) > 0 {
		t.Errorf("points cut fewer than %d times: %v", *each, few)
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

// scarce is the points that were cut fewer than n times, with twins and the real store together.
func (p *progress) scarce(n int) []string {
	var all Tally
	all.Add(&p.Twins.Sum)
	all.Add(&p.Real.Sum)
	return slices.Sorted(maps.Keys(all.Scarce(n)))
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
