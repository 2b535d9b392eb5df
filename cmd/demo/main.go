// Command demo shows what the plugin does, with one command on a fresh machine:
// three stand-ins for TigerGraph nodes, two for those of another cluster, and in front
// of them Caddy on https://localhost:8443. A page, which the nodes serve, tells which of
// them holds the session; stopping that node, there or in the terminal, shows the
// failover. Queries of one client spread over all nodes of a cluster, and a word switches
// to the other one.
//
//	go run ./cmd/demo
//
// It needs no root and asks for none: the certificate comes from a CA that lives
// as long as the demo, and no trust store learns of it. Ctrl-C leaves nothing
// behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const defaultListen = "localhost:8443"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main with its surroundings as arguments; it returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "Starts three stand-in TigerGraph nodes and Caddy in front of them.\n\nUsage of demo:")
		flags.PrintDefaults()
	}
	listen := flags.String("listen", defaultListen, "`address` of the edge, on this machine only; port 0 takes a free one")
	printConfig := flags.Bool("print-config", false, "print the edge's Caddyfile as well")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "demo: unexpected argument %q\n", flags.Arg(0))
		return 2
	}

	// With "demo | tee log", Ctrl-C ends tee as well, and without this the first
	// line written after that would end us before anything is cleaned up.
	signal.Ignore(syscall.SIGPIPE)
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer restore()
	context.AfterFunc(ctx, restore) // so that a second Ctrl-C kills

	if err := demonstrate(ctx, *listen, *printConfig, stdin, newTerminal(stdout)); err != nil {
		fmt.Fprintln(stderr, "demo:", err)
		return 1
	}
	return 0
}

// demonstrate runs the demo until ctx ends or the user quits.
func demonstrate(ctx context.Context, listen string, printConfig bool, stdin io.Reader, out *terminal) (err error) {
	// First of all, so that a port in use costs nothing; and held until Caddy
	// takes it, so that none of our own listeners gets it meanwhile.
	front, err := reserve(listen)
	if err != nil {
		return err
	}
	defer front.release()

	out.say("Starting %d stand-in TigerGraph nodes, and %d of another cluster ...", nodeCount, standbyCount)
	dir, err := os.MkdirTemp("", "caddy-tigergraph-demo-")
	if err != nil {
		return fmt.Errorf("making a temporary directory: %w", err)
	}
	defer func() {
		if removal := os.RemoveAll(dir); removal != nil && err == nil {
			err = fmt.Errorf("removing the temporary directory: %w", removal)
		}
	}()

	nodes, err := startFleet(out)
	if err != nil {
		return err
	}
	defer nodes.close()

	// Caddy takes no port 0 here that one could learn of.
	admin, err := reserve("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer admin.release()
	client := &client{edge: front.url(), admin: "http://" + admin.authority(), nodes: nodes, out: out}

	control, err := serveControl(nodes, client.switchTo)
	if err != nil {
		return err
	}
	defer control.close()

	log, err := readAccessLog(nodes.observe)
	if err != nil {
		return err
	}
	defer log.close()

	config := edgeConfig{
		Front:     front,
		Nodes:     addresses(nodes.cluster),
		Standby:   addresses(nodes.standby),
		Control:   control.address(),
		AccessLog: log.address(),
		Admin:     admin.authority(),
		Storage:   dir,
	}
	out.say("Starting Caddy in front of them, with a certificate from a CA of its own ...")
	front.release()
	admin.release()
	if err := startEdge(config); err != nil {
		return err
	}
	defer func() {
		if stopping := stopEdge(); stopping != nil && err == nil {
			err = stopping
		}
	}()

	if client.authorities, err = config.authorities(); err != nil {
		return fmt.Errorf("reading the edge's certificate: %w", err)
	}
	if printConfig {
		out.say("\n%s", config.caddyfile())
	}
	out.welcome(front.url(), config.Admin, nodes.status())
	out.converse(ctx, stdin, nodes, client)
	out.say("\nStopping the edge and the nodes. Goodbye.")
	return nil
}
