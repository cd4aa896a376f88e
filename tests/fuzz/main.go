/*
Command fuzz runs every fuzz target of the module for a time, one after the other, and keeps what it finds.

	fuzz -time 120s -report docs/proof/fuzz.md [-only REGEXP]

	.cache/proof/fuzz.json    what each target has had, with the SHA-256 of its test binary: that of another does not count,
	                          so a run that was cut off is continued
	.cache/proof/fuzz/        the test binaries, and all inputs that reached something new
	PACKAGE/testdata/fuzz/    the seed corpus: the first small ones of those inputs, which every go test runs again; and each
	                          input that fails, which belongs into the repository
*/
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"time"

	"ovs/tests/proof"
)

func main() {
	f := fuzz{root: proof.Root(), kept: proof.Of("fuzz")}
	flag.DurationVar(&f.time, "time", 2*time.Minute, "time for each target")
	flag.StringVar(&f.report, "report", "docs/proof/fuzz.md", "file for the report, relative to the module; empty: none")
	only := flag.String("only", "", "only targets whose package and name match this regular expression")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := f.run(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

// fuzz is one run.
type fuzz struct {
	root, report string
	time         time.Duration
	kept         proof.Log
	done         map[string]had
}

// had is what a target has had.
type had struct {
	Binary     string // SHA-256 of the test binary
	Time       time.Duration
	Executions int64
	New        int // inputs that reached something new
	Kept       int // of those, in the seed corpus
}

// target is a fuzz target.
type target struct{ dir, name string }

func (t target) String() string { return t.dir + " " + t.name }

func (f *fuzz) run(ctx context.Context, only string) error {
	choose, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	targets, err := find(f.root)
	if err != nil {
		return err
	}
	if _, err := f.kept.Load(&f.done); err != nil {
		return err
	}
	if f.done == nil {
		f.done = map[string]had{}
	}
	sums, failed := map[string]string{}, []error{}
	for _, t := range targets {
		if !choose.MatchString(t.String()) {
			continue
		}
		if sums[t.dir] == "" {
			if sums[t.dir], err = f.build(ctx, t.dir); err != nil {
				return err
			}
		}
		if err := f.one(ctx, t, sums[t.dir]); err != nil {
			failed = append(failed, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if f.report != "" {
		failed = append(failed, os.WriteFile(filepath.Join(f.root, f.report), []byte(f.text(targets, len(failed))), 0o644))
	}
	return errors.Join(failed...)
}

// work is where things of a package are kept.
func (f *fuzz) work(dir, what string) string {
	return filepath.Join(f.root, ".cache", "proof", "fuzz", filepath.FromSlash(dir), what)
}

// build makes the test binary of a package, with the counters that fuzzing needs.
func (f *fuzz) build(ctx context.Context, dir string) (sum string, err error) {
	binary := f.work(dir, "test")
	if err := os.MkdirAll(filepath.Dir(binary), 0o755); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-fuzz", "Fuzz", "-o", binary, "./"+dir)
	cmd.Dir = f.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go test -c ./%s: %w\n%s", dir, err, out)
	}
	return proof.Sum(binary)
}

// one runs one target, for what it has not had yet.
func (f *fuzz) one(ctx context.Context, t target, sum string) error {
	h := f.done[t.String()]
	if h.Binary != sum {
		h = had{Binary: sum}
	}
	rest := f.time - h.Time
	if rest <= 0 {
		fmt.Printf("%s: had %v already\n", t, h.Time)
		return nil
	}
	cache := f.work(t.dir, "corpus")
	before, err := inputs(filepath.Join(cache, t.name))
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, f.work(t.dir, "test"), "-test.run=^$", "-test.fuzz=^"+t.name+"$", "-test.fuzztime="+rest.String(),
		"-test.fuzzminimizetime=10x", "-test.fuzzcachedir="+cache)
	cmd.Dir = filepath.Join(f.root, filepath.FromSlash(t.dir))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", t, err, out[max(0, len(out)-8000):])
	}
	executions, ok := count(string(out))
	if !ok {
		return fmt.Errorf("%s: no line of progress in\n%s", t, out)
	}
	after, err := inputs(filepath.Join(cache, t.name))
	if err != nil {
		return err
	}
	if h.Kept, err = keep(after, filepath.Join(cmd.Dir, "testdata", "fuzz", t.name)); err != nil {
		return err
	}
	h.Time, h.Executions, h.New = h.Time+rest, h.Executions+executions, h.New+len(after)-len(before)
	f.done[t.String()] = h
	fmt.Printf("%s: %v, %d executions, %d new inputs, %d kept\n", t, h.Time, h.Executions, h.New, h.Kept)
	return f.kept.Save(f.done)
}
