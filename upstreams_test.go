package tigergraph

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/lookup"
)

// resolver is a name server over UDP on loopback.
type resolver struct {
	conn net.PacketConn

	mu     sync.Mutex
	silent bool
	code   dnsmessage.RCode
	hosts  []string // what every name means
}

func startResolver(t *testing.T) *resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &resolver{conn: conn}
	t.Cleanup(func() { conn.Close() })
	go s.serve()
	return s
}

func (s *resolver) serve() {
	buffer := make([]byte, 1024)
	for {
		n, client, err := s.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		var message dnsmessage.Message
		if message.Unpack(buffer[:n]) != nil || len(message.Questions) != 1 || !s.answer(&message) {
			continue
		}
		if packed, err := message.Pack(); err == nil {
			_, _ = s.conn.WriteTo(packed, client)
		}
	}
}

func (s *resolver) answer(message *dnsmessage.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	question := message.Questions[0]
	header := dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class}
	message.Header = dnsmessage.Header{ID: message.ID, Response: true, Authoritative: true, RecursionAvailable: true, RCode: s.code}
	message.Additionals = nil
	if s.code != dnsmessage.RCodeSuccess {
		return !s.silent
	}
	for _, host := range s.hosts {
		switch ip := net.ParseIP(host).To4(); {
		case question.Type == dnsmessage.TypeA && ip != nil:
			message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: [4]byte(ip)}})
		case question.Type == dnsmessage.TypeSRV && ip == nil:
			message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.SRVResource{Port: 9000, Target: dnsmessage.MustNewName(host)}})
		}
	}
	return !s.silent
}

func (s *resolver) say(code dnsmessage.RCode, hosts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code, s.hosts, s.silent = code, hosts, false
}

func (s *resolver) fallSilent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = true
}

// source returns the settings of a source that asks this server.
func (s *resolver) source(kind, name string) string {
	return fmt.Sprintf(`{"source":%q,"name":"%s.test.","refresh":"20ms","resolver":{"addresses":["udp/%s"]}}`, kind, name, s.conn.LocalAddr())
}

// dynamicNodes provisions sources as the directive puts them together.
func dynamicNodes(t *testing.T, source string) (nodes *Upstreams, stop func()) {
	t.Helper()
	flat, err := lookup.Flatten(json.RawMessage(source))
	if err != nil {
		t.Fatal(err)
	}
	wrapped := &Upstreams{SourcesRaw: flat}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	if err := wrapped.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := wrapped.Cleanup(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return wrapped, stop
}

// ask returns the nodes that a request is given, and how long it waited.
func (u *Upstreams) askAs(t *testing.T, host string) (nodes []string, took time.Duration, err error) {
	t.Helper()
	replacer := caddy.NewReplacer()
	replacer.Set("http.request.host", host)
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r = r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, replacer))
	began := time.Now()
	upstreams, err := u.GetUpstreams(r)
	for _, upstream := range upstreams {
		nodes = append(nodes, upstream.Dial)
	}
	slices.Sort(nodes)
	return nodes, time.Since(began), err
}

// lookupsWith returns how many look-ups of a source have been counted with a result.
func lookupsWith(t *testing.T, result, source string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(lookupsTotal)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, series := range family.GetMetric() {
			if labels := series.GetLabel(); labels[0].GetValue() == result && labels[1].GetValue() == source {
				return series.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestAResolversSilenceTakesNoNodeAway(t *testing.T) {
	for _, kind := range []string{"a", "srv", "multi"} {
		t.Run(kind, func(t *testing.T) {
			names := startResolver(t)
			hosts, dials := []string{"127.0.0.2", "127.0.0.3"}, []string{"127.0.0.2:14240", "127.0.0.3:14240"}
			others, otherDials := []string{"127.0.0.4"}, []string{"127.0.0.4:14240"}
			if kind == "srv" {
				hosts, dials = []string{"n1.test.", "n2.test."}, []string{"n1.test.:9000", "n2.test.:9000"}
				others, otherDials = []string{"n3.test."}, []string{"n3.test.:9000"}
			}
			source := names.source(kind, "kept-"+kind)
			if kind == "multi" {
				source = fmt.Sprintf(`{"source":"multi","sources":[%s]}`, names.source("a", "kept-multi"))
			}
			names.say(dnsmessage.RCodeSuccess, hosts...)
			nodes, stop := dynamicNodes(t, source)
			if got, _, err := nodes.askAs(t, ""); err != nil || !slices.Equal(got, dials) {
				t.Fatalf("the nodes are %q, %v; want %q", got, err, dials)
			}
			count := func(result string) float64 { return lookupsWith(t, result, nodes.sources[0].name) }
			for what, fail := range map[string]func(){
				"does not know the name": func() { names.say(dnsmessage.RCodeNameError) },
				"fails":                  func() { names.say(dnsmessage.RCodeServerFailure) },
				"knows no address":       func() { names.say(dnsmessage.RCodeSuccess) },
			} {
				failed := count("fail")
				fail()
				until(t, "the look-up fails", func() bool { return count("fail") > failed })
				passed := count("pass")
				if got, _, err := nodes.askAs(t, ""); err != nil || !slices.Equal(got, dials) {
					t.Errorf("when the resolver %s, the nodes are %q, %v", what, got, err)
				}
				names.say(dnsmessage.RCodeSuccess, hosts...)
				until(t, "the look-up succeeds", func() bool { return count("pass") > passed })
			}
			// Silence holds up nobody, neither now nor behind a reload.
			names.fallSilent()
			again, stopAgain := dynamicNodes(t, source)
			stop()
			for range 20 {
				got, took, err := again.askAs(t, "")
				if err != nil || !slices.Equal(got, dials) || took >= lookup.FirstTimeout {
					t.Fatalf("with a silent resolver the nodes are %q, %v, after %s", got, err, took)
				}
			}
			names.say(dnsmessage.RCodeSuccess, others...)
			until(t, "the new nodes are found", func() bool {
				got, _, _ := again.askAs(t, "")
				return slices.Equal(got, otherDials)
			})
			stopAgain()
			if got, _, err := again.askAs(t, ""); err != nil || !slices.Equal(got, otherDials) {
				t.Errorf("behind its configuration, a request is given %q, %v", got, err)
			}
		})
	}
}

func TestTheFirstLookUpHoldsUpRequestsForAShortTime(t *testing.T) {
	names := startResolver(t)
	names.fallSilent()
	nodes, _ := dynamicNodes(t, names.source("a", "silent"))
	began := time.Now()
	var requests sync.WaitGroup
	for range 10 {
		requests.Go(func() {
			for range 4 { // as the retries do
				if got, _, err := nodes.askAs(t, ""); err == nil || !strings.Contains(err.Error(), "a silent.test.:14240") {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	requests.Wait()
	if took := time.Since(began); took > 3*lookup.FirstTimeout {
		t.Errorf("requests waited for %s", took)
	}
}

func TestNodesThatComeAndGoAreFollowed(t *testing.T) {
	names := startResolver(t)
	nodes, _ := dynamicNodes(t, fmt.Sprintf(`{"source":"multi","sources":[%s,%s]}`, names.source("a", "churn-1"), names.source("a", "churn-2")))
	for i := range 30 {
		host := fmt.Sprintf("127.0.1.%d", i+1)
		switch i % 3 {
		case 1:
			names.say(dnsmessage.RCodeServerFailure)
		case 2:
			names.say(dnsmessage.RCodeSuccess)
		}
		if got, _, err := nodes.askAs(t, ""); i > 0 && (err != nil || len(got) != 1) {
			t.Fatalf("meanwhile the nodes are %q, %v", got, err)
		}
		names.say(dnsmessage.RCodeSuccess, host)
		until(t, "the new node is found by both", func() bool {
			got, took, _ := nodes.askAs(t, "")
			if i > 0 && took >= lookup.FirstTimeout {
				t.Errorf("a request waited for %s", took)
			}
			return slices.Equal(got, []string{host + ":14240"})
		})
	}
}

func TestASourceThatDependsOnTheRequestIsAskedWithEach(t *testing.T) {
	names := startResolver(t)
	names.say(dnsmessage.RCodeSuccess, "127.0.0.2")
	nodes, _ := dynamicNodes(t, strings.Replace(names.source("a", "x"), "x.test.", "{http.request.host}", 1))
	if got, _, err := nodes.askAs(t, "own.test."); err != nil || !slices.Equal(got, []string{"127.0.0.2:14240"}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDynamicSourcesMayBeWrittenWithoutTheDirective(t *testing.T) {
	nodes := new(Upstreams)
	if err := nodes.UnmarshalCaddyfile(caddyfile.NewTestDispenser("tigergraph {\na tg.test 14240\nsrv _tg._tcp.test\n}")); err != nil || len(nodes.SourcesRaw) != 2 {
		t.Errorf("%s, %v", nodes.SourcesRaw, err)
	}
	if err := nodes.UnmarshalCaddyfile(caddyfile.NewTestDispenser("tigergraph {\nnonesuch\n}")); err == nil {
		t.Error("an unknown source is accepted")
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	if err := new(Upstreams).Provision(ctx); err == nil {
		t.Error("no source is accepted")
	}
}
