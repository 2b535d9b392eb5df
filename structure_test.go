package tigergraph_test

import (
	"bytes"
	"go/ast"
	"go/importer"
	"go/parser"
	source "go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What the root package may grow to. It is the thin side that knows Caddy; what
// decides belongs in internal/. These bounds may only fall: whoever makes the package
// smaller or its files less entangled puts them down to what is left. They were meant to
// end at 4,600 lines, and what names Caddy, with types and their documentation, is more.
const (
	mostLines  = 7372
	mostCircle = 4
	mostPairs  = 5
	// mostFileLines is how long one file may be.
	mostFileLines = 450
)

func TestTheRootPackageStaysThinAndItsFilesApart(t *testing.T) {
	uses, lines := usesOfFiles(t)
	sum := 0
	for file, count := range lines {
		sum += count
		if count > mostFileLines {
			t.Errorf("%s has %d lines, more than %d: split it by subject", file, count, mostFileLines)
		}
	}
	if sum > mostLines {
		t.Errorf("the root package has %d lines, more than %d: what decides belongs in internal/", sum, mostLines)
	}
	if circle := largestCircle(uses); len(circle) > mostCircle {
		t.Errorf("%d files reach each other, more than %d: %s", len(circle), mostCircle, strings.Join(circle, ", "))
	}
	if pairs := mutualPairs(uses); len(pairs) > mostPairs {
		t.Errorf("%d pairs of files use each other, more than %d: %s", len(pairs), mostPairs, strings.Join(pairs, ", "))
	}
	t.Logf("%d lines, %d files in the largest circle, %d mutual pairs", sum, len(largestCircle(uses)), len(mutualPairs(uses)))
}

func TestNoFileOfTheRoomsIsLong(t *testing.T) {
	for _, room := range []string{"command", "internal"} {
		err := filepath.WalkDir(room, func(path string, entry os.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case path == "internal/tgnode": // no part of the plugin
				return filepath.SkipDir
			case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			text, err := os.ReadFile(path)
			if count := bytes.Count(text, []byte("\n")); count > mostFileLines {
				t.Errorf("%s has %d lines, more than %d: split it by subject", path, count, mostFileLines)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// usesOfFiles returns which files of the root package use something that another one
// declares, methods and fields included, and how many lines each has.
func usesOfFiles(t *testing.T) (uses map[string]map[string]bool, lines map[string]int) {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	uses, lines = make(map[string]map[string]bool), make(map[string]int)
	set := source.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
		uses[name], lines[name] = make(map[string]bool), bytes.Count(text, []byte("\n"))
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: importer.ForCompiler(set, "gc", exported(t))}
	root, err := config.Check("root", set, files, info)
	if err != nil {
		t.Fatal(err)
	}
	for identifier, object := range info.Uses {
		from, to := set.Position(identifier.Pos()).Filename, set.Position(object.Pos()).Filename
		if object.Pkg() == root && from != to {
			uses[from][to] = true
		}
	}
	return uses, lines
}

// exported returns a function that opens what the compiler has exported of a package
// which the root package imports, directly or not.
func exported(t *testing.T) func(path string) (io.ReadCloser, error) {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".")
	list.Stderr = os.Stderr
	output, err := list.Output()
	if err != nil {
		t.Fatalf("listing the packages: %v", err)
	}
	files := make(map[string]string)
	for line := range strings.Lines(string(output)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}

// largestCircle returns the most files of which each reaches each other by what it
// uses.
func largestCircle(uses map[string]map[string]bool) (largest []string) {
	reached := make(map[string]map[string]bool)
	for file := range uses {
		reached[file] = make(map[string]bool)
		for waiting := slices.Collect(maps.Keys(uses[file])); len(waiting) > 0; {
			next := waiting[0]
			waiting = waiting[1:]
			if !reached[file][next] {
				reached[file][next] = true
				waiting = slices.AppendSeq(waiting, maps.Keys(uses[next]))
			}
		}
	}
	for _, file := range slices.Sorted(maps.Keys(uses)) {
		var circle []string
		for _, other := range slices.Sorted(maps.Keys(reached[file])) {
			if reached[other][file] {
				circle = append(circle, other)
			}
		}
		if len(circle) > len(largest) {
			largest = circle
		}
	}
	return largest
}

// mutualPairs returns the pairs of files that use each other.
func mutualPairs(uses map[string]map[string]bool) (pairs []string) {
	for _, file := range slices.Sorted(maps.Keys(uses)) {
		for _, other := range slices.Sorted(maps.Keys(uses[file])) {
			if file < other && uses[other][file] {
				pairs = append(pairs, file+" and "+other)
			}
		}
	}
	return pairs
}
