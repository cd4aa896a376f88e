/*
Command faults counts the error paths that tests have run: of all `if err != nil` in the given packages, those whose body
was executed according to coverage profiles.

	go test -coverpkg=ovs/dtl,… -coverprofile=a.out ./dtl    any number of test runs, each with a profile
	faults -report docs/proof/faults.md a.out b.out          a table by package, and the paths that nothing ran

An error path is the body of an if statement whose condition compares something called err (or …Err) with nil by !=.
*/
package main

import (
	"bufio"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	root := flag.String("root", ".", "the module's directory")
	report := flag.String("report", "", "write the report to this file, not to standard output")
	least := flag.Float64("least", 0, "fail below this percentage in any package")
	flag.Parse()
	if err := run(*root, *report, *least, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run(root, report string, least float64, profiles []string) error {
	if len(profiles) == 0 {
		return errors.New("name at least one coverage profile (go test -coverprofile)")
	}
	runs := runs{}
	for _, name := range profiles {
		if err := runs.read(name); err != nil {
			return err
		}
	}
	var paths []errorPath
	for _, file := range runs.files() {
		more, err := pathsOf(root, file)
		if err != nil {
			return err
		}
		paths = append(paths, more...)
	}
	out := io.Writer(os.Stdout)
	if report != "" {
		f, err := os.Create(report)
		if err != nil {
			return err
		}
		defer f.Close()
		out = f
	}
	return write(out, paths, runs, least)
}

// place is where a block begins: ovs/dtl/log.go:12.34.
type place struct {
	file         string
	line, column int
}

// runs is how often each block was run.
type runs map[place]int

// read adds a profile of go test -coverprofile.
func (r runs) read(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		text := lines.Text()
		if strings.HasPrefix(text, "mode:") {
			continue
		}
		var p place
		var endLine, endColumn, statements, count int
		file, rest, ok := strings.Cut(text, ":")
		if !ok {
			return fmt.Errorf("%s: line %q is not of a coverage profile", name, text)
		}
		if _, err := fmt.Sscanf(rest, "%d.%d,%d.%d %d %d", &p.line, &p.column, &endLine, &endColumn, &statements, &count); err != nil {
			return fmt.Errorf("%s: line %q: %w", name, text, err)
		}
		p.file = file
		r[p] += count
	}
	return lines.Err()
}

func (r runs) files() []string {
	set := map[string]bool{}
	for p := range r {
		set[p.file] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// errorPath is the body of an `if err != nil`.
type errorPath struct {
	body place
	text string // the line of the condition
}

func pathsOf(root, file string) ([]errorPath, error) {
	name := filepath.Join(root, strings.TrimPrefix(file, "ovs/"))
	source, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(source), "\n")
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, source, 0)
	if err != nil {
		return nil, err
	}
	var paths []errorPath
	ast.Inspect(tree, func(n ast.Node) bool {
		if s, ok := n.(*ast.IfStmt); ok && comparesError(s.Cond) {
			at := set.Position(s.Body.Lbrace)
			paths = append(paths, errorPath{place{file, at.Line, at.Column}, strings.TrimSpace(lines[set.Position(s.If).Line-1])})
		}
		return true
	})
	return paths, nil
}

// comparesError tells whether a condition has `err != nil` in it.
func comparesError(cond ast.Expr) bool {
	found := false
	ast.Inspect(cond, func(n ast.Node) bool {
		if b, ok := n.(*ast.BinaryExpr); ok && b.Op == token.NEQ && isNil(b.Y) && isError(b.X) {
			found = true
		}
		return !found
	})
	return found
}

func isNil(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == "nil"
}

func isError(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "err" || strings.HasSuffix(e.Name, "Err")
	case *ast.SelectorExpr:
		return e.Sel.Name == "err" || e.Sel.Name == "Err"
	}
	return false
}

// write prints the table and what nothing ran; an error where a package has less than it must.
func write(out io.Writer, paths []errorPath, runs runs, least float64) error {
	type sum struct{ all, run int }
	sums := map[string]*sum{}
	var idle []errorPath
	for _, p := range paths {
		name := path.Dir(p.body.file)
		s := sums[name]
		if s == nil {
			s = &sum{}
			sums[name] = s
		}
		s.all++
		if runs[p.body] > 0 {
			s.run++
		} else {
			idle = append(idle, p)
		}
	}
	var low []string
	fmt.Fprint(out, "| package | error paths | run | |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		s := sums[name]
		part := 100 * float64(s.run) / float64(s.all)
		fmt.Fprintf(out, "| %s | %d | %d | %.1f %% |\n", name, s.all, s.run, part)
		if part < least {
			low = append(low, fmt.Sprintf("%s has %.1f %%", name, part))
		}
	}
	fmt.Fprint(out, "\nNot run:\n\n")
	slices.SortFunc(idle, func(a, b errorPath) int {
		return cmp.Or(cmp.Compare(a.body.file, b.body.file), cmp.Compare(a.body.line, b.body.line))
	})
	for _, p := range idle {
		fmt.Fprintf(out, "- %s:%d `%s`\n", p.body.file, p.body.line, p.text)
	}
	if len(low) > 0 {
		return fmt.Errorf("less than %g %%: %s", least, strings.Join(low, ", "))
	}
	return nil
}
