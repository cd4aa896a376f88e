package pace

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// TestDid: with one processor, whoever became ready runs after a Step of work at the latest.
func TestDid(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var w Work
	var ran atomic.Bool
	go func() { ran.Store(true) }()
	for range 10 { // the first look may go to a goroutine of the runtime
		for range Step / 1024 {
			w.Did(1024)
		}
	}
	if !ran.Load() {
		t.Fatal("it did not run")
	}
}

// TestHurry: work in a hurry does not step aside.
func TestHurry(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	w := Work{Hurry: true}
	var ran atomic.Bool
	go func() { ran.Store(true) }()
	for range 3 * Step / 1024 {
		w.Did(1024)
	}
	if ran.Load() {
		t.Fatal("it stepped aside")
	}
}

func BenchmarkDid(b *testing.B) {
	var w Work
	for b.Loop() {
		w.Did(Step)
	}
}
