package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// choice is what a policy's choice of a node costs.
type choice struct {
	policy      string
	nanoseconds map[int][]float64 // by the number of nodes
	allocations map[int]float64
}

// selectionNodes is how many nodes there are to choose from.
var selectionNodes = []int{3, 10, 100}

// measureSelection runs the module's own benchmark of its policy and Caddy's, in
// one process, as often as there are rounds.
func (b *benchmark) measureSelection(ctx context.Context) ([]*choice, error) {
	program := filepath.Join(b.folder, "selection.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", program, ".")
	build.Dir = b.root
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the benchmark: %w\n%s", err, output)
	}
	var choices []*choice
	for round := range b.rounds {
		command := exec.CommandContext(ctx, program, "-test.run", "^$", "-test.bench", "^BenchmarkSelect$", "-test.benchtime", b.choosing().String())
		command.Dir = b.root
		output, err := command.CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, output)
		}
		if choices, err = addChoices(choices, output); err != nil {
			return nil, err
		}
		b.progress("selection, round %d of %d", round+1, b.rounds)
	}
	if len(choices) == 0 {
		return nil, fmt.Errorf("the benchmark printed no figures")
	}
	return choices, nil
}

// choosing is how long each policy is run in a round.
func (b *benchmark) choosing() time.Duration { return b.duration / 30 }

// addChoices reads what go test prints of benchmarks, such as
//
//	BenchmarkSelect/ours/client_ip/nodes=3-2  100  45.1 ns/op  0 B/op  0 allocs/op
func addChoices(choices []*choice, output []byte) ([]*choice, error) {
	lines := bufio.NewScanner(bytes.NewReader(output))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		name, found := "", false
		if len(fields) > 0 {
			name, found = strings.CutPrefix(fields[0], "BenchmarkSelect/")
		}
		if !found || len(fields) < 8 {
			continue
		}
		policy, count, _ := strings.Cut(name, "/nodes=")
		count, _, _ = strings.Cut(count, "-")
		nodes, err := strconv.Atoi(count)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fields[0], err)
		}
		nanoseconds, err := strconv.ParseFloat(fields[2], 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fields[0], err)
		}
		allocations, err := strconv.ParseFloat(fields[6], 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fields[0], err)
		}
		var c *choice
		for _, known := range choices {
			if known.policy == policy {
				c = known
			}
		}
		if c == nil {
			c = &choice{policy: policy, nanoseconds: make(map[int][]float64), allocations: make(map[int]float64)}
			choices = append(choices, c)
		}
		c.nanoseconds[nodes] = append(c.nanoseconds[nodes], nanoseconds)
		c.allocations[nodes] = allocations
	}
	return choices, lines.Err()
}

func printChoices(w io.Writer, choices []*choice) {
	header := []string{"policy"}
	for _, nodes := range selectionNodes {
		header = append(header, fmt.Sprintf("%d nodes", nodes))
	}
	for _, nodes := range selectionNodes {
		header = append(header, fmt.Sprintf("allocations, %d", nodes))
	}
	table := [][]string{header}
	for _, c := range choices {
		row := []string{strings.ReplaceAll(c.policy, "_", " ")}
		for _, nodes := range selectionNodes {
			row = append(row, fmt.Sprintf("%.0f ns", median(c.nanoseconds[nodes])))
		}
		for _, nodes := range selectionNodes {
			row = append(row, formatCount(c.allocations[nodes]))
		}
		table = append(table, row)
	}
	printTable(w, table)
}
