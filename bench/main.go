// Command bench measures what an edge costs, beside stock Caddy, nginx and
// HAProxy. Run it from the module's root:
//
//	go run ./bench
//
// It starts stand-in nodes and the proxies on loopback, and ends them all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	if name := os.Getenv(nodeEnvironment); name != "" {
		if err := runNode(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// benchmark is one run of the program.
type benchmark struct {
	output     io.Writer
	only       []string
	rounds     int
	duration   time.Duration
	clients    int
	bulk       int64
	workers    int
	profiles   string // the folder for them, if wanted
	folder     string // for all temporary files
	program    string // Caddy with the plugin
	contenders []contender
	cluster    *cluster
	pair       keyPair
	files      uint64 // that a process may have open
	started    int
}

func run(ctx context.Context, arguments []string, output io.Writer) (err error) {
	b := benchmark{output: output}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := flags.String("only", "*", "the `cases`, with commas between: "+strings.Join(caseNames(), ", ")+"; * stands for any part of a name")
	proxies := flags.String("proxies", "*", "the `proxies`, with commas between: directive, policy, stock, nginx, haproxy and those added")
	flags.IntVar(&b.rounds, "rounds", 5, "alternating rounds")
	flags.DurationVar(&b.duration, "duration", 3*time.Second, "how long each proxy is under load in a round; a transfer that has begun is finished")
	flags.IntVar(&b.clients, "connections", 64, "connections of clients, where it is not one bulk transfer")
	bulk := flags.Float64("bulk", 1, "gigabytes of a bulk transfer")
	flags.IntVar(&b.workers, "workers", runtime.NumCPU(), "cores that each proxy may use: GOMAXPROCS, worker_processes, nbthread")
	flags.StringVar(&b.profiles, "profile", "", "a `folder` for CPU profiles of the Caddy proxies, taken in a round of their own after the others")
	flags.StringVar(&b.program, "caddy", "", "a Caddy `binary` with the plugin, instead of building cmd/caddy")
	var added []string
	flags.Func("add", "another proxy, `name=file[@binary]`: a Caddy with the directives of the file in its site, in which %s is the nodes; may be repeated", func(value string) error {
		added = append(added, value)
		return nil
	})
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("what is %q? There are only flags", flags.Arg(0))
	}
	if b.rounds < 1 || b.clients < 1 || b.workers < 1 || b.duration <= 0 || *bulk <= 0 {
		return errors.New("rounds, duration, connections, bulk and workers have to be more than 0")
	}
	b.only = strings.Split(*only, ",")
	b.bulk = int64(*bulk * gigabyte)
	if b.profiles != "" {
		if err := os.MkdirAll(b.profiles, 0o750); err != nil {
			return err
		}
	}

	if b.folder, err = os.MkdirTemp("", "bench"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.folder)) }()
	if b.program == "" {
		if b.program, err = buildCaddy(ctx, b.folder); err != nil {
			return err
		}
	}
	if err := b.chooseContenders(strings.Split(*proxies, ","), added); err != nil {
		return err
	}
	if b.files, err = openFiles(); err != nil {
		return err
	}
	if b.pair, err = newKeyPair(b.folder); err != nil {
		return err
	}
	if b.cluster, err = startCluster(ctx, b.folder); err != nil {
		return err
	}
	defer b.cluster.stop()

	chosen := 0
	var failed int64
	for _, c := range cpuCases(b.clients, b.bulk) {
		if !matches(b.only, c.name) {
			continue
		}
		chosen++
		result, err := b.measureCPU(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		failed += result.print(output)
	}
	if chosen == 0 {
		return fmt.Errorf("there is no case %q; there are %s", *only, strings.Join(caseNames(), ", "))
	}
	if failed > 0 {
		return fmt.Errorf("%d requests failed, and what failed costs something else", failed)
	}
	return nil
}

func caseNames() (names []string) {
	for _, c := range cpuCases(1, 1) {
		names = append(names, c.name)
	}
	return names
}

// matches reports whether one of the patterns means this name.
func matches(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if matched, err := path.Match(strings.TrimSpace(pattern), name); err == nil && matched {
			return true
		}
	}
	return false
}

// buildCaddy builds the Caddy that users run.
func buildCaddy(ctx context.Context, folder string) (program string, err error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Module.Dir}}", "github.com/caddy-tigergraph/caddy-tigergraph").Output()
	if err != nil {
		return "", fmt.Errorf("looking for the module's root: %w", err)
	}
	program = filepath.Join(folder, "caddy")
	command := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/caddy")
	command.Dir = strings.TrimSpace(string(root))
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building cmd/caddy: %w\n%s", err, output)
	}
	return program, nil
}

func (b *benchmark) chooseContenders(wanted, added []string) error {
	all := []contender{
		caddyContender("directive", "tigergraph n1 n2 n3", b.program, directiveSite),
		caddyContender("policy", "reverse_proxy with lb_policy tigergraph", b.program, policySite),
		caddyContender("stock", "reverse_proxy with lb_policy cookie", b.program, stockSite),
		nginxContender(),
		haproxyContender(),
	}
	for _, value := range added {
		name, file, found := strings.Cut(value, "=")
		if !found {
			return fmt.Errorf("-add %s: expected name=file", value)
		}
		file, program, found := strings.Cut(file, "@")
		if !found {
			program = b.program
		}
		directives, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("-add %s: %w", value, err)
		}
		all = append(all, caddyContender(name, file, program, string(directives)))
	}
	for _, c := range all {
		if !matches(wanted, c.name) {
			continue
		}
		if c.program != "" {
			if _, err := find(c.program); err != nil {
				fmt.Fprintf(b.output, "%s is not installed and left out; to have it: apt-get install %s\n", c.program, c.pkg)
				continue
			}
		}
		b.contenders = append(b.contenders, c)
	}
	if len(b.contenders) == 0 {
		return fmt.Errorf("none of the proxies %q is there", wanted)
	}
	return nil
}

// startProxies starts these contenders. Those that run are returned with an
// error as well.
func (b *benchmark) startProxies(ctx context.Context, contenders []contender, purpose string, tls bool) (proxies []*proxy, err error) {
	for _, c := range contenders {
		b.started++
		s := site{
			folder:  filepath.Join(b.folder, fmt.Sprintf("%d-%s-%s", b.started, purpose, c.name)),
			nodes:   b.cluster.addresses,
			tls:     tls,
			pair:    b.pair,
			workers: b.workers,
			files:   b.files,
		}
		p, err := startProxy(ctx, c, s)
		if err != nil {
			return proxies, fmt.Errorf("%s: %w", c.name, err)
		}
		proxies = append(proxies, p)
	}
	return proxies, nil
}

func stopProxies(proxies []*proxy) {
	for _, p := range proxies {
		p.stop()
	}
}

// progress says on the side what is going on.
func (b *benchmark) progress(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "  "+format+"\n", arguments...)
}
