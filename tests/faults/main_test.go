package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const source = `package p

func a() error {
	if err := b(); err != nil {
		return err
	}
	if x := c(); x != nil {
		return nil
	}
	if n, err := d(); err != nil && n > 0 {
		return err
	}
	if r.Err != nil {
		return nil
	}
	return nil
}
`

// TestReport: bodies are told from conditions by position, profiles add up, and what is no error does not count.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write("p/p.go", source)
	report := filepath.Join(dir, "report.md")
	// profile is one of a run in which the bodies of the conditions in these lines were executed.
	profile := func(name string, ran ...int) string {
		text := "mode: set\n"
		for i, line := range strings.Split(source, "\n") {
			if at := strings.Index(line, "{"); at >= 0 {
				count := 0
				if slices.Contains(ran, i+1) {
					count = 1
				}
				text += fmt.Sprintf("ovs/p/p.go:%d.%d,%d.3 1 %d\n", i+1, at+1, i+3, count)
			}
		}
		return write(name, text)
	}
	first, second := profile("1.out", 3, 4), profile("2.out", 3, 7, 10)

	if err := run(dir, report, 60, []string{first, second}); err != nil {
		t.Errorf("2 of 3 paths were run, 60 %% asked for: %v", err)
	}
	if err := run(dir, report, 60, []string{first}); err == nil {
		t.Error("1 of 3 paths was run, and 60 % asked for: no error")
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| ovs/p | 3 | 1 | 33.3 % |", "ovs/p/p.go:10 `if n, err := d(); err != nil && n > 0 {`", "ovs/p/p.go:13 "} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "p.go:7") {
		t.Errorf("what compares no error is in the report:\n%s", text)
	}
	if err := run(dir, report, 0, []string{write("3.out", "nonsense\n")}); err == nil {
		t.Error("a profile that is none is taken")
	}
}
