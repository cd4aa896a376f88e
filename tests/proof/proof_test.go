package proof

import (
	"os"
	"path/filepath"
	"testing"
)

type state struct{ Rounds int }

// TestLog: the same binary goes on, another one begins anew.
func TestLog(t *testing.T) {
	dir := t.TempDir()
	binary, file := filepath.Join(dir, "bin"), filepath.Join(dir, "cache", "p.json")
	build := func(text string) {
		if err := os.WriteFile(binary, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	rounds := func() (*Log, int) {
		var s state
		l, err := open(file, binary, &s)
		if err != nil {
			t.Fatal(err)
		}
		return l, s.Rounds
	}
	build("one")
	l, n := rounds()
	if n != 0 {
		t.Errorf("a first run begins at %d", n)
	}
	if err := l.Save(state{7}); err != nil {
		t.Fatal(err)
	}
	if _, n = rounds(); n != 7 {
		t.Errorf("the same binary goes on at %d, not 7", n)
	}
	build("two")
	if _, n = rounds(); n != 0 {
		t.Errorf("another binary goes on at %d", n)
	}
	if err := os.WriteFile(file, []byte("nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, n = rounds(); n != 0 {
		t.Errorf("nonsense goes on at %d", n)
	}
}
