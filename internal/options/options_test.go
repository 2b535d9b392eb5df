package options_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/options"
)

// block is a block of options, one a line, of which words are looked at in turn. An
// empty word is written as "".
type block struct {
	lines  [][]string
	line   int
	word   int
	nested int
}

// parse returns a block with these lines, before its first one.
func parse(text string) *block {
	b := &block{line: -1}
	for line := range strings.Lines(text) {
		var words []string
		for word := range strings.FieldsSeq(line) {
			words = append(words, strings.ReplaceAll(word, `""`, ""))
		}
		b.lines = append(b.lines, words)
	}
	return b
}

// at returns a line whose option is looked at.
func at(line string) *block {
	b := parse(line)
	b.NextBlock(0)
	return b
}

func (b *block) Val() string { return b.lines[b.line][b.word] }

func (b *block) NextArg() bool {
	if b.word+1 >= len(b.lines[b.line]) {
		return false
	}
	b.word++
	return true
}

func (b *block) RemainingArgs() []string {
	left := b.lines[b.line][b.word+1:]
	b.word = len(b.lines[b.line]) - 1
	return left
}

func (b *block) Nesting() int { return b.nested }

func (b *block) NextBlock(int) bool {
	b.line, b.word = b.line+1, 0
	return b.line < len(b.lines)
}

func TestEachOptionIsReadOnceButThoseOfWhichThereMayBeSeveral(t *testing.T) {
	for _, test := range []struct {
		text, want string
		refused    string
	}{
		{text: "", want: ""},
		{text: "a 1\nb 2", want: "a b"},
		{text: "a 1\nmany 2\nmany 3", want: "a many many"},
		{text: "a 1\nb 2\na 3", want: "a b", refused: "a is already specified"},
		{text: "a 1\nwrong\nb", want: "a", refused: "unrecognized option 'wrong'"},
		{text: "before", want: "", refused: "before is already specified"},
	} {
		var read []string
		err := options.Each(parse(test.text), options.Given{"before": true}, []string{"many"}, func(option string) error {
			if option == "wrong" {
				return options.UnknownError(option)
			}
			read = append(read, option)
			return nil
		})
		if got := strings.Join(read, " "); got != test.want {
			t.Errorf("%q: read %q, want %q", test.text, got, test.want)
		}
		if text := said(err); text != test.refused {
			t.Errorf("%q: %q, want %q", test.text, text, test.refused)
		}
	}
}

func said(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestValuesThatCannotBeMeantAreRefusedByTheNameOfTheirOption(t *testing.T) {
	duration := func(w options.Words, option string) (any, error) {
		return options.Duration(w, option, time.ParseDuration)
	}
	positive := func(w options.Words, option string) (any, error) {
		return options.PositiveDuration(w, option, time.ParseDuration)
	}
	argument := func(w options.Words, option string) (any, error) { return options.Argument(w, option) }
	count := func(w options.Words, option string) (any, error) { return options.Count(w, option) }
	bits := func(w options.Words, option string) (any, error) { return options.Bits(w, option, 32) }
	percent := func(w options.Words, option string) (any, error) { return options.Percent(w, option) }
	for _, test := range []struct {
		line    string
		read    func(options.Words, string) (any, error)
		want    any
		refused string
	}{
		{line: "name a", read: argument, want: "a"},
		{line: "name", read: argument, refused: "name needs a value"},
		{line: `name ""`, read: argument, refused: "name needs a value"},
		{line: "name a b", read: argument, refused: "unexpected argument 'b' after 'name a'"},
		{line: "wait 90s", read: duration, want: 90 * time.Second},
		{line: "wait 0s", read: duration, want: time.Duration(0)},
		{line: "wait long", read: duration, refused: "wait must be a duration such as 90s or 24h, not 'long'"},
		{line: "wait 0s", read: positive, refused: "wait must be more than 0, not 0s"},
		{line: "wait -1s", read: positive, refused: "wait must be more than 0, not -1s"},
		{line: "wait 1s", read: positive, want: time.Second},
		{line: "fails 3", read: count, want: 3},
		{line: "fails 0", read: count, refused: "fails must be a number from 1 on, not '0'"},
		{line: "fails x", read: count, refused: "fails must be a number from 1 on, not 'x'"},
		{line: "prefix 24", read: bits, want: 24},
		{line: "prefix /24", read: bits, refused: "prefix must be a number of bits from 1 to 32, not '/24'"},
		{line: "jitter 10%", read: percent, want: 10},
		{line: "jitter 10", read: percent, want: 10},
		{line: "jitter few", read: percent, refused: "jitter must be a percentage from 0 to 100, not 'few'"},
		{line: "jitter", read: percent, refused: "jitter needs a value"},
	} {
		option, _, _ := strings.Cut(test.line, " ")
		value, err := test.read(at(test.line), option)
		if said(err) != test.refused {
			t.Errorf("%q: %q, want %q", test.line, said(err), test.refused)
		}
		if err == nil && value != test.want {
			t.Errorf("%q: %v, want %v", test.line, value, test.want)
		}
	}
}

func TestOptionsWithSeveralValuesNeedThemAll(t *testing.T) {
	nodes, err := options.Nodes(at("drain m1 m2"), "drain")
	if err != nil || !slices.Equal(nodes, []string{"m1", "m2"}) {
		t.Errorf("nodes %v: %v", nodes, err)
	}
	secrets, err := options.Secrets(at("secret new old"))
	if err != nil || !slices.Equal(secrets, []string{"new", "old"}) {
		t.Errorf("secrets %v: %v", secrets, err)
	}
	name, nodes, err := options.Standby(at("standby dr m4 m5"))
	if err != nil || name != "dr" || !slices.Equal(nodes, []string{"m4", "m5"}) {
		t.Errorf("standby %q %v: %v", name, nodes, err)
	}
	field, value, err := options.Header(at("header Accept text/plain"))
	if err != nil || field != "Accept" || value != "text/plain" {
		t.Errorf("header %q %q: %v", field, value, err)
	}
	node, weight, err := options.Weight(at("weight m2 3"), map[string]int{"m1": 2}, 9)
	if err != nil || node != "m2" || weight != 3 {
		t.Errorf("weight %q %d: %v", node, weight, err)
	}
	refused := func(_ any, err error) error { return err }
	_, _, lonely := options.Standby(at("standby dr"))
	_, _, fieldAlone := options.Header(at("header Accept"))
	weigh := func(line string) error {
		_, _, err := options.Weight(at(line), map[string]int{"m1": 2}, 9)
		return err
	}
	for want, err := range map[string]error{
		"drain needs at least one node": refused(options.Nodes(at("drain"), "drain")),
		"secret needs a value":          refused(options.Secrets(at("secret"))),
		"standby needs the name of a cluster and its nodes, as in 'standby dr m4 m5 m6'": lonely,
		"header needs a field and a value":                                               fieldAlone,
		"weight needs a node and a number":                                               weigh("weight m1"),
		"the weight of 'm2' must be from 0 to 9, not 'x'":                                weigh("weight m2 x"),
		"the weight of 'm1' is already specified":                                        weigh("weight m1 3"),
	} {
		if said(err) != want {
			t.Errorf("%q, want %q", said(err), want)
		}
	}
}

func TestWhatIsNoOptionIsToldFromWhatIsWrittenWrongly(t *testing.T) {
	if !errors.As(error(options.UnknownError("a")), new(options.UnknownError)) || errors.As(options.NoArgument(at("a b"), "a"), new(options.UnknownError)) {
		t.Error("an unknown option is not told apart")
	}
}

func TestTheNamesOfOtherModulesAreReadAndSlipsRefused(t *testing.T) {
	for line, want := range map[string]string{
		"health_check": "services", "health_check off": "off", "health_check services": "services",
		"health_check of": "write 'off'", "health_check false": "write 'off'", "health_check None": "write 'off'", "health_check disabled": "write 'off'",
		"health_check gsql": "there is no check named 'gsql': expected services or no or off", "health_check no": "no",
		"health_check service": "there is no check named 'service': did you mean 'services'?",
	} {
		if got, err := options.Check(at(line), []string{"services", "no"}); got != want && !strings.Contains(said(err), want) {
			t.Errorf("%s: %q, %v; want %q", line, got, err, want)
		}
	}
	for line, want := range map[string]string{
		"fallback least_conn": "least_conn", "fallback": "fallback needs the name of a selection policy",
	} {
		if got, err := options.Fallback(at(line)); got != want && !strings.Contains(said(err), want) {
			t.Errorf("%s: %q, %v; want %q", line, got, err, want)
		}
	}
	for word, want := range map[string]string{"slowstart": "did you mean 'slow_start'?", "header_upp": "expected an option of 'lb_policy tigergraph'"} {
		if got := options.Hint(word); !strings.Contains(got, want) {
			t.Errorf("the hint for %s is %q", word, got)
		}
	}
}
