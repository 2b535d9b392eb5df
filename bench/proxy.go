package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// contender is a proxy with a configuration.
type contender struct {
	name  string
	about string
	// command writes the configuration and returns what runs it.
	command func(site) (*exec.Cmd, error)
	isCaddy bool
	binary  string // of a Caddy
	program string // of the system, if it is one, and the Debian package that has it
	pkg     string
}

// site is what a contender has to serve.
type site struct {
	folder  string // of its own
	listen  string
	nodes   []string
	tls     bool
	pair    keyPair
	workers int
	files   uint64 // that a process may have open
}

// find returns the path of a program of the system.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		// Debian keeps daemons where users have no path.
		path, err = exec.LookPath(filepath.Join("/usr/sbin", program))
	}
	return path, err
}

// caddyContender runs a Caddy with these directives in its site, %s being the
// nodes.
func caddyContender(name, about, program, directives string) contender {
	return contender{name: name, about: about, isCaddy: true, binary: program, command: func(s site) (*exec.Cmd, error) {
		scheme, certificate := "http", ""
		if s.tls {
			scheme, certificate = "https", fmt.Sprintf("tls %q %q\n", s.pair.certificate, s.pair.key)
		}
		_, port, err := net.SplitHostPort(s.listen)
		if err != nil {
			return nil, err
		}
		caddyfile := fmt.Sprintf(`{
	admin unix/%s
	persist_config off
	storage file_system %q
	storage_clean_interval off
	auto_https disable_redirects
	skip_install_trust
}
%s://localhost:%s {
	bind 127.0.0.1
	%s%s
}
`, adminSocket(s.folder), filepath.Join(s.folder, "storage"), scheme, port, certificate,
			strings.ReplaceAll(directives, "%s", strings.Join(s.nodes, " ")))
		file := filepath.Join(s.folder, "Caddyfile")
		if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
			return nil, err
		}
		command := exec.Command(program, "run", "--adapter", "caddyfile", "--config", file)
		command.Env = append(os.Environ(), "HOME="+s.folder, "XDG_DATA_HOME="+s.folder, "XDG_CONFIG_HOME="+s.folder,
			"GOMAXPROCS="+strconv.Itoa(s.workers))
		return command, nil
	}}
}

// adminSocket is where Caddy's admin endpoint is, which has its profiles.
func adminSocket(folder string) string { return filepath.Join(folder, "admin.sock") }

const (
	directiveSite = "tigergraph %s"
	policySite    = "reverse_proxy %s {\nlb_policy tigergraph\n}"
	stockSite     = "reverse_proxy %s {\nlb_policy cookie\n}"
	// Stock Caddy checks nothing of its own accord. This is with what its
	// documentation offers: an active check at its defaults, and the time that it
	// calls reasonable for a passive one.
	checkedSite = "reverse_proxy %s {\nlb_policy cookie\nlb_try_duration 5s\nhealth_uri /api/ping\nfail_duration 30s\n}"
)

// nginxContender is nginx as TigerGraph documents it. What differs: no access
// log, because the others write none; connections enough; no limit of 1 MB for a
// request's body, which would refuse the uploads; and TLS, which TigerGraph
// leaves out.
func nginxContender() contender {
	return nginxWith("nginx", "nginx as TigerGraph documents it", "ip_hash")
}

// nginxWith is the same with another way to choose a node.
func nginxWith(name, about, method string) contender {
	return contender{name: name, about: about, program: "nginx", pkg: "nginx-light", command: func(s site) (*exec.Cmd, error) {
		program, err := find("nginx")
		if err != nil {
			return nil, err
		}
		var config strings.Builder
		if os.Getuid() == 0 {
			// The workers' usual user cannot write into the folder.
			config.WriteString("user root;\n")
		}
		fmt.Fprintf(&config, `daemon off;
worker_processes %d;
worker_rlimit_nofile %d;
pid nginx.pid;
error_log stderr;
events { worker_connections 24000; }
http {
	access_log off;
	client_max_body_size 0;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	upstream flask_pool {
		%s;
		zone flask_pool 64k;
`, s.workers, s.files, method)
		for _, node := range s.nodes {
			fmt.Fprintf(&config, "\t\tserver %s;\n", node)
		}
		listen := s.listen
		if s.tls {
			listen += fmt.Sprintf(" ssl;\n\t\tssl_protocols TLSv1.3;\n\t\tssl_certificate %q;\n\t\tssl_certificate_key %q", s.pair.certificate, s.pair.key)
		}
		fmt.Fprintf(&config, `		keepalive 32;
	}
	server {
		listen %s;
		server_name localhost;
		location / {
			root html;
			index index.html index.htm;
			proxy_pass http://flask_pool;
			proxy_read_timeout 3600;
			proxy_set_header Connection "";
			proxy_http_version 1.1;
			chunked_transfer_encoding off;
			proxy_buffering off;
			proxy_cache off;
		}
		error_page 500 502 503 504 /50x.html;
		location = /50x.html { root html; }
	}
}
`, listen)
		file := filepath.Join(s.folder, "nginx.conf")
		if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
			return nil, err
		}
		return exec.Command(program, "-p", s.folder, "-c", file, "-e", "stderr"), nil
	}}
}

// haproxyContender is HAProxy with a cookie that it inserts and checks of
// /api/ping, as its configuration manual has them, and with the time-outs of
// Debian's haproxy.cfg, but for an hour for a query, as nginx has it.
func haproxyContender() contender {
	return haproxyWith("haproxy", "HAProxy with cookie insert", "roundrobin\n\tcookie SERVERID insert indirect nocache")
}

// haproxyWith is the same with another way to choose a node.
func haproxyWith(name, about, method string) contender {
	return contender{name: name, about: about, program: "haproxy", pkg: "haproxy", command: func(s site) (*exec.Cmd, error) {
		program, err := find("haproxy")
		if err != nil {
			return nil, err
		}
		bind := s.listen
		if s.tls {
			bind += " ssl crt " + s.pair.both + " alpn http/1.1"
		}
		var config strings.Builder
		fmt.Fprintf(&config, `global
	nbthread %d
	maxconn 12000
	no strict-limits
	ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
	ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
	mode http
	timeout connect 5s
	timeout client 1h
	timeout server 1h
frontend edge
	bind %s
	default_backend nodes
backend nodes
	balance %s
	option redispatch
	option httpchk GET /api/ping
`, s.workers, bind, method)
		for i, node := range s.nodes {
			fmt.Fprintf(&config, "\tserver n%d %s check", i+1, node)
			if strings.Contains(method, "cookie") {
				fmt.Fprintf(&config, " cookie n%d", i+1)
			}
			config.WriteString("\n")
		}
		file := filepath.Join(s.folder, "haproxy.cfg")
		if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
			return nil, err
		}
		return exec.Command(program, "-db", "-f", file), nil
	}}
}

// proxy is a contender that runs.
type proxy struct {
	contender
	*process
	target
	folder string
}

func startProxy(ctx context.Context, c contender, s site) (*proxy, error) {
	var err error
	if s.listen, err = tgnode.FreeAddress(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(s.folder, 0o700); err != nil {
		return nil, err
	}
	command, err := c.command(s)
	if err != nil {
		return nil, err
	}
	started, err := startProcess(command, filepath.Join(s.folder, "output.log"))
	if err != nil {
		return nil, err
	}
	p := &proxy{contender: c, process: started, target: target{address: s.listen, tls: s.tls}, folder: s.folder}
	if err := p.listening(ctx, s.listen); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// cpu returns the processor time of these processes of the proxy so far.
func (p *proxy) cpu(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		used, err := cpuTime(pid)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", p.name, err)
		}
		sum += used
	}
	return sum, nil
}

// profile has Caddy write a CPU profile of that long into a file.
func (p *proxy) profile(ctx context.Context, duration time.Duration, file string) error {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", adminSocket(p.folder))
	}
	transport := &http.Transport{DialContext: dial}
	defer transport.CloseIdleConnections()
	address := fmt.Sprintf("http://127.0.0.1/debug/pprof/profile?seconds=%d", max(int(duration.Seconds()), 1))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("the profile of %s: %w", p.name, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the profile of %s: %s", p.name, response.Status)
	}
	output, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := output.ReadFrom(response.Body); err != nil {
		_ = output.Close()
		return fmt.Errorf("the profile of %s: %w", p.name, err)
	}
	return output.Close()
}
