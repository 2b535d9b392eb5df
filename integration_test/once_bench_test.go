package integration_test

import (
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// BenchmarkStaleConnections measures what it costs that nothing is sent twice once
// it may have left: how many of 1000 requests fail although all nodes are well,
// where the nodes close idle connections just about when the next request comes.
// (TigerGraph closes them after 900 s, the edge after 5 minutes, so that they meet
// only when a node restarts.)
func BenchmarkStaleConnections(b *testing.B) {
	const idle = 20 * time.Millisecond
	for _, bench := range []struct {
		name, method, target string
	}{
		{"may be repeated", http.MethodGet, "/restpp/version"},
		{"GET", http.MethodGet, "/restpp/query/g/q"},
		{"POST", http.MethodPost, "/restpp/graph/g"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			cluster := tgnode.NewCluster()
			defer cluster.Close()
			var nodes []*tgnode.Node
			for range 3 {
				node, err := cluster.Start(tgnode.Options{IdleTimeout: idle, NoRecord: true})
				if err != nil {
					b.Fatal(err)
				}
				nodes = append(nodes, node)
			}
			address := freeAddress(b)
			config, err := tryAdapt("{\nadmin off\npersist_config off\nlog {\noutput discard\n}\n}\nhttp://" + address + " {\ntigergraph " + addresses(nodes) + " {\nhealth_check off\nfail_duration 0\n}\n}\n")
			if err != nil {
				b.Fatal(err)
			}
			if err := caddy.Load([]byte(config), true); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = caddy.Stop() }()
			var failed, left atomic.Int64
			left.Store(int64(b.N))
			var wait sync.WaitGroup
			for range 16 {
				wait.Go(func() {
					client := http.Client{Transport: &http.Transport{}}
					defer client.CloseIdleConnections()
					for left.Add(-1) >= 0 {
						var body io.Reader
						if bench.method == http.MethodPost {
							body = strings.NewReader("{}")
						}
						request, err := http.NewRequest(bench.method, "http://"+address+bench.target, body)
						if err != nil {
							b.Error(err)
							return
						}
						response, err := client.Do(request)
						if err != nil {
							failed.Add(1)
							continue
						}
						if response.StatusCode >= 500 {
							failed.Add(1)
						}
						_ = response.Body.Close()
						time.Sleep(idle - time.Millisecond + rand.N(2*time.Millisecond))
					}
				})
			}
			wait.Wait()
			b.ReportMetric(1000*float64(failed.Load())/float64(b.N), "failed/1000")
			b.ReportMetric(0, "ns/op")
		})
	}
}
