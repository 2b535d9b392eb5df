package integration_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// edgeSize is what grows in an edge that leaks.
type edgeSize struct {
	goroutines  int // those of kept connections to nodes left out
	kept        int // connections to nodes
	descriptors int // open files, those of the connections to nodes left out
	heap        int // bytes that live
}

// outgrown says what of an edge is larger now than it may be, "" if nothing: give or
// take what may be under way at a moment, and the tables that are made at the first
// need (of moved clients, metrics, buffers). A connection to a node that is kept has
// two buffers of 4 KiB, and what goes with them.
func (size edgeSize) outgrown(now edgeSize) string {
	const goroutines, descriptors, heap, heapOfConnection = 5, 5, 6 << 20, 16 << 10
	switch {
	case now.goroutines > size.goroutines+goroutines:
		return "too many goroutines"
	case now.descriptors > size.descriptors+descriptors:
		return "too many open files"
	case now.heap > size.heap+heap+heapOfConnection*now.kept:
		return "too much memory"
	}
	return ""
}

func (size edgeSize) String() string {
	return fmt.Sprintf("%d goroutines, %d files, %d connections to nodes, %d KiB", size.goroutines, size.descriptors, size.kept, size.heap>>10)
}

// most returns the larger of each.
func (size edgeSize) most(other edgeSize) edgeSize {
	return edgeSize{
		max(size.goroutines, other.goroutines), max(size.kept, other.kept),
		max(size.descriptors, other.descriptors), max(size.heap, other.heap),
	}
}

var (
	profiledGroup = regexp.MustCompile(`(?m)^(\d+) @`)
	liveHeap      = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)
)

func (e *soakEdge) size() (size edgeSize) {
	_, profile := e.ask(http.MethodGet, "/debug/pprof/goroutine?debug=1", "", "")
	for group := range strings.SplitSeq(profile, "\n\n") {
		// Connections to the nodes are kept for five minutes.
		count := profiledGroup.FindStringSubmatch(group)
		if count == nil || strings.Contains(group, "net/http.(*persistConn)") {
			continue
		}
		number, _ := strconv.Atoi(count[1])
		size.goroutines += number
	}
	for range 2 { // the second collection frees what pools hold
		_, profile = e.ask(http.MethodGet, "/debug/pprof/heap?gc=1&debug=1", "", "")
	}
	if heap := liveHeap.FindStringSubmatch(profile); heap != nil {
		size.heap, _ = strconv.Atoi(heap[1])
	}
	e.countFiles(&size)
	return size
}

// countFiles counts the edge's open files, connections to nodes apart.
func (e *soakEdge) countFiles(size *edgeSize) {
	toNodes, err := socketsTo(e.nodes)
	if err != nil {
		e.t.Error(err)
	}
	folder := fmt.Sprintf("/proc/%d/fd", e.process.command.Process.Pid)
	files, err := os.ReadDir(folder)
	if err != nil {
		e.t.Error(err)
	}
	for _, file := range files {
		// It may be closed by now.
		if target, err := os.Readlink(filepath.Join(folder, file.Name())); err == nil {
			if toNodes[target] {
				size.kept++
			} else {
				size.descriptors++
			}
		}
	}
}

// socketsTo returns the sockets of this machine that are connected to one of these
// IPv4 addresses, by the names that they have among a process's files.
func socketsTo(addresses []string) (sockets map[string]bool, err error) {
	remote := make(map[string]bool)
	for _, address := range addresses {
		var a, b, c, d, port int
		if _, err := fmt.Sscanf(address, "%d.%d.%d.%d:%d", &a, &b, &c, &d, &port); err != nil {
			return nil, fmt.Errorf("reading the address %s: %w", address, err)
		}
		remote[fmt.Sprintf("%02X%02X%02X%02X:%04X", d, c, b, a, port)] = true // as a little-endian machine has it
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return nil, fmt.Errorf("reading the connections: %w", err)
	}
	sockets = make(map[string]bool)
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 9 && remote[fields[2]] {
			sockets["socket:["+fields[9]+"]"] = true
		}
	}
	return sockets, nil
}

func TestSoakNoticesWhatAnEdgeKeeps(t *testing.T) {
	before := edgeSize{goroutines: 20, kept: 2, descriptors: 12, heap: 8 << 20}
	for _, test := range []struct {
		now  edgeSize
		want string
	}{
		{before, ""},
		{edgeSize{goroutines: 22, kept: 90, descriptors: 13, heap: 9 << 20}, ""},
		{edgeSize{goroutines: 30, kept: 2, descriptors: 12, heap: 8 << 20}, "too many goroutines"},
		{edgeSize{goroutines: 20, kept: 2, descriptors: 30, heap: 8 << 20}, "too many open files"},
		{edgeSize{goroutines: 20, kept: 2, descriptors: 12, heap: 16 << 20}, "too much memory"},
	} {
		if got := before.outgrown(test.now); got != test.want {
			t.Errorf("%s after %s: %q, want %q", test.now, before, got, test.want)
		}
	}
}
