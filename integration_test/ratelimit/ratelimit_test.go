// Package ratelimit_test tries the rate limits of docs/security.md, which need a
// module that is no part of this plugin.
package ratelimit_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-ratelimit"

	_ "github.com/caddy-tigergraph/caddy-tigergraph"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

func TestTheGuidesLimits(t *testing.T) {
	guide, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	site := ""
	for block := range strings.SplitSeq(string(guide), "```caddyfile\n") {
		if block, _, _ := strings.Cut(block, "```"); strings.Contains(block, "rate_limit {") {
			site = block
		}
	}
	cluster := tgnode.NewCluster()
	t.Cleanup(cluster.Close)
	var addresses []string
	for range 3 {
		node, err := cluster.Start(tgnode.Options{})
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, node.Addr())
	}
	address, err := tgnode.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{"graph.example.com", "http://" + address}, {"m1 m2 m3", strings.Join(addresses, " ")}} {
		if strings.Count(site, change[0]) != 1 {
			t.Fatalf("%s is not in the guide's Caddyfile once:\n%s", change[0], site)
		}
		site = strings.Replace(site, change[0], change[1], 1)
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\nadmin off\npersist_config off\nstorage file_system "+t.TempDir()+"\n}\n"+site), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })

	client := &http.Client{Timeout: 30 * time.Second}
	login := func() int {
		t.Helper()
		answer, err := client.Post("http://"+address+"/api/auth/login", "application/json", strings.NewReader(`{"username":"x","password":"wrong"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		return answer.StatusCode
	}
	for i := range 10 {
		if status := login(); status == http.StatusTooManyRequests {
			t.Fatalf("attempt %d is refused", i+1)
		}
	}
	if status := login(); status != http.StatusTooManyRequests {
		t.Errorf("the eleventh attempt is answered with %d", status)
	}
	answer, err := client.Get("http://" + address + "/api/ping")
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("other requests are limited: %v %v", answer, err)
	}
}
