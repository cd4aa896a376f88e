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

func TestPlanted(t *testing.T) {
	for _, p := range orders {
		c, err := Catch(p, 40)
		if err != nil {
			t.Error(err)
			continue
		}
		t.Logf("%s: seed %d: %s", c.Plant, c.Seed, c.Why)
	}
}
