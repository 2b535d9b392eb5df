//go:build unix

package integration_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkStatusPage measures what share of a core a whole edge uses that probes
// a hundred nodes every 2 s, while nobody looks at its status page, and while
// somebody does. The difference is what pages cost. The times per operation mean
// nothing.
func BenchmarkStatusPage(b *testing.B) {
	addresses := nodesInAnotherProcess(b)
	for _, pages := range []int{0, 1, 10} {
		b.Run(fmt.Sprintf("pages=%d", pages), func(b *testing.B) {
			folder := b.TempDir()
			socket := filepath.Join(folder, "admin")
			address := freeAddress(b)
			e := startProcess(b, caddyBinary, fmt.Sprintf(`{
				admin "unix/%s"
				persist_config off
				storage file_system %q
				auto_https off
			}
			http://%s {
				tigergraph_status /tigergraph-status*
				tigergraph %s
			}`, socket, filepath.Join(folder, "storage"), address, strings.Join(addresses, " ")))
			admin := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			}}}
			defer admin.CloseIdleConnections()
			e.listening(address)
			time.Sleep(3 * time.Second) // past the first probes and their connections
			var received atomic.Int64
			streams, end := context.WithCancel(context.Background())
			defer end()
			for range pages {
				request, err := http.NewRequestWithContext(streams, http.MethodGet, "http://"+address+statusPath+"?format=events", nil)
				if err != nil {
					b.Fatal(err)
				}
				response, err := http.DefaultClient.Do(request)
				if err != nil || response.StatusCode != http.StatusOK {
					b.Fatalf("%v: %s", err, e.output)
				}
				go func() {
					defer response.Body.Close()
					for buffer := make([]byte, 64<<10); ; {
						count, err := response.Body.Read(buffer)
						if received.Add(int64(count)); err != nil {
							return
						}
					}
				}()
			}
			time.Sleep(time.Second) // past the first snapshots
			used, wall, first := 0.0, 0.0, received.Load()
			for b.Loop() {
				began, before := time.Now(), processorSeconds(b, admin)
				time.Sleep(10 * time.Second)
				used += processorSeconds(b, admin) - before
				wall += time.Since(began).Seconds()
			}
			b.ReportMetric(100*used/wall, "%core")
			if pages > 0 {
				b.ReportMetric(float64(received.Load()-first)/1024/wall/float64(pages), "KiB/s/page")
			}
		})
	}
}

// processorSeconds returns what the edge's process has used.
func processorSeconds(b *testing.B, admin *http.Client) float64 {
	response, err := admin.Get("http://127.0.0.1/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if value, found := strings.CutPrefix(line, "process_cpu_seconds_total "); found {
			seconds, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				b.Fatal(err)
			}
			return seconds
		}
	}
	b.Skip("this system does not tell what a process uses")
	return 0
}
