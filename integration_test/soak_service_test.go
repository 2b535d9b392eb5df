package integration_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// soakService names the environment variable that makes this binary one service of
// one node of TestSoak's cluster: a process that can be killed and stopped.
const soakService = "TIGERGRAPH_TEST_SERVICE"

// serviceProcess says which service a process is.
type serviceProcess struct {
	Node   string
	Listen string // where the node's nginx finds GUI and GSQL
	Socket string // where it finds RESTPP, by FastCGI
	Behind string // the nginx that a gate is in front of; the others have none
}

// runService serves until the test that started the process is gone. What arrives
// and what is done goes to the file 3 at once, so that it is known even if the
// process is killed the next moment.
func runService(settings string) {
	var process serviceProcess
	if err := json.Unmarshal([]byte(settings), &process); err != nil {
		panic(err)
	}
	if process.Behind != "" {
		runGate(process)
		return
	}
	var mu sync.Mutex
	journal := os.NewFile(3, "journal")
	cluster := tgnode.NewCluster()
	cluster.CountFrom(firstID(process.Node, time.Now()))
	node, err := cluster.Start(tgnode.Options{
		Name: process.Node, Address: process.Listen, NoRecord: true,
		Journal: func(entry tgnode.Entry) {
			if entry.Marker == "" {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			_, _ = io.WriteString(journal, formatEntry(entry))
		},
	})
	if err != nil {
		panic(err)
	}
	if process.Socket != "" {
		_ = os.Remove(process.Socket) // of the process before
		listener, err := net.Listen("unix", process.Socket)
		if err != nil {
			panic(err)
		}
		go func() { panic(fcgi.Serve(listener, fastCGI(node.Addr()))) }()
	}
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
		switch verb, argument, _ := strings.Cut(commands.Text(), " "); verb {
		case "well":
			node.ClearFaults()
		case "slow":
			delay, _ := time.ParseDuration(argument)
			node.SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.SlowHeader, Delay: delay})
		case "die": // after the work is done, each time
			node.SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Close})
		}
	}
}

// firstID is where a node's process begins to count its sessions and queries: no other
// node, and no other process of this one, gives out the same ids.
func firstID(node string, now time.Time) int64 {
	number, _ := strconv.ParseInt(strings.TrimPrefix(node, "m"), 10, 64)
	return number*1e10 + now.UnixMilli()/100%1e8*100 // a thousand a second
}

// formatEntry writes an entry of a journal as a line.
func formatEntry(e tgnode.Entry) string {
	return fmt.Sprintf("%d\t%d\t%s\t%s\t%t\t%s\n", e.Time.UnixNano(), e.Service, e.Marker, e.Session, e.Known, e.Executed)
}

// parseEntry reads it again.
func parseEntry(line string) (e tgnode.Entry, err error) {
	fields := strings.Split(line, "\t")
	if len(fields) != 6 {
		return e, fmt.Errorf("%q is no entry of a journal", line)
	}
	nanoseconds, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return e, err
	}
	service, err := strconv.ParseUint(fields[1], 10, 8)
	if err != nil {
		return e, err
	}
	return tgnode.Entry{
		Time: time.Unix(0, nanoseconds), Service: tgnode.Service(service), Marker: fields[2],
		Session: fields[3], Known: fields[4] == "true", Executed: tgnode.Kind(fields[5]),
	}, nil
}

// fastCGI passes FastCGI on to a stand-in node, which speaks HTTP, by a connection
// for each request: Go's transport repeats nothing then.
func fastCGI(address string) http.Handler {
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// All of the body first, as nginx has it: the stand-in answers before it
		// has read what it refuses.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		request, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+address+r.URL.RequestURI(), bytes.NewReader(body))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		request.Header = r.Header.Clone()
		request.Header.Del("Connection")
		response, err := transport.RoundTrip(request)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		response.Header.Del("Connection")
		maps.Copy(w.Header(), response.Header)
		w.WriteHeader(response.StatusCode)
		_, _ = io.Copy(w, response.Body) // the client sees that it is short
	})
}

// soakSickPath is one of RESTPP's at which its nginx answers 502, whatever RESTPP does.
const soakSickPath = "/restpp/query/social/sick"

// innerNginx is the configuration of the nginx in each node, after the vendor's
// documented template: what is a file comes from the disk, the rest goes to the
// application server (HTTP/1.0, buffered, a read time-out of a week), /gsqlserver/
// to the GSQL server (HTTP/1.1, unbuffered), /restpp/ to RESTPP by FastCGI over a
// Unix socket. It differs from the template where it has to: the stand-in takes
// the prefix /gsqlserver, which the template strips; and localhost is one address,
// for with two nginx itself would send a GET twice, which no edge can prevent. One path of
// RESTPP's is dead.
func innerNginx(folder, listen, gui, gsql, informant, socket string) string {
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // whose files these are
	}
	return user + strings.NewReplacer("FOLDER", folder, "LISTEN", listen, "GUI", gui, "GSQL", gsql, "INFORMANT", informant, "SOCKET", socket, "SICK", soakSickPath).Replace(`
worker_processes 1;
daemon off;
pid FOLDER/nginx.pid;
error_log FOLDER/error.log;
events { worker_connections 2048; }
http {
	log_format arrivals "$msec\t$request_uri\t$status";
	access_log FOLDER/access.log arrivals;
	client_body_temp_path FOLDER/body;
	proxy_temp_path FOLDER/proxy;
	fastcgi_temp_path FOLDER/fastcgi;
	uwsgi_temp_path FOLDER/uwsgi;
	scgi_temp_path FOLDER/scgi;
	client_max_body_size 200m;
	keepalive_timeout 900s;
	server_tokens off;
	gzip on;
	gzip_types application/javascript;
	types { text/html html; application/javascript js; }
	upstream gsql_server { server GSQL; }
	server {
		listen LISTEN;
		root FOLDER/static;
		proxy_set_header X-Real-IP $remote_addr;
		proxy_read_timeout 604800s;
		proxy_send_timeout 604800s;
		location / {
			try_files $uri $uri/index.html @gui;
		}
		location ~ ^/(studio|admin|insights|graphql)(/|$) {
			try_files $uri /index.html;
		}
		location @gui {
			proxy_pass http://GUI;
		}
		location ~ ^/gsqlserver/(.*) {
			proxy_pass http://gsql_server/gsqlserver/$1$is_args$args;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header X-Real-IP $remote_addr;
			proxy_buffering off;
		}
		location /informant/ {
			proxy_pass http://INFORMANT;
		}
		location = SICK {
			return 502;
		}
		location ~ ^/restpp/(.*) {
			fastcgi_pass unix:SOCKET;
			fastcgi_read_timeout 72000s;
			fastcgi_send_timeout 72000s;
			fastcgi_param REQUEST_METHOD $request_method;
			fastcgi_param REQUEST_URI $request_uri;
			fastcgi_param QUERY_STRING $query_string;
			fastcgi_param CONTENT_TYPE $content_type;
			fastcgi_param CONTENT_LENGTH $content_length;
			fastcgi_param SERVER_PROTOCOL $server_protocol;
			fastcgi_param SERVER_NAME $server_name;
			fastcgi_param REMOTE_ADDR $remote_addr;
		}
	}
}
`)
}
