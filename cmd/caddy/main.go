// Command caddy is Caddy with its standard modules and the TigerGraph plugin.
//
// It is built with the profile in default.pgo, of an edge under load:
//
//	go run ./bench -only small,1mb,small-tls,1mb-tls -proxies directive -rounds 1 -duration 10s -profile profiles
//	go tool pprof -proto profiles/*.pprof > cmd/caddy/default.pgo
package main

import (
	"os"
	"runtime/debug"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-tigergraph/caddy-tigergraph"
)

func init() {
	// A proxy holds little and throws away much: at Go's default of 100 it spends
	// an eighth of its time collecting garbage, to save some tens of megabytes.
	// Caddy sets a limit by the memory that there is.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

func main() {
	caddycmd.Main()
}
