package laws

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "ovs"

// components are the rooms of the house: they meet in storagerouter and cmd only.
var components = []string{"nfsd", "objectrouter", "volumedriver", "filedriver", "dtl", "albaproxy", "arakoon", "framework"}

type pkg struct {
	ImportPath string
	Dir        string
	Doc        string
	Standard   bool
	Imports    []string
	GoFiles    []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Doc,Standard,Imports,GoFiles", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p pkg
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func componentOf(path string) string {
	rest, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	top, _, _ := strings.Cut(rest, "/")
	if slices.Contains(components, top) {
		return top
	}
	return ""
}

// forbidden says why from must not import to; "" when it may.
func forbidden(from, to string) string {
	if !strings.HasPrefix(to, module+"/") && to != module {
		return ""
	}
	a, b := componentOf(from), componentOf(to)
	top := strings.TrimPrefix(to, module+"/")
	switch {
	case from == module:
		return "the nouns stand below everything: package ovs imports the standard library only"
	case a != "" && b != "" && a != b:
		return "components meet through the interfaces of package ovs; only storagerouter and cmd wire them"
	case a != "" && (strings.HasPrefix(top, "storagerouter") || strings.HasPrefix(top, "cmd")):
		return "a component does not know who built it"
	case strings.HasPrefix(from, module+"/internal/") && (b != "" || strings.HasPrefix(top, "storagerouter") || strings.HasPrefix(top, "cmd")):
		return "internal helpers stand below the components"
	case strings.HasPrefix(top, "tests/") && !strings.HasPrefix(from, module+"/tests/"):
		return "the product does not know its tests"
	}
	return ""
}

func TestNoForbiddenImports(t *testing.T) {
	for _, p := range list(t) {
		for _, to := range p.Imports {
			if why := forbidden(p.ImportPath, to); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, to, why)
			}
			if p.ImportPath == module && strings.Contains(strings.Split(to, "/")[0], ".") {
				t.Errorf("package ovs imports %s: standard library only", to)
			}
		}
	}
}

func TestForbiddenCatches(t *testing.T) {
	for _, edge := range [][2]string{
		{"ovs/nfsd", "ovs/dtl"}, {"ovs", "ovs/internal/vfs"}, {"ovs/internal/vfs", "ovs/dtl"}, {"ovs/dtl", "ovs/storagerouter"},
		{"ovs/internal/vfs", "ovs/storagerouter"}, {"ovs/storagerouter", "ovs/tests/oracle"},
	} {
		if forbidden(edge[0], edge[1]) == "" {
			t.Errorf("%s -> %s must be forbidden", edge[0], edge[1])
		}
	}
	for _, edge := range [][2]string{{"ovs/nfsd", "ovs"}, {"ovs/dtl", "ovs/internal/vfs"}, {"ovs/storagerouter", "ovs/dtl"}, {"ovs/albaproxy", "ovs/albaproxy/asd"}} {
		if why := forbidden(edge[0], edge[1]); why != "" {
			t.Errorf("%s -> %s must be allowed: %s", edge[0], edge[1], why)
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// eachFile parses every Go file of the tree.
func eachFile(t *testing.T, f func(path string, src []byte, file *ast.File, set *token.FileSet)) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "testdata" || d.Name() == "data" || d.Name() == "bin") && path != "../.." {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, src, parser.ParseComments)
		if err != nil {
			return err
		}
		f(path, src, file, set)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFormatted(t *testing.T) {
	eachFile(t, func(path string, src []byte, _ *ast.File, _ *token.FileSet) {
		if want, err := format.Source(src); err != nil || !bytes.Equal(src, want) {
			t.Errorf("%s is not formatted: run gofmt -w (%v)", path, err)
		}
	})
}

// The longest source file and function that the house allows, tests left out.
const maxFile, maxFunc = 500, 100

func TestRoomsCanBeSeenWhole(t *testing.T) {
	var longFile, longFunc string
	var fileLines, funcLines int
	eachFile(t, func(path string, src []byte, file *ast.File, set *token.FileSet) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		if n := bytes.Count(src, []byte("\n")); n > fileLines {
			fileLines, longFile = n, path
		}
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := set.Position(fn.End()).Line - set.Position(fn.Pos()).Line + 1; n > funcLines {
				funcLines, longFunc = n, path+": "+fn.Name.Name
			}
		}
	})
	t.Logf("longest file %s: %d lines; longest function %s: %d lines", longFile, fileLines, longFunc, funcLines)
	if fileLines > maxFile {
		t.Errorf("%s has %d lines, more than %d", longFile, fileLines, maxFile)
	}
	if funcLines > maxFunc {
		t.Errorf("%s has %d lines, more than %d", longFunc, funcLines, maxFunc)
	}
}

// No init wiring: storagerouter and cmd wire, when they are called.
func TestNoInit(t *testing.T) {
	eachFile(t, func(path string, _ []byte, file *ast.File, set *token.FileSet) {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init", set.Position(f.Pos()))
			}
		}
	})
}

// osFree are the parts whose disk comes in through internal/vfs, so that a power cut can be played on them.
var osFree = []string{"dtl", "albaproxy", "volumedriver", "filedriver", "objectrouter", "nfsd", "arakoon"}

func TestDiskComesFromOutside(t *testing.T) {
	calls := []string{"Open", "OpenFile", "Create", "Mkdir", "MkdirAll", "Remove", "RemoveAll", "Rename", "ReadFile", "WriteFile", "ReadDir", "Stat", "Truncate"}
	eachFile(t, func(path string, _ []byte, file *ast.File, set *token.FileSet) {
		rel := strings.TrimPrefix(filepath.ToSlash(path), "../../")
		top, _, _ := strings.Cut(rel, "/")
		if !slices.Contains(osFree, top) || strings.HasSuffix(path, "_test.go") {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "os" && x.Obj == nil && slices.Contains(calls, sel.Sel.Name) {
				t.Errorf("%s: os.%s: the disk comes in through internal/vfs", set.Position(sel.Pos()), sel.Sel.Name)
			}
			return true
		})
	})
}
