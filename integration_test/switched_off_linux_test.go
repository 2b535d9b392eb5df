package integration_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
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

// A node that is busy with what it has may leave the rest of an upload for as long as it
// likes: nginx writes it to a disk that may be slow.
func TestANodeMayTakeMoreThanAMinuteForAnUpload(t *testing.T) {
	if os.Getenv("CI") == "" {
		t.Skip("takes over a minute: set CI=true to run it")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20 // more than the buffers between client and node hold
	pause := make(chan struct{})
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { listener.Close() })
	serving.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			t.Error(err)
			return
		}
		<-pause
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%d", n)
	})
	e := newEdge(t)
	e.load("tigergraph " + listener.Addr().String() + " {\nhealth_check off\n}")
	time.AfterFunc(75*time.Second, func() { close(pause) })
	client := &http.Client{Timeout: 5 * time.Minute}
	response, err := client.Post("http://"+e.address+"/restpp/ddl/social", "text/csv", io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != strconv.Itoa(size) {
		t.Errorf("%d %q, %v", response.StatusCode, body, err)
	}
}

// zeros is a reader without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
