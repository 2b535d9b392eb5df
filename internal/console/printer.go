// Package console prints what the commands have to say, for people: tables, what is
// wrong and what to do about it, and what a command waits for.
package console

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"golang.org/x/term"
)

// columns is how wide a line is at most.
const columns = 78

// Printer prints for people, in colour on a terminal.
type Printer struct {
	out    io.Writer
	colour bool
}

// New returns a printer that writes to out.
func New(out io.Writer) *Printer {
	return &Printer{out: out, colour: IsTerminal(out) && os.Getenv("NO_COLOR") == ""}
}

// IsTerminal reports whether what is written to out is seen on a terminal.
func IsTerminal(out io.Writer) bool {
	file, isFile := out.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd()))
}

// Print prints a text as it is.
func (p *Printer) Print(format string, arguments ...any) {
	_, _ = fmt.Fprintf(p.out, format, arguments...)
}

// Clear begins a new picture on a terminal.
func (p *Printer) Clear() {
	if IsTerminal(p.out) {
		p.Print("\x1b[H\x1b[2J\x1b[3J")
	}
}

// paint colours a word by what it says. All colours are as long as each other, so
// that columns stay aligned.
func (p *Printer) paint(word string) string {
	switch word {
	case "up", "ok":
		return p.in("32", word)
	case "down", "FAILED":
		return p.in("31", word)
	case "unknown", "draining":
		return p.in("33", word)
	}
	return p.in("39", word) // the terminal's own
}

// in colours a text.
func (p *Printer) in(colour, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[39m"
}

// table prints rows in columns.
func (p *Printer) table(rows [][]string) {
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	_ = table.Flush()
}

// paragraph prints a headline and what belongs to it, indented, after an empty line.
func (p *Printer) paragraph(headline string, lines ...string) {
	p.Print("\n%s\n", wrap(headline, ""))
	for _, line := range lines {
		if line != "" {
			p.Print("  %s\n", wrap(line, "  "))
		}
	}
}

// wrap breaks a text into lines, all but the first indented.
func wrap(text, indent string) string {
	var lines strings.Builder
	column := len(indent)
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > columns:
			lines.WriteString("\n" + indent)
			column = len(indent)
		default:
			lines.WriteByte(' ')
			column++
		}
		lines.WriteString(word)
		column += len(word)
	}
	return lines.String()
}

// Printable replaces what could disturb a terminal.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '�'
	}, text)
}

// since says how long ago something was, in whole seconds.
func since(then, now time.Time) string {
	return max(now.Sub(then), 0).Round(time.Second).String()
}

// count says how many there are of something.
func count(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

// and lists words as people do: "gui, gsql and restpp".
func and(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
