package integration_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

func TestTwoEdgesAgreeOnTenThousandClientsWithoutTalking(t *testing.T) {
	const clients, workers = 10_000, 8
	_, nodes := startCluster(t, 3)
	for _, node := range nodes {
		node.Update(func(o *tgnode.Options) { o.NoRecord = true })
	}
	storage := t.TempDir()
	var bases []string
	var edges []*process
	for range 2 { // which start at once, and find no key in their storage
		address := freeAddress(t)
		site := processOptions(storage) + "servers {\ntrusted_proxies static 127.0.0.0/8\n}\n}\nhttp://" + address +
			" {\n" + proxyTo(nodes, "tigergraph") + "\n}\n"
		edges = append(edges, startProcess(t, caddyBinary, site))
		bases = append(bases, "http://"+address)
		slices.Reverse(nodes) // the other has them in another order
	}
	for i, edge := range edges {
		edge.listening(strings.TrimPrefix(bases[i], "http://"))
	}
	homes := make([]string, clients)
	var group sync.WaitGroup
	for worker := range workers {
		first, second := newBrowser(t, bases[0], byte(2+worker), nil), newBrowser(t, bases[1], byte(2+worker), nil)
		first.http.Jar, second.http.Jar = nil, nil
		random := rand.New(rand.NewPCG(11, uint64(worker)))
		group.Go(func() {
			for i := worker; i < clients; i += workers {
				client := fmt.Sprintf("%d.%d.%d.%d", 1+random.IntN(200), random.IntN(256), random.IntN(256), random.IntN(256))
				ask := func(b *browser, client string, cookie string) (node, set string, ok bool) {
					a, err := b.try(http.MethodGet, "/api/__echo", nil, "X-Forwarded-For", client, "Cookie", cookie)
					if err != nil || a.StatusCode != http.StatusOK {
						t.Errorf("%v %v", a, err)
						return "", "", false
					}
					var times int
					set, times = a.cookie("TigerGraphNode")
					if times > 1 {
						t.Errorf("the cookie was set %d times", times)
					}
					return a.served(t), set, true
				}
				node, cookie, ok := ask(first, client, "")
				if !ok {
					return
				}
				homes[i] = node
				// Half of them come without the cookie, and half with it from elsewhere.
				sent, from, want := "", client, cookie
				if i%2 == 0 {
					sent, from, want = "TigerGraphNode="+cookie, "203.0.113.5", ""
				}
				if other, set, ok := ask(second, from, sent); !ok || other != node || set != want {
					t.Errorf("%s belongs to %s (%s) and to %s (%s)", client, node, cookie, other, set)
					return
				}
			}
		})
	}
	group.Wait()
	slices.Sort(homes)
	if used := slices.Compact(homes); len(used) != 3 {
		t.Errorf("they use the nodes %v", used)
	}
}
