package powercut

import (
	"os"
	"strconv"
	"testing"
)

// TestPowerCut is the short version of the proof.
func TestPowerCut(t *testing.T) {
	if s := os.Getenv("OVS_POWERCUT_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		plan := DefaultPlan()
		plan.Real = os.Getenv("OVS_POWERCUT_REAL") != ""
		tally, err := Play(seed, plan)
		t.Logf("%+v", tally)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	var all Tally
	for seed := uint64(1); all.Main() < 30; seed++ {
		tally, err := Play(seed, DefaultPlan())
		if err != nil {
			t.Fatal(err)
		}
		all.Add(tally)
	}
	t.Logf("%+v", all)
}

// TestMissingFlushes: a proof that passes shows little unless it fails where a flush is missing.
func TestMissingFlushes(t *testing.T) {
	for _, p := range lies {
		c, err := Catch(p, 8)
		if err != nil {
			t.Error(err)
			continue
		}
		t.Logf("%s: seed %d: %s", c.Plant, c.Seed, c.Why)
	}
}
