package asd

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// device counts the writes under way on all its files.
type device struct {
	mu         sync.Mutex
	busy, most int
}

func (d *device) add(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy += n
	d.most = max(d.most, d.busy)
}

// slowFile takes a while for each write.
type slowFile struct {
	on   *device
	got  []byte
	hang chan struct{} // nil: it does not
}

func (f *slowFile) WriteAt(b []byte, off int64) (int, error) {
	f.on.add(1)
	defer f.on.add(-1)
	if f.hang != nil {
		<-f.hang
	}
	time.Sleep(time.Millisecond)
	f.got = append(f.got[:off], b...)
	return len(b), nil
}

// Fragments for one device are written one piece at a time and in turn, those for another meanwhile.
func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lanes Lanes
		var a, b device
		data := bytes.Repeat([]byte("fragment"), 3*piece/8+100)
		one, two, other := &slowFile{on: &a}, &slowFile{on: &a}, &slowFile{on: &b}
		done := make(chan error)
		began := time.Now()
		for f, device := range map[*slowFile]string{one: "a", two: "a", other: "b"} {
			go func() { done <- lanes.of(device).write(t.Context(), f, data, false) }()
		}
		for range 3 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); a.most != 1 || d != 8*time.Millisecond {
			t.Errorf("%d at a time on one device, all after %v", a.most, d)
		}
		for _, f := range []*slowFile{one, two, other} {
			if !bytes.Equal(f.got, data) {
				t.Error("another content was written")
			}
		}
	})
}

// Who waits behind a write that hangs gives up with its context.
func TestLaneHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lanes Lanes
		var a device
		stuck := &slowFile{on: &a, hang: make(chan struct{})}
		hung := make(chan error)
		go func() { hung <- lanes.of("a").write(t.Context(), stuck, []byte("x"), false) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := lanes.of("a").write(ctx, &slowFile{on: &a}, []byte("y"), false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		close(stuck.hang)
		if err := <-hung; err != nil {
			t.Error(err)
		}
	})
}

// Fragments in a hurry are written whole, side by side, and beside one that holds the lane.
func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lanes Lanes
		var a device
		data := bytes.Repeat([]byte("fragment"), 4*piece/8)
		done := make(chan error)
		began := time.Now()
		for i := range 4 {
			go func() { done <- lanes.of("a").write(t.Context(), &slowFile{on: &a}, data, i > 0) }()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); a.most != 4 || d != 4*time.Millisecond {
			t.Errorf("%d at a time, all after %v", a.most, d)
		}
	})
}
