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
	play := func(seed uint64, plan Plan) {
		tally, err := Play(seed, plan)
		if err != nil {
			t.Fatal(err)
		}
		all.Add(tally)
	}
	plan := DefaultPlan()
	cuts := func() int { return all.Main() + all.Early }
	for seed := uint64(1); cuts() < 28; seed++ {
		plan.Operations, plan.Early = 300, 10
		plan.Pictures = max(0, 17-cuts())
		play(seed, plan)
	}
	plan.Real, plan.Early, plan.Pictures = true, 1, 2
	play(1, plan)
	t.Logf("%d cuts of histories, %d of them full, %d of second ones, %d of recoveries, at %v", cuts(), all.Main(), all.Second, all.Recoveries, all.Cuts)
	if cuts() < 30 || all.Reused < all.Histories || all.Swung == 0 {
		t.Errorf("too little happened: %+v", all)
	}
}

// TestMissingFlushes: a proof that passes shows little unless it fails where a flush is missing.
func TestMissingFlushes(t *testing.T) {
	for _, p := range lies {
		c, err := Catch(p, DefaultPlan(), 8)
		if err != nil {
			t.Error(err)
			continue
		}
		t.Logf("%s: seed %d: %s", c.Plant, c.Seed, c.Why)
	}
}
