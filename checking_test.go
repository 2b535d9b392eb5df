package tigergraph

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/lookup"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/response"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/series"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// loadPolicy provisions a proxy and returns it with its policy, and what ends
// their context. It is started as far as the plugin is concerned.
func loadPolicy(t testing.TB, settings string, dials ...string) (*Policy, context.CancelFunc) {
	t.Helper()
	base, err := caddy.ProvisionContext(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true},
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, t.TempDir())),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(base)
	t.Cleanup(cancel)
	module, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", proxySettings(settings, dials...))
	if err != nil {
		t.Fatal(err)
	}
	p := module.(*reverseproxy.Handler).LoadBalancing.SelectionPolicy.(*Policy)
	if err := p.app.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.app.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p, cancel
}

func proxySettings(settings string, dials ...string) json.RawMessage {
	var upstreams []string
	for _, dial := range dials {
		upstreams = append(upstreams, fmt.Sprintf(`{"dial":%q}`, dial))
	}
	return json.RawMessage(fmt.Sprintf(`{"upstreams":[%s],%s}`, strings.Join(upstreams, ","), settings))
}

const (
	quickCheck  = `"health_check":{"checker":"services","interval":"50ms"}`
	plainPolicy = `"load_balancing":{"selection_policy":{"policy":"tigergraph",` + quickCheck + `}}`
	// The source is never asked: the tests hand over pools themselves.
	dynamicPolicy = plainPolicy + `,"dynamic_upstreams":{"source":"a","name":"nodes.test"}`
)

// poolOf returns a pool as a dynamic source makes it, new at each request.
func poolOf(nodes ...*tgnode.Node) (pool reverseproxy.UpstreamPool) {
	for _, node := range nodes {
		pool = append(pool, &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: node.Addr()})
	}
	return pool
}

func startNodes(t *testing.T, count int) []*tgnode.Node {
	t.Helper()
	cluster := tgnode.NewCluster()
	t.Cleanup(cluster.Close)
	for range count {
		if _, err := cluster.Start(tgnode.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	return cluster.Nodes()
}

// visitor is a request to the GUI, of a browser with this cookie.
func visitor(cookie string) (*http.Request, *httptest.ResponseRecorder) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "http://example.com/api/ping", nil)
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{}), w
}

func cookieOf(w http.ResponseWriter) string {
	cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	return cookie
}

func (p *Policy) memberAt(dial string) *member { return p.roster.Load().byDial[dial] }

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for this: %s", what)
		}
	}
}

// poolSize returns how many probers there are.
func poolSize() (size int) {
	fleets.Range(func(_, shared any) bool {
		_, size = shared.(sharedFleet).Count()
		return true
	})
	return size
}

// ownerOf returns the owner whose transport and logger count now, nil if there is none
// any more.
func ownerOf(p *fleet.Prober) *probeOwner {
	if l, ok := p.Owner().(lease); ok {
		return l.probeOwner
	}
	return nil
}

func TestANodeThatLeftADynamicPoolIsForgottenAfterTenMinutes(t *testing.T) {
	nodes := startNodes(t, 3)
	gone, stays, newcomer := nodes[0], nodes[1], nodes[2]
	p, _ := loadPolicy(t, dynamicPolicy)
	choose := func(cookie string, pool reverseproxy.UpstreamPool) (dial, newCookie string) {
		r, w := visitor(cookie)
		return p.Select(pool, r, w).Dial, cookieOf(w)
	}
	both := poolOf(gone, stays)
	_, cookie := choose("", poolOf(gone))
	choose("", both)
	forgotten := p.memberAt(gone.Addr())
	until(t, "both nodes are up", func() bool {
		return forgotten.prober.Verdict(service.GUI) == health.Up && p.memberAt(stays.Addr()).prober.Verdict(service.GUI) == health.Up
	})
	probers := poolSize()
	lastSeen := time.Now()
	p.forget(lastSeen)
	inFlight, w := visitor(cookie)
	if chosen := p.Select(both, inFlight, w); chosen.Dial != gone.Addr() {
		t.Fatalf("the cookie led to %s", chosen.Dial)
	}
	p.forget(lastSeen)

	left := poolOf(stays)
	choose("", left)
	p.forget(lastSeen.Add(lookup.ForgetAfter - time.Minute))
	if p.memberAt(gone.Addr()) == nil {
		t.Fatal("the node is forgotten before its time")
	}
	choose("", left)
	p.forget(lastSeen.Add(lookup.ForgetAfter + time.Minute))
	if p.memberAt(gone.Addr()) != nil || p.memberAt(stays.Addr()) == nil {
		t.Fatal("the wrong nodes are known")
	}
	if left := poolSize(); left != probers-1 {
		t.Errorf("there are %d probers, want one less than %d", left, probers)
	}
	until(t, "the probes have ended", func() bool {
		return !forgotten.prober.Runs() && ownerOf(forgotten.prober) == nil
	})
	until(t, "the node has read what was under way", func() bool {
		gone.ResetConnections() // on which a probe that was broken off may still be read, or one of which it hears late
		return gone.Connections() == 0
	})
	gone.ResetRequests()

	// Another node gets the place of the one that is gone, and a cookie for that
	// one must not lead there.
	withNewcomer := poolOf(stays, newcomer)
	choose("", withNewcomer)
	if index := p.memberAt(newcomer.Addr()).index; index != forgotten.index {
		t.Errorf("the newcomer's index is %d, want %d", index, forgotten.index)
	}
	want, _ := choose("", withNewcomer)
	if dial, fresh := choose(cookie, withNewcomer); dial != want || fresh == "" || fresh == cookie {
		t.Errorf("the stale cookie led to %s (cookie %q), a client without one to %s", dial, fresh, want)
	}
	for range 3 { // a visit remembers the node
		if chosen := p.Select(left, inFlight, w); chosen != nil && chosen.Dial != stays.Addr() {
			t.Errorf("a retry went to %s", chosen.Dial)
		}
	}
	if gone.Count(tgnode.All) > 1 { // one may have been under way
		t.Errorf("%d probes of a node that is forgotten", gone.Count(tgnode.All))
	}

	// When it is back, so is its clients' cookie.
	if dial, _ := choose(cookie, both); dial != gone.Addr() {
		t.Errorf("the cookie led to %s", dial)
	}
	until(t, "it is probed once more", func() bool {
		return p.memberAt(gone.Addr()).prober.Verdict(service.GUI) == health.Up
	})
}

// Requests may not come for a night, and nodes are checked all the same: those that the
// source still knows, or where only requests tell, those that were there last.
func TestNodesOfADynamicPoolAreNotForgottenWhileNobodyAsks(t *testing.T) {
	all := startNodes(t, 3)
	nodes, leaves := all[:2], all[2]
	p, _ := loadPolicy(t, dynamicPolicy)
	for _, pool := range [][]*tgnode.Node{all, nodes} {
		r, w := visitor("")
		p.Select(poolOf(pool...), r, w)
	}
	now := time.Now()
	for i := range 4 {
		p.forget(now.Add(time.Duration(i) * (lookup.ForgetAfter + time.Minute)))
	}
	if p.memberAt(leaves.Addr()) != nil {
		t.Error("the node that left is not forgotten")
	}
	p.forget(now)
	if p.memberAt(nodes[0].Addr()) == nil || p.memberAt(nodes[1].Addr()) == nil {
		t.Fatal("a node is forgotten that is there")
	}

	s := &upstreamSource{name: "a test", logger: caddy.Log()}
	s.kept = lookup.NewSource(lookup.NewAnswers("a test"), time.Hour, func(context.Context) ([]string, error) { return []string{nodes[0].Addr()}, nil }, s)
	p.mu.Lock() // which whoever forgets nodes in the background holds, too
	p.host.DynamicUpstreams = &Upstreams{sources: []*upstreamSource{s}}
	p.mu.Unlock()
	s.kept.Begin(t.Context())
	until(t, "the source has answered", func() bool { return s.kept.Known() != nil })
	p.forget(now.Add(lookup.ForgetAfter - time.Minute))
	if p.memberAt(nodes[1].Addr()) == nil {
		t.Fatal("the node that left is forgotten before its time")
	}
	p.forget(now.Add(lookup.ForgetAfter + time.Minute))
	if p.memberAt(nodes[0].Addr()) == nil || p.memberAt(nodes[1].Addr()) != nil {
		t.Fatal("the wrong nodes are known")
	}
}

// Caddy forgets the host of a dynamic node for which no request came for an hour, and
// counts the next ones' requests by another.
func TestRequestsInFlightAreThoseOfTheHostThatCaddyHasNow(t *testing.T) {
	nodes := startNodes(t, 1)
	p, _ := loadPolicy(t, dynamicPolicy)
	for range 2 {
		r, w := visitor("")
		pool := poolOf(nodes...)
		p.Select(pool, r, w)
		if got := p.roster.Load().upstream(p.memberAt(nodes[0].Addr())).Host; got != pool[0].Host {
			t.Fatal("the requests are counted by another host")
		}
	}
}

// Pods come and go, and each has an address of its own.
func TestAHundredNodesComeAndGo(t *testing.T) {
	p, _ := loadPolicy(t, dynamicPolicy)
	other, _ := loadPolicy(t, dynamicPolicy)
	now := time.Now()
	address := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", 1+i) } // where nothing listens
	choose := func(p *Policy, i int) {
		pool := reverseproxy.UpstreamPool{{Host: new(reverseproxy.Host), Dial: address(i)}}
		r, w := visitor("")
		if p.Select(pool, r, w) == nil {
			t.Fatal("no node")
		}
	}
	nodesBefore, probersBefore := p.app.fleet.Count()
	for i := range 100 {
		choose(p, i)
		choose(other, i)
		now = now.Add(lookup.ForgetAfter + time.Minute)
		p.forget(now)
		other.forget(now)
	}
	choose(p, 100)
	choose(other, 100)
	for range 2 {
		now = now.Add(lookup.ForgetAfter + time.Minute)
		p.forget(now)
		other.forget(now)
	}
	nodes, probers := p.app.fleet.Count()
	if nodes, probers = nodes-nodesBefore, probers-probersBefore; probers > 1 || nodes > 1 {
		t.Errorf("%d probers and %d nodes are left, want those of the last node at most", probers, nodes)
	}
	for i := range 100 {
		label := map[string]string{"node": address(i)}
		if left := selectionsTotal.DeletePartialMatch(label) + displacedTotal.DeletePartialMatch(label) + probesTotal.DeletePartialMatch(label) +
			probeDuration.DeletePartialMatch(label) + transitionsTotal.DeletePartialMatch(label); left > 0 {
			t.Errorf("%d series of %s are left", left, address(i))
		}
	}
}

func TestOfNodesThatLeaveADynamicPoolAFewAreChecked(t *testing.T) {
	p, _ := loadPolicy(t, dynamicPolicy)
	p.mu.Lock()
	p.checker = nil // there is nobody to be asked
	p.mu.Unlock()
	now := time.Now()
	address := func(i int) string { return fmt.Sprintf("10.1.%d.%d:14240", i/200, i%200+1) }
	const all = 3 * lookup.MostDeparted
	for i := range all {
		r, w := visitor("")
		p.asked.Store(true)
		if p.Select(reverseproxy.UpstreamPool{{Dial: address(i), Host: new(reverseproxy.Host)}}, r, w) == nil {
			t.Fatal("no node is chosen")
		}
		now = now.Add(time.Second)
		p.forget(now)
	}
	if known := len(p.allMembers()); known != lookup.MostDeparted+1 {
		t.Errorf("%d nodes are known, want %d and the one that is there", known, lookup.MostDeparted)
	}
	if p.memberAt(address(all-1)) == nil || p.memberAt(address(all-2)) == nil || p.memberAt(address(0)) != nil {
		t.Error("those that left last are not known, or the first one is")
	}
}

// A prober that another site needs goes on, with what that one lends.
func TestAForgottenNodeMayBeAnotherSitesNode(t *testing.T) {
	nodes := startNodes(t, 2)
	static, _ := loadPolicy(t, plainPolicy, nodes[0].Addr())
	dynamic, _ := loadPolicy(t, dynamicPolicy)
	r, w := visitor("")
	dynamic.Select(poolOf(nodes[0]), r, w)
	shared := dynamic.memberAt(nodes[0].Addr()).prober
	if static.memberAt(nodes[0].Addr()).prober != shared || ownerOf(shared) != dynamic.owner {
		t.Fatal("the sites do not share the prober")
	}
	r, w = visitor("")
	dynamic.Select(poolOf(nodes[1]), r, w)
	dynamic.forget(time.Now())
	dynamic.forget(time.Now().Add(time.Hour))
	if dynamic.memberAt(nodes[0].Addr()) != nil {
		t.Fatal("the node is not forgotten")
	}
	if owner := ownerOf(shared); owner == nil || owner != static.owner {
		t.Error("the prober is not the other site's alone")
	}
	until(t, "it is probed", func() bool { return shared.Verdict(service.GUI) == health.Up })
}

// The upstreams beside a dynamic source are used when it fails, which may be in
// an hour.
func TestStaticNodesOfADynamicPoolAreNotForgotten(t *testing.T) {
	nodes := startNodes(t, 2)
	p, _ := loadPolicy(t, dynamicPolicy, nodes[0].Addr())
	r, w := visitor("")
	p.Select(poolOf(nodes[1]), r, w)
	p.forget(time.Now())
	r, w = visitor("")
	p.Select(poolOf(nodes[0]), r, w) // the source fails
	p.forget(time.Now().Add(time.Hour))
	if p.memberAt(nodes[0].Addr()) == nil {
		t.Error("the static node is forgotten")
	}
	if p.memberAt(nodes[1].Addr()) != nil {
		t.Error("the dynamic node is not")
	}
}

func TestProbersAreGivenUpExactlyOnce(t *testing.T) {
	nodes := startNodes(t, 2)
	t.Setenv("NODE", nodes[0].Addr())
	before := poolSize()
	t.Run("clean-up", func(t *testing.T) {
		// Two spellings of one address share a prober.
		p, cancel := loadPolicy(t, plainPolicy, nodes[0].Addr(), "{env.NODE}", nodes[1].Addr())
		if now := poolSize(); now != before+2 {
			t.Errorf("%d probers, want 2", now-before)
		}
		m := p.memberAt(nodes[0].Addr())
		until(t, "a verdict", func() bool { return m.prober.Verdict(service.GUI) == health.Up })
		cancel()
		until(t, "the probers are given up", func() bool { return poolSize() == before })
		if err := p.Cleanup(); err != nil {
			t.Error(err)
		}
		// A request may outlive all that, even one that brings a new node.
		for _, pool := range []reverseproxy.UpstreamPool{poolOf(nodes[0]), poolOf(nodes...), poolOf(startNodes(t, 1)...)} {
			r, w := visitor("")
			if p.Select(pool, r, w) == nil {
				t.Error("no node for a request that outlived its configuration")
			}
		}
		if m.prober.Verdict(service.GUI) != health.Up {
			t.Error("the verdict cannot be read any more")
		}
		p.forget(time.Now().Add(time.Hour))
		if now := poolSize(); now != before {
			t.Errorf("%d probers are left", now-before)
		}
	})
	t.Run("failed provisioning", func(t *testing.T) {
		base, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := caddy.NewContext(base)
		for _, settings := range []string{ // the policy's own, and what follows it
			`"load_balancing":{"selection_policy":{"policy":"tigergraph","health_check":{"checker":"services","fails":-1}}}`,
			`"load_balancing":{"selection_policy":{"policy":"tigergraph"},"retry_match":[{"bogus":{}}]}`,
		} {
			if _, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", proxySettings(settings, nodes[0].Addr())); err == nil {
				t.Error("it was accepted: " + settings)
			}
		}
		cancel()
		until(t, "the probers are given up", func() bool { return poolSize() == before })
	})
}

// seriesOfNode returns the series that metrics have of a node.
func seriesOfNode(t *testing.T, node string, metrics ...prometheus.Collector) iter.Seq[*dto.Metric] {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(*dto.Metric) bool) {
		for _, family := range families {
			for _, metric := range family.Metric {
				if slices.ContainsFunc(metric.Label, func(l *dto.LabelPair) bool {
					return l.GetName() == "node" && l.GetValue() == node
				}) && !yield(metric) {
					return
				}
			}
		}
	}
}

// A series that is made after the last prober has ended would stay for ever.
func TestALateResultIsNotCounted(t *testing.T) {
	count := func() int { return len(slices.Collect(seriesOfNode(t, "late:1", probesTotal, transitionsTotal))) }
	labelled.Add("late:1")
	countProbe("late:1", service.GUI, true, time.Millisecond)
	countTransition("late:1", service.GUI, health.Unknown, health.Up)
	if made := count(); made != 4 { // each result, and each verdict
		t.Errorf("%d series of a node that is probed, want 4", made)
	}
	labelled.Remove("late:1", forgetProbes)
	countProbe("late:1", service.GUI, true, time.Millisecond)
	countTransition("late:1", service.GUI, health.Unknown, health.Up)
	if made := count(); made != 0 {
		t.Errorf("%d series of a node that is not probed any more", made)
	}
}

func TestNothingIsLeftOfTheRequestsToANodeThatLeft(t *testing.T) {
	counters := newRequestCounters("left:1")
	count := func() int {
		return len(slices.Collect(seriesOfNode(t, "left:1", requestsTotal, requestDuration, retriesTotal)))
	}
	for s := range service.Count {
		counters.countAnswer(s, http.StatusOK, time.Millisecond)
		counters.countAnswer(s, 799, time.Millisecond)
		counters.count(s, response.Failed)
		counters.countRetry(s)
	}
	if made, want := count(), 5*int(service.Count); made != want {
		t.Errorf("%d series of a node that is asked, want %d", made, want)
	}
	counters.Leave(counters.forget)
	counters.countAnswer(service.GUI, http.StatusNotFound, time.Millisecond)
	if left := count(); left != 0 {
		t.Errorf("%d series of a node that left", left)
	}
}

func TestALargeClusterHasTimesOfSlowNodesAlone(t *testing.T) {
	times := func(node string) (observed uint64) {
		for metric := range seriesOfNode(t, node, probeDuration) {
			observed += metric.GetHistogram().GetSampleCount()
		}
		return observed
	}
	labelled.Add("few:1")
	countProbe("few:1", service.GUI, true, time.Millisecond)
	if times("few:1") != 1 {
		t.Error("a node of a small cluster has no times")
	}
	for i := range series.MostInDetail {
		labelled.Add(fmt.Sprintf("many:%d", i))
	}
	for _, took := range []time.Duration{time.Second, time.Millisecond} { // the first says nothing
		countProbe("many:1", service.GUI, true, took)
	}
	if times("many:1") != 0 {
		t.Error("a node that is not slow has times")
	}
	seriesOf := func(metric prometheus.Collector) int { return len(slices.Collect(seriesOfNode(t, "many:1", metric))) }
	countTransition("many:1", service.GUI, health.Unknown, health.Up)
	if seriesOf(probesTotal) != 0 || seriesOf(transitionsTotal) != 0 {
		t.Error("a node of which all is well has series of its probes")
	}
	countProbe("many:1", service.GUI, false, time.Millisecond)
	countProbe("many:1", service.GUI, true, time.Millisecond)
	countTransition("many:1", service.GUI, health.Up, health.Down)
	countTransition("many:1", service.GUI, health.Down, health.Up)
	if made := seriesOf(probesTotal) + seriesOf(transitionsTotal); made != 4 {
		t.Errorf("a node that failed has %d series of its probes, want 4", made)
	}
	for i, took := range []time.Duration{time.Second, time.Millisecond} {
		countProbe("many:1", service.GUI, true, took)
		if times("many:1") != uint64(i+1) {
			t.Errorf("the %s of a node that is slow are not told", took)
		}
	}
	for metric := range seriesOfNode(t, "many:1", inFewLines{probeDuration}) {
		if h := metric.GetHistogram(); len(h.GetBucket()) > 0 || h.GetSampleCount() != 2 || len(h.GetPositiveSpan()) == 0 {
			t.Errorf("the times of a node of many are %s, want native buckets alone", h)
		}
	}
	labelled.Remove("few:1", forgetProbes)
	for i := range series.MostInDetail {
		labelled.Remove(fmt.Sprintf("many:%d", i), forgetProbes)
	}
}

func TestImpossibleSettingsAreRefused(t *testing.T) {
	base, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TIGERGRAPH_TEST_TOKEN", "{file./run/secrets/token}")
	for settings, want := range map[string]string{
		`"headers":{"A":["Bearer {env.TIGERGRAPH_TEST_TOKEN}"]}`: "the value of the header field 'A' has a placeholder that nothing expands",
		`"interval":"1ms"`:                 "interval must be at least 10ms, not 1ms",
		`"interval":"-1s"`:                 "interval must be at least 10ms, not -1s",
		`"timeout":"-1s"`:                  "timeout must be positive, not -1s",
		`"jitter":-1`:                      "jitter must be a percentage from 0 to 100, not -1",
		`"jitter":101`:                     "jitter must be a percentage from 0 to 100, not 101",
		`"passes":-1`:                      "passes must be at least 1, not -1",
		`"fails":-1`:                       "fails must be at least 1, not -1",
		`"gui":"api/ping"`:                 "gui must be a path that begins with a slash or 'off', not 'api/ping'",
		`"gsql":"http://elsewhere/"`:       "gsql must be a path that begins with a slash or 'off', not 'http://elsewhere/'",
		`"restpp":"/%zz"`:                  "restpp must be a path that begins with a slash or 'off', not '/%zz'",
		`"headers":{"A b":["c"]}`:          "'A b' is not the name of a header field",
		`"headers":{"A":["secret\r\nB:"]}`: "the value of the header field 'A' has a character that is not allowed there",
		`"start":"sick"`:                   "start must be 'healthy' or 'checking', not 'sick'",
		`"interwal":"1s"`:                  "interwal",
		`"fails":"three"`:                  "fails",
	} {
		ctx, cancel := caddy.NewContext(base)
		_, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", proxySettings(
			`"load_balancing":{"selection_policy":{"policy":"tigergraph","health_check":{"checker":"services",`+settings+`}}}`, "a:1"))
		cancel()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") ||
			!strings.Contains(err.Error(), "health_check") {
			t.Errorf("%s: %v\nwant an error about the health_check that says %s", settings, err, want)
		}
	}
}

var _ HealthChecker = (*otherChecker)(nil)

// A request that began before a node was forgotten still knows which cookie named it.
func TestACookieOfANodeThatIsForgottenMeanwhileIsMissing(t *testing.T) {
	p, _ := loadPolicy(t, dynamicPolicy)
	stays := &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: "127.0.0.1:1"}
	leaves := &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: "127.0.0.2:1"}
	before := p.rosterFor(reverseproxy.UpstreamPool{leaves, stays})
	gone := before.byDial[leaves.Dial]
	pool := reverseproxy.UpstreamPool{stays}
	p.rosterFor(pool)
	now := time.Now()
	p.forget(now)
	p.asked.Store(true) // for the node that stays
	p.forget(now.Add(2 * lookup.ForgetAfter))
	if p.roster.Load().members[gone.index] != nil {
		t.Fatal("the node is not forgotten")
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Cookie", p.cookie.Name+"="+before.tokens.Current(gone.index)+"; "+p.cookie.Name+"=bogus")
	c := call{policy: p, pool: pool, roster: before, request: r}
	if found := c.cutCookies(); found.place != balance.None || !found.several {
		t.Errorf("%+v", found)
	}
}
