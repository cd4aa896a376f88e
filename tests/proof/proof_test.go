package proof

import (
	"os"
	"path/filepath"
	"testing"
)

type state struct{ Rounds int }

// TestLog: what was saved is loaded; nothing and nonsense are nothing.
func TestLog(t *testing.T) {
	l := Log{filepath.Join(t.TempDir(), "cache", "p.json")}
	load := func(found bool, rounds int) {
		t.Helper()
		var s state
		if ok, err := l.Load(&s); err != nil || ok != found || ok && s.Rounds != rounds {
			t.Errorf("found: %v, %d rounds, %v", ok, s.Rounds, err)
		}
	}
	load(false, 0)
	for n := range 3 {
		if err := l.Save(state{n}); err != nil {
			t.Fatal(err)
		}
		load(true, n)
	}
	if err := os.WriteFile(l.file, []byte("nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	load(false, 0)
}

func TestSum(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("abc"), 0o644); err != nil {
		t.Fatal(err)
	}
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, B.1
	if s, err := Sum(file); err != nil || s != abc {
		t.Errorf("%s, %v", s, err)
	}
	if _, err := Sum(file + "-"); err == nil {
		t.Error("a sum of nothing")
	}
}

// TestRoot: it is where go.mod is.
func TestRoot(t *testing.T) {
	if _, err := os.Stat(filepath.Join(Root(), "go.mod")); err != nil {
		t.Error(err)
	}
}
