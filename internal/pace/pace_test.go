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

// TestBehind: work that is behind asks so once for each Step and does not step aside.
func TestBehind(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	asked := 0
	w := Work{Behind: func() bool { asked++; return true }}
	var ran atomic.Bool
	go func() { ran.Store(true) }()
	for range 3 * Step / 1024 {
		w.Did(1024)
	}
	if asked != 3 || ran.Load() {
		t.Fatalf("asked %d times; stepped aside: %v", asked, ran.Load())
	}
}

func BenchmarkDid(b *testing.B) {
	var w Work
	for b.Loop() {
		w.Did(Step)
	}
}
