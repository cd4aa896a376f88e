//go:build proof

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ovs/tests/proof"
)

var (
	least    = flag.Float64("faults.least", 90, "percentage of error paths that must be run in each package")
	reportTo = flag.String("faults.report", "docs/proof/faults.md", "file for the report, relative to the module; empty: none")
)

// packages are those whose error paths are counted.
var packages = []string{"dtl", "volumedriver", "filedriver", "albaproxy", "albaproxy/asd"}

// shown is what the tests of one package have shown: its profile lies beside the state.
type shown struct {
	Binary string // SHA-256 of the test binary
	Took   time.Duration
}

// TestProof runs all tests of each package, with coverage of all of them, and counts. A package whose test binary has been
// run already is left alone.
func TestProof(t *testing.T) {
	kept, state := proof.Of("faults"), map[string]shown{}
	if _, err := kept.Load(&state); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(proof.Root(), ".cache", "proof", "faults")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var profiles []string
	for _, name := range packages {
		base := filepath.Join(dir, strings.ReplaceAll(name, "/", "-"))
		profile, binary := base+".out", base+".test"
		profiles = append(profiles, profile)
		if err := build(t.Context(), name, binary); err != nil {
			t.Fatal(err)
		}
		sum, err := proof.Sum(binary)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(profile); err == nil && state[name].Binary == sum {
			t.Logf("%s: run already, in %v", name, state[name].Took.Round(time.Second))
			continue
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		began := time.Now()
		if err := cover(t.Context(), name, binary, profile); err != nil {
			t.Fatal(err)
		}
		state[name] = shown{sum, time.Since(began)}
		t.Logf("%s: %v", name, state[name].Took.Round(time.Second))
		if err := kept.Save(state); err != nil {
			t.Fatal(err)
		}
	}
	if err := tell(state, profiles, t.TempDir()); err != nil {
		t.Error(err)
	}
}

// build makes the test binary of a package, with counters in all packages.
func build(ctx context.Context, name, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-covermode=set", "-coverpkg=ovs/"+strings.Join(packages, ",ovs/"),
		"-o", binary, "ovs/"+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go test -c %s: %w\n%s", name, err, out)
	}
	return nil
}

// cover runs a test binary; the profile is there only when all tests passed.
func cover(ctx context.Context, name, binary, profile string) error {
	cmd := exec.CommandContext(ctx, binary, "-test.timeout=30m", "-test.coverprofile="+profile+".new")
	cmd.Dir = filepath.Join(proof.Root(), name)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the tests of %s: %w\n%s", name, err, out[max(0, len(out)-8000):])
	}
	return os.Rename(profile+".new", profile)
}

// tell writes the report; an error where a package has less than it must.
func tell(state map[string]shown, profiles []string, dir string) error {
	table := filepath.Join(dir, "table.md")
	low := run(proof.Root(), table, *least, profiles)
	text, err := os.ReadFile(table)
	if err != nil {
		return errors.Join(low, err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Error paths\n\n`make proof-faults`, %s. At least %g %% of the bodies of `if err != nil` must be run, in each package, by the\n"+
		"tests of these packages; among them those that have every call on a disk, on the registry, the log and the backend go wrong\n"+
		"in turn (`internal/exhaust`), in each way in which it can.\n\n", time.Now().Format(time.DateOnly), *least)
	for _, name := range packages {
		fmt.Fprintf(&b, "- the tests of %s passed in %v; binary SHA-256 %.16s\n", name, state[name].Took.Round(time.Second), state[name].Binary)
	}
	fmt.Fprintf(&b, "\n%s", text)
	fmt.Print(b.String())
	if *reportTo == "" {
		return low
	}
	return errors.Join(low, os.WriteFile(filepath.Join(proof.Root(), *reportTo), []byte(b.String()), 0o644))
}
