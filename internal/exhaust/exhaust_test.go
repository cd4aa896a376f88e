package exhaust

import (
	"errors"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"ovs"
	"ovs/internal/memregistry"
	"ovs/internal/vfs"
)

// TestRun: each call goes wrong in one play, alone or with all that follow; the last play is a sound one.
func TestRun(t *testing.T) {
	for span, want := range map[Span]int{Once: 5, Ever: 15} {
		wrong, sound := 0, 0
		n := run(t, 1, span, func(t *testing.T, c *Call) {
			for range 5 {
				if c.Meets("call") {
					wrong++
				}
			}
			if c.Met() == "" {
				sound++
			}
			c.Heal()
			if c.Meets("after") {
				t.Error("a call went wrong after Heal")
			}
		})
		if n != 5 || wrong != want || sound != 1 {
			t.Errorf("span %d: %d plays, %d calls went wrong, %d sound plays", span, n, wrong, sound)
		}
	}
}

// TestStride: calls may be left out, and the end is found all the same.
func TestStride(t *testing.T) {
	n := run(t, 3, Once, func(t *testing.T, c *Call) {
		for range 7 {
			c.Meets("call")
		}
	})
	if n != 3 {
		t.Errorf("%d plays, want those of calls 0, 3 and 6", n)
	}
}

func TestDisk(t *testing.T) {
	n := run(t, 1, Ever, func(t *testing.T, c *Call) {
		d := Disk(vfs.NewCrash(1), c, vfs.Rule{Op: vfs.OpWrite, Err: syscall.EIO})
		f, err := d.OpenFile("f", os.O_RDWR|os.O_CREATE, 0)
		if err != nil || d.Open() != 1 {
			t.Fatal(err, d.Open())
		}
		for i := range 3 {
			if _, err := f.Write([]byte("x")); (err != nil) != (i >= c.at) || err != nil && (!errors.Is(err, syscall.EIO) || c.Met() != vfs.OpWrite) {
				t.Errorf("write %d of play %d: %v", i, c.at, err)
			}
		}
		c.Heal()
		if _, err := f.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil || d.Open() != 0 {
			t.Error(err, d.Open())
		}
		late := Disk(vfs.NewCrash(2), c, vfs.Rule{Err: syscall.EIO})
		if err := late.MkdirAll("d", 0o755); err != nil {
			t.Error("a disk made after Heal:", err)
		}
	})
	if n != 3 {
		t.Errorf("%d plays, want 3", n)
	}
}

// TestRegistry: a sequence and its readers meet each mishap as what it says it is.
func TestRegistry(t *testing.T) {
	key, ctx := []byte("k"), t.Context()
	for _, c := range []struct {
		mishap string
		plays  int
	}{{"fails", 4}, {"unknown, not done", 4}, {"unknown, done", 1}, {"assertion lost", 1}, {"malformed value", 3}} {
		var m Mishap
		for _, m = range Mishaps {
			if m.Name == c.mishap {
				break
			}
		}
		n := run(t, 1, Once, func(t *testing.T, call *Call) {
			mem := memregistry.New()
			r := Registry(mem, call, m)
			_, err := mem.Sequence(ctx, ovs.Set(key, []byte("old")))
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.Sequence(ctx, ovs.TestAndSet(key, []byte("old"), []byte("value")))
			now, _ := mem.Get(ctx, key)
			if done := string(now) == "value"; err != nil && (!ovs.Is(err, m.Kind) || done != (m.does == all)) {
				t.Errorf("%v, done %v", err, done)
			}
			var failed *ovs.AssertError
			if err != nil && errors.As(err, &failed) != (m.Kind == ovs.KindConflict) {
				t.Error(err)
			}
			if err != nil && m.does != all {
				_, _ = r.Sequence(ctx, ovs.Set(key, []byte("value")))
			}
			v, err := r.Get(ctx, key)
			wrong := check(t, m, v, err)
			list, err := r.MultiGet(ctx, [][]byte{key})
			wrong += check(t, m, append(list, nil)[0], err)
			pairs, err := r.Range(ctx, ovs.RangeOptions{Limit: 1})
			wrong += check(t, m, append(pairs, ovs.Pair{})[0].Value, err)
			if wrong > 1 {
				t.Error("more than one call went wrong")
			}
		})
		if n != c.plays {
			t.Errorf("%s: %d plays, want %d", c.mishap, n, c.plays)
		}
	}
}

func check(t *testing.T, m Mishap, v []byte, err error) (wrong int) {
	switch {
	case err == nil && string(v) == "value":
		return 0
	case err == nil && m.does == most && string(v) == "valu", ovs.Is(err, m.Kind) && err != nil:
		return 1
	}
	t.Errorf("%s: %q, %v", m.Name, v, err)
	return 1
}

func TestReader(t *testing.T) {
	n := run(t, 1, Once, func(t *testing.T, c *Call) {
		r := Reader(rand.NewChaCha8([32]byte{}), c, syscall.EIO)
		for i := range 2 {
			if n, err := r.Read(make([]byte, 8)); (err != nil) != (i == c.at) || err == nil && n != 8 {
				t.Error(n, err)
			}
		}
	})
	if n != 2 {
		t.Errorf("%d plays, want 2", n)
	}
}
