// Command tgnode is one stand-in for a TigerGraph node, for the demo that
// compose.yaml describes and for trying an edge without a cluster. It knows
// nothing of TigerGraph but how its HTTP behaves.
//
//	go run ./cmd/tgnode -name m1 -listen :14240
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// page lets a browser log in, and shows which node it is on.
//
//go:embed index.html
var page []byte

func main() {
	name := flag.String("name", "m1", "what the node calls itself")
	listen := flag.String("listen", ":14240", "`address` to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cluster := tgnode.NewCluster()
	defer cluster.Close()
	node, err := cluster.Start(tgnode.Options{Name: *name, Address: *listen, Index: page})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		cluster.Close()
		os.Exit(1)
	}
	fmt.Printf("%s listens on %s; log in as anybody with the password %q\n", node.Name(), node.Addr(), tgnode.Password)
	<-ctx.Done()
}
