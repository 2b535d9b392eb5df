// Command bench measures what an edge costs and how it bears the loss of a node,
// beside stock Caddy, nginx and HAProxy:
//
//	go run ./bench
//
// It starts stand-in nodes and the proxies on loopback, and ends them all. The
// proxies take turns, several times, so that what else the machine does falls on
// all of them; what counts is ratios. For figures to keep, the machine should have
// nothing else to do. nginx and HAProxy are left out where they are missing; with
// Debian:
//
//	apt-get install nginx-light haproxy
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// benchmark is one run of the program.
type benchmark struct {
	report
	output     io.Writer
	rounds     int
	duration   time.Duration
	clients    int
	bulk       int64
	piece      int // bytes that a node writes at a time
	rate       float64
	fault      time.Duration // how long a node fails
	patience   time.Duration // of clients then
	scales     []scale       // numbers of nodes and sites
	idle       int           // clients that keep a connection and do nothing
	workers    int
	profiles   string // the folder for them, if wanted
	folder     string // for all temporary files
	root       string // of the module
	program    string // Caddy with the plugin
	stock      string // Caddy without
	contenders []contender
	cluster    *cluster
	pair       keyPair
	files      uint64 // that a process may have open
	started    int
	busy       string
}

// measurement is one thing that can be measured.
type measurement struct {
	name string
	run  func(context.Context) ([]figure, error)
}

func (b *benchmark) measurements() (all []measurement) {
	all = append(all, measurement{"selection", func(ctx context.Context) (_ []figure, err error) {
		b.choices, err = b.measureSelection(ctx)
		return nil, err
	}})
	all = append(all, measurement{"scale", func(ctx context.Context) ([]figure, error) { return nil, b.measureScale(ctx) }})
	for _, c := range b.cpuCases() {
		all = append(all, measurement{c.name, func(ctx context.Context) ([]figure, error) { return b.measureCPU(ctx, c) }})
	}
	for _, tls := range []bool{false, true} {
		suffix := ""
		if tls {
			suffix = "-tls"
		}
		latency, memory := "latency"+suffix, "memory"+suffix
		all = append(all,
			measurement{latency, func(ctx context.Context) ([]figure, error) { return b.measureLatency(ctx, latency, tls) }},
			measurement{memory, func(ctx context.Context) ([]figure, error) { return b.measureMemory(ctx, memory, tls) }},
		)
	}
	for _, c := range spreadCases {
		all = append(all, measurement{c.name, func(ctx context.Context) ([]figure, error) { return b.measureSpread(ctx, c) }})
	}
	for _, c := range faultCases {
		all = append(all, measurement{c.name, func(ctx context.Context) ([]figure, error) { return b.measureFault(ctx, c) }})
	}
	return all
}

func measurementNames() string {
	var names []string
	for _, m := range new(benchmark).measurements() {
		names = append(names, m.name)
	}
	return strings.Join(names, ", ")
}

func run(ctx context.Context, arguments []string, output io.Writer) (err error) {
	b := benchmark{output: output, busy: busyNow()}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := flags.String("only", "*", "what to measure, with commas between: "+measurementNames()+"; * stands for any part of a name")
	proxies := flags.String("proxies", "*", "the proxies, with commas between: directive, policy, stock, stock-ours, nginx, haproxy and those added")
	quick := flags.Bool("quick", false, "5 minutes instead of 30: other defaults for -rounds (3), -duration (0.5s), -bulk (0.25) and -fault (20s)")
	flags.IntVar(&b.rounds, "rounds", 5, "alternating rounds")
	flags.DurationVar(&b.duration, "duration", 3*time.Second, "how long each proxy is under load in a round; a transfer that has begun is finished")
	flags.IntVar(&b.clients, "connections", 64, "connections of clients, where it is not one bulk transfer")
	bulk := flags.Float64("bulk", 1, "gigabytes of a bulk transfer")
	flags.IntVar(&b.piece, "piece", defaultPiece, "bytes that a node writes at a time; the default is what nginx's buffers hold")
	flags.Float64Var(&b.rate, "rate", 1000, "requests a second where latency is measured")
	flags.IntVar(&b.idle, "idle", 10_000, "clients that keep a connection where memory is measured")
	scales := flags.String("scale", "3x1,30x1,300x1,1000x1,3x50,3x200", "the numbers of nodes and sites, with commas between")
	flags.DurationVar(&b.fault, "fault", 45*time.Second, "how long a node fails; Caddy's own checks take up to 35s by their defaults")
	flags.DurationVar(&b.patience, "patience", 5*time.Second, "how long clients wait for an answer where a node fails")
	flags.IntVar(&b.workers, "workers", runtime.NumCPU(), "cores that each proxy may use: GOMAXPROCS, worker_processes, nbthread")
	markdown := flags.String("markdown", "", "a `file` for the report, as docs/figures has it")
	flags.StringVar(&b.profiles, "profile", "", "a `folder` for CPU profiles of the Caddy proxies, taken in a round of their own after the others")
	flags.StringVar(&b.program, "caddy", "", "a Caddy `binary` with the plugin, instead of building cmd/caddy")
	flags.StringVar(&b.stock, "stock", "", "a Caddy `binary` without the plugin, instead of building one")
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
	if *quick {
		given := make(map[string]bool)
		flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
		if !given["rounds"] {
			b.rounds = 3
		}
		if !given["duration"] {
			b.duration = 500 * time.Millisecond
		}
		if !given["bulk"] {
			*bulk = 0.25
		}
		if !given["fault"] {
			b.fault = 20 * time.Second
		}
	}
	if b.rounds < 1 || b.clients < 1 || b.workers < 1 || b.idle < 1 || b.duration <= 0 || *bulk <= 0 || b.rate <= 0 || b.piece < 1 || b.patience <= 0 || b.fault <= 0 {
		return errors.New("rounds, duration, connections, bulk, piece, rate, idle, fault, patience and workers have to be more than 0")
	}
	b.bulk = int64(*bulk * gigabyte)
	if b.scales, err = parseScales(*scales); err != nil {
		return err
	}
	var chosen []measurement
	for _, m := range b.measurements() {
		if matches(*only, m.name) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("there is no %q to measure; there are %s", *only, measurementNames())
	}
	if b.profiles != "" {
		if err := os.MkdirAll(b.profiles, 0o750); err != nil {
			return err
		}
	}

	if b.files, err = openFiles(); err != nil {
		return err
	}
	if b.folder, err = os.MkdirTemp("", "bench"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.folder)) }()
	if err := b.prepare(ctx, *proxies, added); err != nil {
		return err
	}
	defer b.cluster.stop()
	for _, m := range chosen {
		figures, err := m.run(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		b.figures = append(b.figures, figures...)
	}
	b.write(output, arguments)
	if *markdown != "" {
		if err := b.writeFile(*markdown, arguments); err != nil {
			return err
		}
	}
	if b.failed > 0 {
		return fmt.Errorf("%d requests failed where none should, and what failed costs something else", b.failed)
	}
	return nil
}

// prepare has all there that measurements need.
func (b *benchmark) prepare(ctx context.Context, proxies string, added []string) (err error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Module.Dir}}", "github.com/caddy-tigergraph/caddy-tigergraph").Output()
	if err != nil {
		return fmt.Errorf("looking for the module's root: %w", err)
	}
	b.root = strings.TrimSpace(string(root))
	if b.program == "" {
		if b.program, err = b.build(ctx, "caddy", "./cmd/caddy"); err != nil {
			return err
		}
	}
	if b.stock == "" {
		if b.stock, err = b.build(ctx, "stock", "github.com/caddyserver/caddy/v2/cmd/caddy"); err != nil {
			return err
		}
	}
	if err := b.chooseContenders(proxies, added); err != nil {
		return err
	}
	if b.pair, err = newKeyPair(b.folder); err != nil {
		return err
	}
	b.cluster, err = startCluster(ctx, b.folder, b.piece)
	return err
}

// build builds a command and returns its binary.
func (b *benchmark) build(ctx context.Context, name, command string) (binary string, err error) {
	binary = filepath.Join(b.folder, name)
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, command)
	build.Dir = b.root
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", command, err, output)
	}
	return binary, nil
}

// matches reports whether one of the patterns, with commas between, means this
// name.
func matches(patterns, name string) bool {
	for pattern := range strings.SplitSeq(patterns, ",") {
		if matched, err := path.Match(strings.TrimSpace(pattern), name); err == nil && matched {
			return true
		}
	}
	return false
}

func (b *benchmark) chooseContenders(wanted string, added []string) error {
	all := []contender{
		caddyContender("directive", "`tigergraph n1 n2 n3`", b.program, directiveSite),
		caddyContender("policy", "`reverse_proxy` with `lb_policy tigergraph`", b.program, policySite),
		caddyContender("stock", "Caddy without the plugin, `reverse_proxy` with `lb_policy cookie`", b.stock, stockSite),
		// Our binary is built with a profile and collects garbage less often. With
		// it the configuration alone is compared.
		caddyContender("stock-ours", "the same in our binary", b.program, stockSite),
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
		return fmt.Errorf("there is none of the proxies %q", wanted)
	}
	return nil
}

// startProxies starts these contenders. Those that run are returned with an
// error as well.
func (b *benchmark) startProxies(ctx context.Context, contenders []contender, purpose string, tls bool) (proxies []*proxy, err error) {
	for _, c := range contenders {
		b.started++
		s := site{
			folder:  filepath.Join(b.folder, fmt.Sprintf("%s-%d", purpose, b.started)),
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

// count keeps account of requests that failed where none should.
func (b *benchmark) count(name, proxy string, l load) {
	b.failed += l.failed
	if l.failure != nil {
		fmt.Fprintf(b.output, "%s: %d requests to %s failed, such as: %s\n", name, l.failed, proxy, firstLine(l.failure))
	}
}

// progress says on the side what is going on.
func (b *benchmark) progress(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
}

func (b *benchmark) writeFile(name string, arguments []string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	b.write(file, arguments)
	return file.Close()
}
