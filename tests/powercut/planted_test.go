//go:build planted

package powercut

import (
	"testing"

	"ovs/internal/planted"
)

// orders are mistakes in the order of steps.
var orders = []Plant{
	{Name: "a stable write acknowledged at the append", Set: func(on bool) { planted.AckAtAppend = on }},
	{Name: "the log lets go before the SCO stands", Set: func(on bool) { planted.ReleaseFirst = on }},
	{Name: "a volume's head names a root before it stands", Set: func(on bool) { planted.HeadFirst = on }},
	{Name: "a file's head names chunks before they stand", Set: func(on bool) { planted.FileHeadFirst = on }},
}

// TestPlanted: each mistake is noticed within a bounded number of seeds. What it finds goes into the proof's report.
func TestPlanted(t *testing.T) {
	p, err := load(plantedState, false)
	if err != nil {
		t.Fatal(err)
	}
	p.Caught = nil
	for _, plant := range append(lies, orders...) {
		c, err := Catch(plant, 40)
		if err != nil {
			t.Error(err)
		}
		t.Logf("%s: seed %d: %s", c.Plant, c.Seed, c.Why)
		p.Caught = append(p.Caught, c)
	}
	if err := p.save(plantedState); err != nil {
		t.Fatal(err)
	}
}
