package tigergraph

import (
	"go/ast"
	"go/parser"
	source "go/token"
	"slices"
	"strconv"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/options"
)

// The list of options for those who misspell one is that of the parser.
func TestTheOptionsThatAreSuggestedAreThoseThatExist(t *testing.T) {
	for _, option := range options.OfPolicy {
		if !isPolicyOption(option) {
			t.Errorf("the policy has no option %q", option)
		}
	}
	file, err := parser.ParseFile(source.NewFileSet(), "caddyfile.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	ast.Inspect(file, func(node ast.Node) bool {
		clause, is := node.(*ast.CaseClause)
		if !is {
			return true
		}
		for _, expression := range clause.List {
			literal, is := expression.(*ast.BasicLit)
			if !is {
				continue
			}
			if option, err := strconv.Unquote(literal.Value); err == nil && isPolicyOption(option) {
				if read++; !slices.Contains(options.OfPolicy, option) {
					t.Errorf("options.OfPolicy lacks %q", option)
				}
			}
		}
		return true
	})
	if read < len(options.OfPolicy) {
		t.Errorf("%d options were found in the parser, want %d at least", read, len(options.OfPolicy))
	}
}
