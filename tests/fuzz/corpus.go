package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The seed corpus is bounded: it is a part of the repository, and every go test runs all of it. What comes first reaches most.
const (
	mostKept  = 48
	mostBytes = 2 << 10 // of one input
)

var function = regexp.MustCompile(`(?m)^func (Fuzz[A-Z]\w*)\(`)

// find gives the fuzz targets of a module, in order.
func find(root string) (list []target, err error) {
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(name))
		for _, m := range function.FindAllSubmatch(text, -1) {
			list = append(list, target{filepath.ToSlash(dir), string(m[1])})
		}
		return err
	})
	slices.SortFunc(list, func(a, b target) int { return cmp.Or(cmp.Compare(a.dir, b.dir), cmp.Compare(a.name, b.name)) })
	return list, err
}

var progress = regexp.MustCompile(`fuzz: elapsed: \S+, execs: (\d+) `)

// count is how often a target was run, as the last line of progress says.
func count(out string) (executions int64, ok bool) {
	all := progress.FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(all[len(all)-1][1], 10, 64)
	return n, err == nil
}

// input is a file of a corpus.
type input struct {
	name string
	size int64
	at   time.Time
}

// inputs gives a corpus, the oldest first.
func inputs(dir string) (list []input, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		list = append(list, input{filepath.Join(dir, e.Name()), info.Size(), info.ModTime()})
	}
	slices.SortFunc(list, func(a, b input) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.name, b.name)) })
	return list, err
}

// keep copies what is small into the seed corpus until that is full, and gives the number of inputs in there.
func keep(found []input, dir string) (n int, err error) {
	there, err := inputs(dir)
	if err != nil {
		return 0, err
	}
	n = len(there)
	for _, i := range found {
		to := filepath.Join(dir, filepath.Base(i.name))
		known := slices.ContainsFunc(there, func(o input) bool { return o.name == to })
		if n >= mostKept || known || i.size > mostBytes {
			continue
		}
		text, err := os.ReadFile(i.name)
		if err == nil {
			err = errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(to, text, 0o644))
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// text is the report.
func (f *fuzz) text(targets []target, failed int) string {
	var b strings.Builder
	rows, short := 0, 0
	var table strings.Builder
	for _, t := range targets {
		h := f.done[t.String()]
		if h.Time < f.time {
			short++
		}
		rows++
		fmt.Fprintf(&table, "| %s | %s | %v | %d | %d | %d | %.12s |\n", t.dir, t.name, h.Time, h.Executions, h.New, h.Kept, h.Binary)
	}
	fmt.Fprintf(&b, "# Fuzzing\n\n`make fuzz`, %s: %d targets, each for %v, %d failed. ", time.Now().Format(time.DateOnly), rows, f.time, failed)
	if short > 0 {
		fmt.Fprintf(&b, "%d of them have not had it yet. ", short)
	}
	fmt.Fprintf(&b, "New inputs are those that reached code\nwhich no input before had reached; the first %d of at most %d KiB are kept in `testdata/fuzz`, and every `go test` runs them.\n\n"+
		"| package | target | time | executions | new inputs | kept | binary |\n|---|---|---|---|---|---|---|\n", mostKept, mostBytes>>10)
	return b.String() + table.String()
}
