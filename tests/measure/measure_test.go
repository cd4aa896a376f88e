package measure

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistQuantiles(t *testing.T) {
	var h Hist
	var all []time.Duration
	r := rand.New(rand.NewPCG(1, 1))
	for range 20000 {
		d := time.Duration(1) << r.IntN(33) * time.Duration(1000+r.IntN(1000)) / 1000
		h.Add(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.9999} {
		want := all[int(q*float64(len(all)))]
		if got := h.At(q); got < want-want/64-1 || got > want+want/64+1 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	if (&Hist{}).At(0.5) != 0 || (&Hist{}).Mean() != 0 {
		t.Error("an empty one must give 0")
	}
}

func TestMetric(t *testing.T) {
	text := []byte("# HELP a b\nab 1\na 2.5e+06\nd{x=\"1 2\"} 3\nd{x=\"y\"} 4\n")
	if v, err := Metric(text, "a"); err != nil || v != 2.5e6 {
		t.Fatal(v, err)
	}
	if v, err := Metric(text, "d"); err != nil || v != 7 {
		t.Fatal(v, err)
	}
	if _, err := Metric(text, "c"); err == nil {
		t.Error("a metric out of nothing")
	}
}
