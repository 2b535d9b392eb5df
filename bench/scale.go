package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// scale is a number of nodes, and one of sites over them.
type scale struct{ nodes, sites int }

// scaleTimeout bounds each step of a case: a thousand nodes are many.
const scaleTimeout = 2 * time.Minute

// scaleSites are what sites say. Stock Caddy has the check that its documentation
// offers, in the rhythm of the directive's.
var scaleSites = map[string]string{
	"directive": directiveSite,
	"stock":     "reverse_proxy %s {\nlb_policy cookie\nhealth_uri /api/ping\nhealth_interval 2s\n}",
}

// scaleRow is what a Caddy needs in a case. What it could not do is not a number.
type scaleRow struct {
	scale
	proxy            string
	start, reload    time.Duration
	memory           float64
	probing          float64 // of a core
	scrape           time.Duration
	scraped          int
	well, refused    time.Duration // a request
	refusedProcessor time.Duration
}

// parseScales reads "3x1,1000x200": nodes and sites.
func parseScales(text string) (scales []scale, err error) {
	for each := range strings.SplitSeq(text, ",") {
		nodes, sites, found := strings.Cut(strings.TrimSpace(each), "x")
		var s scale
		s.nodes, err = strconv.Atoi(nodes)
		if err == nil && found {
			s.sites, err = strconv.Atoi(sites)
		}
		if err != nil || s.nodes < 1 || s.sites < 1 {
			return nil, fmt.Errorf("-scale %s: expected nodes x sites, such as 1000x1", each)
		}
		scales = append(scales, s)
	}
	return scales, nil
}

// measureScale has each Caddy serve more and more nodes and sites.
func (b *benchmark) measureScale(ctx context.Context) error {
	for _, s := range b.scales {
		for _, c := range b.contenders {
			if scaleSites[c.name] == "" {
				continue
			}
			row, err := b.runScale(ctx, s, c)
			if err != nil {
				return fmt.Errorf("%s, %s at %s: %w", c.name, plural(s.nodes, "node"), plural(s.sites, "site"), err)
			}
			b.progress("scale: %v", row.cells())
			b.scaled = append(b.scaled, row)
		}
	}
	return nil
}

func (b *benchmark) runScale(ctx context.Context, s scale, c contender) (row scaleRow, err error) {
	ctx, cancel := context.WithTimeout(ctx, scaleTimeout)
	defer cancel()
	row = scaleRow{scale: s, proxy: c.name}
	nodes, err := startMany(s.nodes)
	if err != nil {
		return row, err
	}
	defer nodes.refuse()
	b.started++
	folder := filepath.Join(b.folder, fmt.Sprintf("scale-%d", b.started))
	if err := os.Mkdir(folder, 0o700); err != nil {
		return row, err
	}
	address, err := tgnode.FreeAddress()
	if err != nil {
		return row, err
	}
	caddyfile := func(more string) string {
		_, port, _ := net.SplitHostPort(address)
		var text strings.Builder
		fmt.Fprintf(&text, "{\n\tadmin unix/%s\n\tpersist_config off\n\tstorage file_system %q\n\tstorage_clean_interval off\n\tauto_https off\n\tgrace_period %s\n\tmetrics\n}\n",
			adminSocket(folder), filepath.Join(folder, "storage"), scaleGrace)
		for site := range s.sites {
			host := "localhost" // which clients ask for
			if site > 0 {
				host = fmt.Sprintf("s%d.localhost", site)
			}
			fmt.Fprintf(&text, "http://%s:%s {\n\tbind 127.0.0.1\n%s\n\t%s\n}\n", host, port, more,
				strings.ReplaceAll(scaleSites[c.name], "%s", strings.Join(nodes.addresses, " ")))
		}
		return text.String()
	}
	file := filepath.Join(folder, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile("")), 0o600); err != nil {
		return row, err
	}
	command := exec.Command(c.binary, "run", "--adapter", "caddyfile", "--config", file)
	command.Env = append(os.Environ(), "HOME="+folder, "XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder, "GOMAXPROCS="+strconv.Itoa(b.workers))
	began := time.Now()
	started, err := startProcess(command, filepath.Join(folder, "output.log"))
	if err != nil {
		return row, err
	}
	defer started.stop()
	if err := started.listening(ctx, address); err != nil {
		return row, err
	}
	row.start = time.Since(began)
	p := &proxy{contender: c, process: started, target: target{address: address}, folder: folder}

	admin := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", adminSocket(folder))
	}}}
	began = time.Now()
	if _, err := ask(ctx, admin, http.MethodPost, "/load", caddyfile("\theader X-Reloaded yes")); err != nil {
		return row, fmt.Errorf("reloading: %w", err)
	}
	row.reload = time.Since(began)

	// The kernel may hand a connection to the server before the reload, which ends it.
	select {
	case <-ctx.Done():
		return row, ctx.Err()
	case <-time.After(2 * scaleGrace):
	}
	client := newClient(p.target, 0)
	defer client.close()
	if row.well, _, err = b.requests(ctx, p, client, true); err != nil {
		return row, err
	}
	if row.probing, err = b.idleProcessor(ctx, p); err != nil {
		return row, err
	}
	if row.memory, err = p.memory(); err != nil {
		return row, err
	}
	began = time.Now()
	scraped, err := ask(ctx, admin, http.MethodGet, "/metrics", "")
	if err != nil {
		return row, fmt.Errorf("scraping: %w", err)
	}
	row.scrape, row.scraped = time.Since(began), len(scraped)

	nodes.refuse()
	row.refused, row.refusedProcessor, err = b.requests(ctx, p, client, false)
	return row, err
}

// requests returns what a request of one client takes, one after the other, and the
// proxy's processor time for it.
func (b *benchmark) requests(ctx context.Context, p *proxy, client *client, well bool) (each, processor time.Duration, err error) {
	used, err := p.cpu([]int{p.pid()})
	if err != nil {
		return 0, 0, err
	}
	count, began := 0, time.Now()
	for ; count == 0 || time.Since(began) < b.duration; count++ {
		status, err := client.do(ctx, exchange{method: "GET", path: smallPath})
		switch {
		case err != nil:
			return 0, 0, err
		case well != (status == http.StatusOK):
			return 0, 0, fmt.Errorf("the nodes are well: %t, and the status is %d", well, status)
		}
	}
	each = time.Since(began) / time.Duration(count)
	after, err := p.cpu([]int{p.pid()})
	return each, (after - used) / time.Duration(count), err
}

// idleProcessor returns which part of a core the proxy needs when nobody asks anything
// of it, at least over an interval of the checks.
func (b *benchmark) idleProcessor(ctx context.Context, p *proxy) (float64, error) {
	before, err := p.cpu([]int{p.pid()})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(2 * b.duration):
	}
	after, err := p.cpu([]int{p.pid()})
	return float64(after-before) / float64(time.Since(began)), err
}

// ask makes a call to Caddy's admin endpoint.
func ask(ctx context.Context, admin *http.Client, method, path, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "text/caddyfile")
	response, err := admin.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(content))
	}
	return content, err
}

// scaleGrace is how long the server before a reload may take to end.
const scaleGrace = time.Second

// many is a great number of nodes in this process.
type many struct {
	addresses []string
	listeners []net.Listener

	mu    sync.Mutex
	ended bool
	conns map[net.Conn]struct{}
}

func startMany(count int) (*many, error) {
	m := &many{conns: make(map[net.Conn]struct{})}
	alike := newNode("n", defaultPiece)
	for i := range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			m.refuse()
			return nil, fmt.Errorf("node %d: %w", i+1, err)
		}
		m.addresses, m.listeners = append(m.addresses, listener.Addr().String()), append(m.listeners, listener)
		go alike.serve(keeper{listener, m})
	}
	return m, nil
}

// refuse ends all nodes: from now on their machines refuse.
func (m *many) refuse() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	for _, listener := range m.listeners {
		_ = listener.Close()
	}
	for conn := range m.conns {
		_ = conn.Close()
	}
	clear(m.conns)
}

// keeper is a listener whose connections are known.
type keeper struct {
	net.Listener
	many *many
}

// Accept implements net.Listener.
func (k keeper) Accept() (net.Conn, error) {
	conn, err := k.Listener.Accept()
	if err != nil {
		return nil, err
	}
	k.many.mu.Lock()
	defer k.many.mu.Unlock()
	if k.many.ended {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	k.many.conns[conn] = struct{}{}
	return conn, nil
}

func (r scaleRow) cells() []string {
	return []string{
		strconv.Itoa(r.nodes), strconv.Itoa(r.sites), r.proxy,
		formatSeconds(r.start.Seconds()), formatSeconds(r.reload.Seconds()), formatBytes(r.memory), fmt.Sprintf("%.0f %%", 100*r.probing),
		formatSeconds(r.scrape.Seconds()), formatBytes(float64(r.scraped)),
		formatSeconds(r.well.Seconds()), formatSeconds(r.refused.Seconds()), formatSeconds(r.refusedProcessor.Seconds()),
	}
}

func printScales(w io.Writer, rows []scaleRow) {
	table := [][]string{{
		"nodes", "sites", "proxy", "start", "reload", "memory", "of a core, idle", "scrape", "of bytes",
		"a request", "when all refuse", "of processor time then",
	}}
	for _, row := range rows {
		table = append(table, row.cells())
	}
	printTable(w, table)
}
