//go:build unix

package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

const (
	benchmarkNodes = 100
	nodesElsewhere = "CADDY_TIGERGRAPH_SERVE_NODES"
)

// TestServeNodes is the process in which BenchmarkProbing runs its nodes, so that
// their cost is not the edge's. It ends with its standard input.
func TestServeNodes(t *testing.T) {
	if os.Getenv(nodesElsewhere) == "" {
		t.Skip("BenchmarkProbing runs it")
	}
	cluster := tgnode.NewCluster()
	defer cluster.Close()
	for range benchmarkNodes {
		node, err := cluster.Start(tgnode.Options{NoRecord: true})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("node %s\n", node.Addr())
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

// BenchmarkProbing measures what share of a core an idle edge uses that probes
// three services of a hundred nodes every 2 s; and, for comparison, without probes,
// and with as many plain requests of Go's client in their place. The times per
// operation mean nothing.
func BenchmarkProbing(b *testing.B) {
	addresses := nodesInAnotherProcess(b)
	for _, bench := range []struct {
		name, check string
		plain       bool
	}{
		{"off", "health_check off", false},
		{"every=2s", "health_check {\ninterval 2s\n}", false},
		{"plain", "health_check off", true},
	} {
		b.Run(bench.name, func(b *testing.B) {
			config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil, `{
				admin off
				persist_config off
				storage file_system %q
				log {
					output discard
				}
			}
			http://127.0.0.1:0 {
				reverse_proxy %s {
					lb_policy tigergraph {
						%s
					}
				}
			}`, b.TempDir(), strings.Join(addresses, " "), bench.check), nil)
			if err != nil {
				b.Fatal(err)
			}
			if err := caddy.Load(config, true); err != nil {
				b.Fatal(err)
			}
			defer caddy.Stop()
			if bench.plain {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				for _, address := range addresses {
					for _, target := range probeTargets {
						go getEvery(ctx, 2*time.Second, "http://"+address+target)
					}
				}
			}
			time.Sleep(3 * time.Second) // past the first probes and their connections
			var used, wall time.Duration
			for b.Loop() {
				began, before := time.Now(), processorTime(b)
				time.Sleep(6 * time.Second)
				used += processorTime(b) - before
				wall += time.Since(began)
			}
			b.ReportMetric(100*float64(used)/float64(wall), "%core")
		})
	}
}

// nodesInAnotherProcess starts a hundred nodes until the benchmark ends.
func nodesInAnotherProcess(b *testing.B) (addresses []string) {
	b.Helper()
	nodes := exec.Command(os.Args[0], "-test.run", "^TestServeNodes$", "-test.v")
	nodes.Env = append(os.Environ(), nodesElsewhere+"=yes")
	input, err := nodes.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	output, err := nodes.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := nodes.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		input.Close()
		io.Copy(io.Discard, output)
		nodes.Wait()
	})
	for lines := bufio.NewScanner(output); lines.Scan() && lines.Text() != "ready"; {
		if address, found := strings.CutPrefix(lines.Text(), "node "); found {
			addresses = append(addresses, address)
		}
	}
	if len(addresses) != benchmarkNodes {
		b.Fatalf("%d nodes", len(addresses))
	}
	return addresses
}

// getEvery asks for a page now and then, and first at any time of the interval.
func getEvery(ctx context.Context, interval time.Duration, page string) {
	wait := rand.N(interval)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = interval
		if response, err := http.Get(page); err == nil {
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	}
}

// processorTime returns what this process has used.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
