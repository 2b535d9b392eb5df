package tigergraph_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// goldens returns the Caddyfiles of the golden files that are not refused, by name.
func goldens(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/caddyfile/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	inputs := make(map[string]string)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		input, want, _ := strings.Cut(string(content), separator)
		if strings.HasPrefix(strings.TrimSpace(want), "{") {
			inputs[strings.TrimSuffix(filepath.Base(file), ".txt")] = input + "\n"
		}
	}
	return inputs
}

// word is one word of a Caddyfile, or a brace.
type word struct {
	text        string
	quoted      bool
	first, last bool // of its line
	brace       bool // that begins or ends a block
	fixed       bool // Caddy itself makes a difference between this and a quoted word
}

// words takes a Caddyfile apart.
func words(t *testing.T, input string) []word {
	t.Helper()
	tokens, err := caddyfile.Tokenize([]byte(input), "Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	var list []word
	inMatcher := false
	for i, token := range tokens {
		w := word{text: token.Text, quoted: token.Quoted()}
		w.first = i == 0 || tokens[i-1].Line+tokens[i-1].NumLineBreaks() < token.Line
		w.last = i == len(tokens)-1 || token.Line+token.NumLineBreaks() < tokens[i+1].Line
		w.brace = !w.quoted && (w.text == "{" || w.text == "}")
		if w.first {
			inMatcher = strings.HasPrefix(w.text, "@") || w.text == "lb_retry_match" || i > 1 && tokens[i-2].Text == "lb_retry_match"
		}
		// Where Caddy expects the name of a matcher, a quoted word is an expression;
		// and quoted keys of blocks and of imports are looked for as they stand.
		w.fixed = inMatcher || w.text == "import" || w.text == "{block}" || strings.HasPrefix(w.text, "(") || strings.HasPrefix(w.text, "&(")
		list = append(list, w)
	}
	return list
}

// write puts the words together again; as says how each is written.
func write(list []word, as func(i int, w word) string) string {
	var text strings.Builder
	for i, w := range list {
		text.WriteString(as(i, w))
		if w.last {
			text.WriteString("\n")
		} else {
			text.WriteString(" ")
		}
	}
	return text.String()
}

func doubleQuoted(text string) string { return `"` + strings.ReplaceAll(text, `"`, `\"`) + `"` }

func plain(_ int, w word) string {
	if w.quoted {
		return doubleQuoted(w.text)
	}
	return w.text
}

func TestQuotingAWordOfACaddyfileChangesNothing(t *testing.T) {
	for name, input := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			want, list := adapt(t, input), words(t, input)
			if got := adapt(t, write(list, plain)); got != want {
				t.Fatalf("put together again it is\n%s\nand not\n%s", got, want)
			}
			for i, one := range list {
				if one.brace || one.fixed {
					continue
				}
				variants := []string{doubleQuoted(one.text)}
				if !strings.Contains(one.text, "`") {
					variants = append(variants, "`"+one.text+"`")
				}
				if one.last && !one.first {
					variants = append(variants, "<<END\n"+one.text+"\nEND")
				}
				for _, variant := range variants {
					changed := write(list, func(j int, w word) string {
						if j == i {
							return variant
						}
						return plain(j, w)
					})
					if got := adapt(t, changed); got != want {
						t.Errorf("with %s it means\n%s", variant, got)
					}
				}
			}
		})
	}
}

func TestHowACaddyfileIsWrittenChangesNothing(t *testing.T) {
	for name, input := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			want, list := adapt(t, input), words(t, input)
			for how, changed := range map[string]string{
				"carriage returns":      strings.ReplaceAll(input, "\n", "\r\n"),
				"a byte order mark":     "\ufeff" + input,
				"empty lines":           strings.ReplaceAll(input, "\n", "\n\n \t\n"),
				"blanks":                strings.ReplaceAll(input, "\t", "  \t "),
				"comments on each line": strings.ReplaceAll(write(list, plain), "\n", " # a comment { with } \"braces\"\n# and another {\n"),
				"every word quoted": write(list, func(_ int, w word) string {
					if w.brace || w.fixed {
						return plain(0, w)
					}
					return doubleQuoted(w.text)
				}),
				"a line for each word": write(list, func(_ int, w word) string {
					if w.last || w.brace {
						return plain(0, w)
					}
					return plain(0, w) + " \\\n"
				}),
			} {
				if got := adapt(t, changed); got != want {
					t.Errorf("with %s,\n%s\nit means\n%s", how, changed, got)
				}
			}
		})
	}
}

func TestASnippetMeansWhatItsLinesMean(t *testing.T) {
	for name, input := range goldens(t) {
		open, end := strings.Index(input, "tigergraph"), strings.LastIndex(input, "}")
		if !strings.HasPrefix(name, "directive_") || strings.Contains(input, "import") || strings.Contains(input, "&(") || open < 0 ||
			strings.Count(input[:open], "{") != 1 || !strings.HasPrefix(input, ":80 {") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			want, body := adapt(t, input), input[len(":80 {"):end]
			for how, changed := range map[string]string{
				"a snippet":                   "(edge) {" + body + "}\n:80 {\nimport edge\n}\n",
				"a block":                     "(edge) {\n{block}\n}\n:80 {\nimport edge {" + body + "}\n}\n",
				"a snippet within a snippet":  "(inner) {" + body + "}\n(edge) {\nimport inner\n}\n:80 {\nimport edge\n}\n",
				"a list from the environment": "{$NO_SUCH_VARIABLE::80} {" + body + "}\n",
			} {
				if got := adapt(t, changed); got != want {
					t.Errorf("as %s it means\n%s", how, got)
				}
			}
			// Each simple line of the directive's block alone, too.
			var inside strings.Builder
			lines := strings.SplitAfter(write(words(t, input), plain), "\n")
			depth := 0
			for _, line := range lines {
				opens, closes := strings.HasSuffix(line, "{\n"), line == "}\n"
				if depth == 2 && !opens && !closes && !strings.ContainsAny(line, "{}") { // Caddy forgets that an argument was quoted
					line = "import same " + line
				}
				inside.WriteString(line)
				switch {
				case opens:
					depth++
				case closes:
					depth--
				}
			}
			if got := adapt(t, "(same) {\n{args[:]}\n}\n"+inside.String()); got != want {
				t.Errorf("with each line imported,\n%s\nit means\n%s", inside.String(), got)
			}
		})
	}
}
