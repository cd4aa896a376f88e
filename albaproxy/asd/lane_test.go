package asd

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// slowFile takes a while for each write, and counts those under way on all files of its device.
type slowFile struct {
	busy *int
	most *int
	got  []byte
	hang chan struct{} // nil: it does not
}

func (f *slowFile) WriteAt(b []byte, off int64) (int, error) {
	*f.busy++
	*f.most = max(*f.most, *f.busy)
	if f.hang != nil {
		<-f.hang
	}
	time.Sleep(time.Millisecond)
	*f.busy--
	f.got = append(f.got[:off], b...)
	return len(b), nil
}

// Fragments for one device are written one piece at a time and in turn, those for another meanwhile.
func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lanes Lanes
		var busy, most, otherBusy, otherMost int
		data := bytes.Repeat([]byte("fragment"), 3*piece/8+100)
		one, two := &slowFile{busy: &busy, most: &most}, &slowFile{busy: &busy, most: &most}
		other := &slowFile{busy: &otherBusy, most: &otherMost}
		done := make(chan error)
		began := time.Now()
		for f, device := range map[*slowFile]string{one: "a", two: "a", other: "b"} {
			go func() { done <- lanes.of(device).write(t.Context(), f, data) }()
		}
		for range 3 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); most != 1 || d != 8*time.Millisecond {
			t.Errorf("%d at a time on one device, all after %v", most, d)
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
		var busy, most int
		stuck := &slowFile{busy: &busy, most: &most, hang: make(chan struct{})}
		hung := make(chan error)
		go func() { hung <- lanes.of("a").write(t.Context(), stuck, []byte("x")) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := lanes.of("a").write(ctx, &slowFile{busy: &busy, most: &most}, []byte("y")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		close(stuck.hang)
		if err := <-hung; err != nil {
			t.Error(err)
		}
	})
}
