//go:build planted

package powercut

import (
	"slices"
	"strings"
	"testing"

	"ovs/internal/planted"
)

// orders are mistakes in the order of steps.
var orders = []Plant{
	{Name: "a stable write acknowledged at the append", Set: func(on bool) { planted.AckAtAppend = on }},
	{Name: "a read shows a stable write before it is flushed", Set: func(on bool) { planted.ReadInFlight = on }},
	{Name: "COMMIT waits for nothing", Set: func(on bool) { planted.CommitAtOnce = on }},
	{Name: "the log lets go before the SCO stands", Set: func(on bool) { planted.ReleaseFirst = on }},
	{Name: "an interval goes to the backend before it is flushed", Set: func(on bool) { planted.SealedUnflushed = on }},
	{Name: "a root is put before its segments", Set: func(on bool) { planted.SegmentsLast = on }},
	{Name: "a volume's head names a root before it stands", Set: func(on bool) { planted.HeadFirst = on }},
	{Name: "what the old root reached goes before the head swings", Set: func(on bool) { planted.DeleteFirst = on }},
	{Name: "a file's head names chunks before they stand", Set: func(on bool) { planted.FileHeadFirst = on }},
	{Name: "a file's old chunks go before its head changes", Set: func(on bool) { planted.FileDeleteFirst = on }},
	{Name: "the collector judges without raising the GC epoch", Set: func(on bool) { planted.NoRaise = on }},
}

// needless are the mistakes that this proof need not notice, and why.
var needless = map[string]string{
	"an interval goes to the backend before it is flushed": "what an SCO holds past the end of the log was acknowledged to nobody, or UNSTABLE, and a start takes the SCO " +
		"as it stands; the wait is for a flush that fails: what was answered with an error must not come back",
	"no flush: asd namespace directory, in albaproxy/asd.(*Directory).dropEmpty": "a directory that comes back is empty, and the next start removes it",
	"no flush: asd namespace directory, in albaproxy/asd.(*Directory).sweep": "it is for what a crash of the process alone left removed but not flushed, with a power cut after two more " +
		"collections: asd's TestHiddenIsGone plays it",
	"no flush: asd namespace directory, in albaproxy/asd.(*Directory).know.func1": "the flush in dropEmpty, of the same directory, is on its way: this one waits for no less",
	"no flush: asd's own directory, in albaproxy/asd.Open":                        "the identity's flush of the same directory follows, before anything is put",
	"no flush: data directory, in storagerouter.(*Core).openBackend": "the log's flush of the same directory follows at a first start; ASDs that are gone before it held nothing, " +
		"though the registry goes on to name them",
	"no flush: log directory, in dtl.Open": "the flush that ends a file's making is of the same directory: this one is for one that failed, or that a kill left out, where no other " +
		"file is made since: dtl's TestBelieved plays it",
	"no flush: log segment, in dtl.(*Log).openSegments": "renew flushes the last segment, and what lies before is below a mark; this one is for a damaged segment, " +
		"which renew leaves alone: dtl's TestBelieved plays it",
	"no flush: log segment, in dtl.(*Log).renew":        "openSegments flushes the same file just before; this one is for a flush that failed in an earlier process: dtl's TestBelieved plays it",
	"no flush: log segment, in dtl.(*Log).sealOne":      "an index that is not there whole is not believed; the segment is scanned, whose batches are flushed",
	"no flush: log superblock, in dtl.fill":             "openSuper flushes the same file before anything is believed of it",
	"no flush: log superblock, in dtl.(*Log).openSuper": "writeSuper flushes the same file before the registry or anybody else learns of the start",
	"no flush: log segment, in dtl.(*Log).writeHeader":  "a batch's flush covers the same file; what can happen in between takes a cut in 100 at one moment: dtl's TestHeaderFlush plays it",
}

// TestPlanted: each flush of the product is left out in turn, and each order turned round; each must be noticed within a
// bounded number of seeds, or stand in needless. What it finds goes into the proof's report.
func TestPlanted(t *testing.T) {
	p, err := load(plantedState, false)
	if err != nil {
		t.Fatal(err)
	}
	var found sites
	plan := DefaultPlan()
	plan.Plant = found.note
	for seed := uint64(1); seed <= 3; seed++ { // one of each configuration
		if _, err := Play(seed, plan); err != nil {
			t.Fatal(err)
		}
	}
	plan.Plant, plan.Pictures = nil, 12
	plants := orders
	for _, site := range found.sorted() {
		if !strings.HasSuffix(site, ", in the test") { // it stands in for who makes the data directory
			plants = append(plants, without(site))
		}
	}
	for _, plant := range plants {
		if p.tried(plant.Name) {
			continue
		}
		c, err := Catch(plant, plan, 24)
		if err != nil {
			c.Needless = needless[plant.Name]
		}
		if err != nil && c.Needless == "" {
			t.Error(err)
		}
		t.Logf("%s: seed %d: %s", c.Plant, c.Seed, c.Why)
		p.Caught = append(slices.DeleteFunc(p.Caught, func(x Caught) bool { return x.Plant == c.Plant }), c)
		if err := p.save(plantedState); err != nil {
			t.Fatal(err)
		}
	}
}
