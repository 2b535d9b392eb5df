package tgnode

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const version = `"version":{"edition":"enterprise","api":"v2","schema":0}`

// restppServer is a node's RESTPP. It alone knows its asynchronous queries.
type restppServer struct {
	mu      sync.Mutex
	queries []*asyncQuery
}

type asyncQuery struct {
	id, graph, url string
	start, end     time.Time
	expires        time.Time
	timedOut       bool
	aborted        bool
}

func (q *asyncQuery) status(now time.Time) string {
	switch {
	case q.aborted:
		return "aborted"
	case now.Before(q.end):
		return "running"
	case q.timedOut:
		return "timeout"
	default:
		return "success"
	}
}

// find returns copies of the queries with these ids (all with none or "all"),
// and the ids that this server does not know.
func (s *restppServer) find(ids []string, keep func(*asyncQuery) bool) (found []*asyncQuery, unknown []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.queries = slices.DeleteFunc(s.queries, func(q *asyncQuery) bool { return now.After(q.expires) })
	all := len(ids) == 0 || slices.Contains(ids, "all")
	for _, q := range s.queries {
		if (all || slices.Contains(ids, q.id)) && (keep == nil || keep(q)) {
			copied := *q
			found = append(found, &copied)
		}
	}
	for _, id := range ids {
		if !all && !slices.ContainsFunc(s.queries, func(q *asyncQuery) bool { return q.id == id }) {
			unknown = append(unknown, id)
		}
	}
	return found, unknown
}

func (c *connection) serveRESTPP() {
	r := &c.request
	if c.options.RequireAuth && !r.tunnelled && r.header("Authorization") == "" {
		c.respondJSON(http.StatusUnauthorized, `{"code":"REST-10018","error":true,"message":"Token is not found."}`)
		return
	}
	name, rest, _ := strings.Cut(strings.TrimPrefix(r.path, "/restpp/"), "/")
	if name == "query" && strings.EqualFold(r.header("GSQL-ASYNC"), "true") {
		c.execute()
		c.submitQuery(rest)
		return
	}
	c.execute()
	switch name {
	case "echo":
		if c.pause(seconds(r.parameter("sleep"))) {
			c.respondJSON(http.StatusOK, `{"error":false,"message":"Hello GSQL"}`)
		} else {
			c.broken = true
		}
	case "version":
		c.respondJSON(http.StatusOK, `{"error":"false","message":"TigerGraph RESTPP: \n --- Version --- \nrelease_3.9.3\n"}`)
	case "query":
		c.runQuery(rest)
	case "query_status":
		c.queryStatus()
	case "query_result":
		c.queryResult()
	case "abortquery":
		c.abortQueries(rest)
	case "showprocesslist", "showprocesslistall", "showdelayedlistall":
		c.processList(rest)
	case "graph":
		c.serveGraph()
	case "ddl":
		c.respondJSON(http.StatusOK, fmt.Sprintf(`{%s,"error":false,"message":"","results":[{"sourceFileName":"Online_POST","statistics":{"bytes":%d}}],"code":"REST-0000"}`,
			version, r.bodyBytes))
	case "endpoints", "statistics", "rebuildnow":
		c.respondJSON(http.StatusOK, `{`+version+`,"error":false,"message":"","results":[{"node":`+quote(c.node.name)+`}],"code":"REST-0000"}`)
	case "requesttoken":
		c.respondJSON(http.StatusOK, `{"code":"REST-0000","expiration":4102444800,"error":false,"message":"Generate new token successfully.","token":"`+strings.ReplaceAll(newUUID(), "-", "")+`"}`)
	default:
		c.respondJSON(http.StatusNotFound, `{`+version+`,"error":true,"message":"Endpoint is not found from url = `+strings.Trim(quote(r.path), `"`)+`, please use GET /endpoints to list all valid endpoints.","code":"REST-1000"}`)
	}
}

// seconds parses a number of seconds; what is none is 0.
func seconds(s string) time.Duration {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return time.Duration(f * float64(time.Second))
}

// queryTime returns how long a query runs (its parameter sleep), and whether
// it exceeds GSQL-TIMEOUT.
func (r *request) queryTime() (time.Duration, bool) {
	duration := seconds(r.parameter("sleep"))
	if ms, err := strconv.Atoi(r.header("GSQL-TIMEOUT")); err == nil && ms > 0 {
		if timeout := time.Duration(ms) * time.Millisecond; duration > timeout {
			return timeout, true
		}
	}
	return duration, false
}

// runQuery answers an installed query. The parameter bytes is the size of its
// result, chunked makes it a stream.
func (c *connection) runQuery(name string) {
	r := &c.request
	duration, timedOut := r.queryTime()
	if !c.pause(duration) {
		c.broken = true
		return
	}
	if timedOut {
		c.respondJSON(http.StatusOK, `{`+version+`,"error":true,"message":"The query didn't finish because it exceeded the query timeout threshold. Please check GSE log for license expiration and RESTPP/GPE log with request id for details. Try increase RESTPP.Factory.DefaultQueryTimeoutSec or add header GSQL-TIMEOUT to override default system timeout.","code":"REST-3002"}`)
		return
	}
	if size, err := strconv.ParseInt(r.parameter("bytes"), 10, 64); err == nil && size > 0 {
		c.respondBytes(size, r.parameter("chunked") == "true")
		return
	}
	status := http.StatusOK
	if r.tunnelled {
		status = http.StatusAccepted
	}
	c.respondJSON(status, `{`+version+`,"error":false,"message":"","results":[{"query":`+quote(name)+`,"node":`+quote(c.node.name)+`}]}`)
}

func (c *connection) submitQuery(name string) {
	r := &c.request
	graph, _, _ := strings.Cut(name, "/")
	now := time.Now()
	duration, timedOut := r.queryTime()
	instance := c.node.number
	if c.options.SameAsyncIDs {
		instance = 1
	}
	query := &asyncQuery{
		id:       fmt.Sprintf("%d.RESTPP_%d_1.%d.N", 16842752+c.node.cluster.sequence.Add(1), instance, now.UnixMilli()),
		graph:    graph,
		url:      strings.TrimPrefix(r.target, "/restpp"),
		start:    now,
		end:      now.Add(duration),
		timedOut: timedOut,
		expires:  now.Add(duration + c.options.AsyncExpiry),
	}
	s := &c.node.restpp
	s.mu.Lock()
	s.queries = append(s.queries, query)
	s.mu.Unlock()
	status := http.StatusOK
	if r.tunnelled {
		status = http.StatusAccepted
	}
	c.respondJSON(status, `{"error":false,"message":"The query is successfully submitted. Please check query status using the request id.","`+
		c.options.AsyncKey+`":"`+query.id+`"}`)
}

func (c *connection) queryStatus() {
	values := c.request.values()
	found, unknown := c.node.restpp.find(values["requestid"], inGraph(values.Get("graph_name")))
	const layout = "2006-01-02 15:04:05.000"
	now := time.Now()
	results := make([]string, len(found))
	for i, q := range found {
		results[i] = fmt.Sprintf(`{"requestid":"%s","startTime":"%s","expirationTime":"%s","url":%s,"elapsedTime":%d,"status":"%s"}`,
			q.id, q.start.Format(layout), q.expires.Format(layout), quote(q.url), min(now.Sub(q.start), q.end.Sub(q.start)).Milliseconds(), q.status(now))
	}
	unknownIDs := ""
	if len(unknown) > 0 {
		for i := range unknown {
			unknown[i] = quote(unknown[i])
		}
		unknownIDs = `,"unknown_requestid":[` + strings.Join(unknown, ",") + `]`
	}
	c.respondJSON(http.StatusOK, `{`+version+`,"error":false,"message":"","results":[`+strings.Join(results, ",")+`]`+unknownIDs+`}`)
}

// inGraph limits queries to a graph, if one is named.
func inGraph(graph string) func(*asyncQuery) bool {
	return func(q *asyncQuery) bool { return graph == "" || q.graph == graph }
}

func (c *connection) queryResult() {
	id := c.request.parameter("requestid")
	found, _ := c.node.restpp.find([]string{id}, nil)
	if len(found) == 0 || found[0].status(time.Now()) != "success" {
		c.respondJSON(http.StatusOK, `{`+version+`,"error":true,"message":`+quote("Unable to retrieve result for query "+id)+`,"results":[]}`)
		return
	}
	c.respondJSON(http.StatusOK, `{`+version+`,"error":false,"message":"","results":[{"url":`+quote(found[0].url)+`,"node":`+quote(c.node.name)+`}]}`)
}

// abortQueries aborts running queries of a graph: those of the ids, those
// whose URL matches, or without either all.
func (c *connection) abortQueries(graph string) {
	values := c.request.values()
	ids, pattern := values["requestid"], values.Get("url")
	match, err := regexp.Compile("^(?:" + pattern + ")")
	if err != nil {
		c.respondJSON(http.StatusOK, `{`+version+`,"error":true,"message":"invalid url","code":"REST-30000"}`)
		return
	}
	now := time.Now()
	belongs := inGraph(strings.Trim(graph, "/"))
	found, _ := c.node.restpp.find(ids, func(q *asyncQuery) bool {
		if q.status(now) != "running" || !belongs(q) || pattern != "" && !match.MatchString(q.url) {
			return false
		}
		q.aborted = true
		return true
	})
	aborted := make([]string, len(found))
	for i, q := range found {
		aborted[i] = fmt.Sprintf(`{"requestid":"%s","url":%s}`, q.id, quote(q.url))
	}
	c.respondJSON(http.StatusOK, `{`+version+`,"error":false,"message":"","results":[{"aborted_queries":[`+strings.Join(aborted, ",")+`]}],"code":"REST-0000"}`)
}

func (c *connection) processList(graph string) {
	now := time.Now()
	belongs := inGraph(graph)
	found, _ := c.node.restpp.find(nil, func(q *asyncQuery) bool { return belongs(q) && q.status(now) == "running" })
	list := make([]string, len(found))
	for i, q := range found {
		list[i] = fmt.Sprintf(`{"requestid":"%s","url":%s}`, q.id, quote(q.url))
	}
	c.respondJSON(http.StatusOK, `{`+version+`,"error":false,"message":"","results":[`+strings.Join(list, ",")+`],"code":"REST-0000"}`)
}

func (c *connection) serveGraph() {
	r := &c.request
	switch r.kind {
	case Upsert:
		c.respondJSON(http.StatusOK, fmt.Sprintf(`{%s,"error":false,"message":"","results":[{"accepted_vertices":1,"accepted_edges":0,"bytes":%d}],"code":"REST-0001"}`,
			version, r.bodyBytes))
	case Delete:
		c.respondJSON(http.StatusOK, `{`+version+`,"error":false,"message":"","results":{"deleted_vertices":1},"code":"REST-0000"}`)
	default:
		c.respondJSON(http.StatusOK, `{`+version+`,"error":false,"message":"","results":[{"path":`+quote(r.path)+`,"node":`+quote(c.node.name)+`}]}`)
	}
}
