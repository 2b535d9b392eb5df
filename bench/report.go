package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// median returns the middle one, or the mean of the middle two.
func median[T time.Duration | float64](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func formatBytes(count int64) string {
	switch {
	case count >= gigabyte/10:
		return fmt.Sprintf("%g GB", float64(count)/gigabyte)
	case count >= megabyte/10:
		return fmt.Sprintf("%g MB", float64(count)/megabyte)
	}
	return fmt.Sprintf("%d bytes", count)
}

func formatCost(cost time.Duration) string {
	switch {
	case cost < time.Millisecond:
		return fmt.Sprintf("%.1f µs", cost.Seconds()*1e6)
	case cost < time.Second/10:
		return fmt.Sprintf("%.2f ms", cost.Seconds()*1e3)
	}
	return fmt.Sprintf("%.3f s", cost.Seconds())
}

// costs returns the cost in each round of a contender.
func (r *cpuResult) costs(i int) (costs []time.Duration) {
	for _, run := range r.runs[i] {
		costs = append(costs, run.cost)
	}
	return costs
}

// ratio returns the median of a contender's cost over that of another in the
// same round, or nothing if that did not run.
func (r *cpuResult) ratio(i int, other string) string {
	j := slices.IndexFunc(r.contenders, func(c contender) bool { return c.name == other })
	if j < 0 {
		return "–"
	}
	var ratios []float64
	for round, run := range r.runs[i] {
		ratios = append(ratios, float64(run.cost)/float64(r.runs[j][round].cost))
	}
	return fmt.Sprintf("%.2f", median(ratios))
}

// print writes the case's table and returns how many requests failed.
func (r *cpuResult) print(w io.Writer) (failed int64) {
	unit, rate := "request", "requests/s"
	if r.perGB {
		unit, rate = "GB", "MB/s"
	}
	fmt.Fprintf(w, "\n%s: %s, %s, %d rounds\n\n", r.name, r.about, connections(r.clients), len(r.runs[0]))
	table := [][]string{{"proxy", "CPU per " + unit, "lowest to highest", "of stock", "of nginx", "of HAProxy", rate, "failed"}}
	for i, c := range r.contenders {
		costs := r.costs(i)
		var throughputs []float64
		var failedHere int64
		var failure error
		for _, run := range r.runs[i] {
			throughputs = append(throughputs, run.throughput)
			failedHere += run.failed
			if failure == nil {
				failure = run.failure
			}
		}
		failed += failedHere
		if failure != nil {
			fmt.Fprintf(w, "%s: %d requests failed, such as: %s\n", c.name, failedHere, firstLine(failure))
		}
		throughput := median(throughputs)
		if r.perGB {
			throughput /= megabyte
		}
		table = append(table, []string{
			c.name, formatCost(median(costs)), formatCost(slices.Min(costs)) + " – " + formatCost(slices.Max(costs)),
			r.ratio(i, "stock"), r.ratio(i, "nginx"), r.ratio(i, "haproxy"), fmt.Sprintf("%.0f", throughput), fmt.Sprint(failedHere),
		})
	}
	printTable(w, table)
	return failed
}

func connections(count int) string {
	if count == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", count)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
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
