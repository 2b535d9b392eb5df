package tgnode

import (
	"bufio"
	"io"
	"math"
	"net"
	"net/http"
	"testing"
)

// BenchmarkNode shows what a node costs in benchmarks of what stands before it.
func BenchmarkNode(b *testing.B) {
	cluster := NewCluster()
	defer cluster.Close()
	node, err := cluster.Start(Options{NoRecord: true})
	if err != nil {
		b.Fatal(err)
	}
	for _, test := range []struct {
		name, target string
	}{
		{"ping", "/api/ping"},
		{"query", "/restpp/query/g/q"},
		{"megabyte", "/restpp/query/g/q?bytes=1048576"},
	} {
		b.Run(test.name, func(b *testing.B) {
			conn, err := net.Dial("tcp", node.Addr())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			node.Update(func(o *Options) { o.MaxRequests = math.MaxInt })
			reader := bufio.NewReaderSize(conn, 256<<10)
			request := []byte("GET " + test.target + " HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write(request); err != nil {
					b.Fatal(err)
				}
				response, err := http.ReadResponse(reader, nil)
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, response.Body)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(n)
			}
		})
	}
}
