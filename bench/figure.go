package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// figure is one quantity, measured with each contender.
type figure struct {
	name    string      // of the case
	label   string      // what it is
	about   string      // how it was measured
	proxies []string    // the contenders
	values  [][]float64 // by contender and round
	format  func(float64) string
	absent  bool // of ratios: what is counted may be 0
	columns []column
}

// column is more to say of each contender.
type column struct {
	title string
	cells []string
}

// median returns the middle one, or the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// value returns the median of a contender.
func (f *figure) value(proxy string) string {
	i := slices.Index(f.proxies, proxy)
	if i < 0 {
		return none
	}
	return f.format(median(f.values[i]))
}

// ratio returns the median of the ratios to another contender in the same round.
func (f *figure) ratio(proxy, other string) string {
	i, j := slices.Index(f.proxies, proxy), slices.Index(f.proxies, other)
	if f.absent || i < 0 || j < 0 {
		return none
	}
	var ratios []float64
	for round, value := range f.values[i] {
		ratios = append(ratios, value/f.values[j][round])
	}
	return fmt.Sprintf("%.2f", median(ratios))
}

// none stands where there is no figure.
const none = "–"

// references is who the others are compared with.
var references = []struct{ name, title string }{{"stock", "of stock"}, {"nginx", "of nginx"}, {"haproxy", "of HAProxy"}}

// print writes the figure's own table.
func (f *figure) print(w io.Writer) {
	fmt.Fprintf(w, "\n### %s\n\n`-only %s`: %s.\n\n", f.label, f.name, f.about)
	rounds := len(f.values[0])
	header := []string{"proxy", "median"}
	if rounds > 1 {
		header = append(header, "lowest to highest")
	}
	if !f.absent {
		for _, reference := range references {
			header = append(header, reference.title)
		}
	}
	for _, column := range f.columns {
		header = append(header, column.title)
	}
	table := [][]string{header}
	for i, proxy := range f.proxies {
		row := []string{proxy, f.value(proxy)}
		if rounds > 1 {
			row = append(row, f.format(slices.Min(f.values[i]))+" to "+f.format(slices.Max(f.values[i])))
		}
		if !f.absent {
			for _, reference := range references {
				row = append(row, f.ratio(proxy, reference.name))
			}
		}
		for _, column := range f.columns {
			row = append(row, column.cells[i])
		}
		table = append(table, row)
	}
	printTable(w, table)
}

// printSummary writes all figures in one table.
func printSummary(w io.Writer, figures []figure) {
	var proxies []string
	for _, f := range figures {
		for _, proxy := range f.proxies {
			if !slices.Contains(proxies, proxy) {
				proxies = append(proxies, proxy)
			}
		}
	}
	header := append([]string{""}, proxies...)
	compared := slices.Contains(proxies, "directive")
	if compared {
		for _, reference := range references {
			header = append(header, "directive "+reference.title)
		}
	}
	table := [][]string{header}
	for _, f := range figures {
		row := []string{f.label}
		for _, proxy := range proxies {
			row = append(row, f.value(proxy))
		}
		if compared {
			for _, reference := range references {
				row = append(row, f.ratio("directive", reference.name))
			}
		}
		table = append(table, row)
	}
	printTable(w, table)
}

// printTable writes a table that is Markdown and can be read as it is.
func printTable(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for number, row := range rows {
		for i, cell := range row {
			fmt.Fprintf(w, "| %s%s ", cell, strings.Repeat(" ", widths[i]-len([]rune(cell))))
		}
		fmt.Fprintln(w, "|")
		if number == 0 {
			for i, width := range widths {
				if i == 0 {
					fmt.Fprintf(w, "|%s", strings.Repeat("-", width+2))
				} else {
					fmt.Fprintf(w, "|%s:", strings.Repeat("-", width+1))
				}
			}
			fmt.Fprintln(w, "|")
		}
	}
}

func formatBytes(count float64) string {
	switch {
	case count >= gigabyte/10:
		return fmt.Sprintf("%.3g GB", count/gigabyte)
	case count >= megabyte/10:
		return fmt.Sprintf("%.3g MB", count/megabyte)
	}
	return fmt.Sprintf("%.1f kB", count/1000)
}

// formatSeconds writes a time, in seconds, as it is best read.
func formatSeconds(seconds float64) string {
	switch {
	case seconds < 1e-6:
		return fmt.Sprintf("%.0f ns", seconds*1e9)
	case seconds < 1e-3:
		return fmt.Sprintf("%.1f µs", seconds*1e6)
	case seconds < 0.1:
		return fmt.Sprintf("%.2f ms", seconds*1e3)
	}
	return fmt.Sprintf("%.3f s", seconds)
}

func formatCount(count float64) string { return fmt.Sprintf("%.0f", count) }

// plural counts things.
func plural(count int, thing string) string {
	if count != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", count, thing)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// rounded is for the flags of a report.
func rounded(d time.Duration) string { return d.Round(time.Millisecond).String() }
