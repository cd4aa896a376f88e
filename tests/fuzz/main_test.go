package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ovs/tests/proof"
)

func write(t *testing.T, name, text string, age time.Duration) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-age)
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b", "c", "x_test.go"), "package c\n\nfunc FuzzTwo(f *testing.F) {}\nfunc FuzzOne(f *testing.F) {}\nfunc Fuzzy() {}\n", 0)
	write(t, filepath.Join(dir, "a.go"), "package p\n\nfunc FuzzNot() {}\n", 0)
	write(t, filepath.Join(dir, "a_test.go"), "package p\n\n// func FuzzNot(f)\nfunc FuzzRoot(f *testing.F) {}\n", 0)
	write(t, filepath.Join(dir, ".cache", "x_test.go"), "package p\n\nfunc FuzzHidden(f *testing.F) {}\n", 0)
	got, err := find(dir)
	if want := []target{{".", "FuzzRoot"}, {"b/c", "FuzzOne"}, {"b/c", "FuzzTwo"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, want %v (%v)", got, want, err)
	}
}

func TestCount(t *testing.T) {
	out := "fuzz: elapsed: 0s, gathering baseline coverage: 2/2 completed, now fuzzing with 2 workers\n" +
		"fuzz: elapsed: 3s, execs: 45658 (15214/sec), new interesting: 3 (total: 5)\n" +
		"fuzz: elapsed: 5s, execs: 70001 (12172/sec), new interesting: 4 (total: 6)\nPASS\n"
	if n, ok := count(out); n != 70001 || !ok {
		t.Errorf("%d, %v", n, ok)
	}
	if _, ok := count("PASS\n"); ok {
		t.Error("a run without progress counts")
	}
}

// TestKeep: what is small and came first is kept, once, and never more than a corpus may have.
func TestKeep(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	for i := range mostKept + 5 {
		write(t, filepath.Join(from, fmt.Sprintf("%03d", mostKept+5-i)), "x", time.Duration(i)*time.Minute)
	}
	write(t, filepath.Join(from, "big"), strings.Repeat("x", mostBytes+1), time.Hour*24)
	write(t, filepath.Join(to, "old"), "x", time.Hour)
	for range 2 {
		found, err := inputs(from)
		if err != nil || len(found) != mostKept+6 || filepath.Base(found[0].name) != "big" {
			t.Fatalf("%d inputs (%v)", len(found), err)
		}
		if n, err := keep(found, to); n != mostKept || err != nil {
			t.Errorf("%d kept (%v), want %d", n, err, mostKept)
		}
	}
	kept, err := inputs(to)
	if err != nil || len(kept) != mostKept {
		t.Errorf("%d in the corpus (%v)", len(kept), err)
	}
	for name, want := range map[string]bool{"001": true, "old": true, "big": false, fmt.Sprintf("%03d", mostKept+5): false} {
		if _, err := os.Stat(filepath.Join(to, name)); (err == nil) != want {
			t.Errorf("%s is there: %v", name, err == nil)
		}
	}
}

// TestRun: a target has its time once, as long as its binary is the same; the input at which one fails is named and kept.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("GOFLAGS", "-buildvcs=false")
	source := func(fails string) string {
		return "package m\n\nimport \"testing\"\n\nfunc FuzzM(f *testing.F) {\n\tf.Add(1)\n\tf.Fuzz(func(t *testing.T, n int) {\n\t\tif " +
			fails + " {\n\t\t\tt.Fatal(n)\n\t\t}\n\t})\n}\n"
	}
	write(t, filepath.Join(dir, "go.mod"), "module m\n", 0)
	write(t, filepath.Join(dir, "m_test.go"), source("false"), 0)
	f := fuzz{root: dir, report: "fuzz.md", time: time.Second, kept: proof.At(filepath.Join(dir, ".cache", "fuzz.json"))}
	if err := f.run(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	first := f.done[". FuzzM"]
	report, err := os.ReadFile(filepath.Join(dir, "fuzz.md"))
	if want := fmt.Sprintf("| . | FuzzM | 1s | %d |", first.Executions); err != nil || first.Executions == 0 || !strings.Contains(string(report), want) {
		t.Errorf("%+v, and the report has no line %q (%v):\n%s", first, want, err, report)
	}
	if err := f.run(t.Context(), ""); err != nil || f.done[". FuzzM"] != first {
		t.Errorf("run again: %+v, before %+v (%v)", f.done[". FuzzM"], first, err)
	}
	write(t, filepath.Join(dir, "m_test.go"), source("n > 100"), 0)
	if err := f.run(t.Context(), ""); err == nil || !strings.Contains(err.Error(), ". FuzzM") {
		t.Errorf("a target that fails: %v", err)
	}
	if list, err := inputs(filepath.Join(dir, "testdata", "fuzz", "FuzzM")); err != nil || len(list) == 0 {
		t.Errorf("no failing input is kept (%v)", err)
	}
	if report, err := os.ReadFile(filepath.Join(dir, "fuzz.md")); err != nil || !strings.Contains(string(report), " 1 failed") {
		t.Errorf("the report does not say so (%v):\n%s", err, report)
	}
	if f.done[". FuzzM"] != first {
		t.Errorf("what failed counts: %+v", f.done[". FuzzM"])
	}
}
