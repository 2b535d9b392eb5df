package integration_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// A machine that is cut off acknowledges neither what it is sent nor TCP's probes, and
// one that works for long does.
func TestRequestsOfAMachineThatIsSwitchedOffFailAfterAMinute(t *testing.T) {
	if os.Getenv("CI") == "" {
		t.Skip("takes over a minute: set CI=true to run it")
	}
	if _, err := exec.LookPath("nginx"); err != nil {
		t.Skip("nginx is missing (apt-get install nginx)")
	}
	if missing := soakNamespaces(); missing != "" {
		t.Skip(missing)
	}
	var mu sync.Mutex
	arrived := make(map[string]bool)
	subnet := freeSubnet(t)
	var machines []*soakMachine
	for number := range 2 {
		machines = append(machines, newSoakMachine(t, number, subnet, func(_ string, entry tgnode.Entry) {
			mu.Lock()
			defer mu.Unlock()
			arrived[entry.Marker] = true
		}))
	}
	cut, well := machines[0], machines[1]
	e := newEdge(t)
	e.load(fmt.Sprintf(`
	@cut path /cut/*
	handle @cut {
		uri strip_prefix /cut
		tigergraph %s {
			health_check off
		}
	}
	handle {
		tigergraph %s {
			health_check off
		}
	}`, cut.address, well.address))
	client := &http.Client{Timeout: 5 * time.Minute}
	get := func(path string) (status int) {
		response, err := client.Get("http://" + e.address + path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	eventually(t, "both machines serve", func() bool {
		return get("/cut/restpp/echo") == http.StatusOK && get("/restpp/echo") == http.StatusOK
	})
	var group sync.WaitGroup
	const patience = 2 * time.Minute // of a busy machine
	fails := func(what, path string) {
		group.Go(func() {
			began := time.Now()
			status := get(path)
			if took := time.Since(began); status != http.StatusBadGateway && status != http.StatusGatewayTimeout || took > patience {
				t.Errorf("a request that the machine %s ends with %d after %s", what, status, took)
			}
		})
	}
	fails("took", "/cut/restpp/query/social/q?sleep=200&marker=taken")
	group.Go(func() {
		if status := get("/restpp/query/social/q?sleep=100&marker=long"); status != http.StatusOK {
			t.Errorf("a long query of a machine that is there ends with %d", status)
		}
	})
	// Its connection is idle when the machine goes.
	eventually(t, "the queries are under way", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return arrived["taken"] && arrived["long"] && get("/cut/restpp/echo") == http.StatusOK
	})
	cut.runInSpace("ip", "link", "set", "eth0", "down")
	fails("did not take", "/cut/restpp/query/social/q?marker=lost")
	group.Wait()
}
