package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// runScript runs a script of a guide in a shell, after these lines, against an edge
// and with these nodes in place of the guide's names.
func (a *admin) runScript(t *testing.T, before, script string, names map[string]*tgnode.Node) (output string, failed bool) {
	t.Helper()
	folder := t.TempDir()
	wrapper := "#!/bin/sh\nif [ \"$2\" = check ]; then exec " + caddyBinary + " \"$@\"; fi\nexec " + caddyBinary + " \"$@\" --address unix/" + a.socket + "\n"
	if err := os.WriteFile(filepath.Join(folder, "caddy"), []byte(wrapper), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, node := range names {
		changed := strings.NewReplacer(" "+name+" ", " "+node.Addr()+" ", " "+name+";", " "+node.Addr()+";", " "+name+"\n", " "+node.Addr()+"\n").Replace(script)
		if changed == script {
			t.Fatalf("the script does not name %s:\n%s", name, script)
		}
		script = changed
	}
	ctx, cancel := context.WithTimeout(context.Background(), enough)
	defer cancel()
	shell := exec.CommandContext(ctx, "sh", "-c", before+"\n"+script)
	shell.Env = append(os.Environ(), "PATH="+folder+":"+os.Getenv("PATH"))
	out, err := shell.CombinedOutput()
	return string(out), err != nil
}

// restartServer restarts the node that a request's path names, as an administrator's
// command does, and returns the shell's command for it.
func restartServer(t *testing.T, restart func(address string) error) (command string) {
	t.Helper()
	address := freeAddress(t)
	server := &http.Server{Addr: address, ReadHeaderTimeout: enough, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := restart(strings.TrimPrefix(r.URL.Path, "/")); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})}
	go func() { _ = server.ListenAndServe() }()
	t.Cleanup(func() { server.Close() })
	eventually(t, "the restarts' server listens", func() bool {
		response, err := http.Head("http://" + address + "/")
		if err == nil {
			response.Body.Close()
		}
		return err == nil
	})
	return "restart_node() { curl -sf http://" + address + "/$1; }"
}

func byNames(prefix string, nodes []*tgnode.Node) map[string]*tgnode.Node {
	names := make(map[string]*tgnode.Node)
	for i, node := range nodes {
		names[fmt.Sprint(prefix, i+1)] = node
	}
	return names
}

// The guide's rolling restart costs no request, and stops at a node that does not come
// back.
func TestTheGuidesRollingRestart(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("this needs curl")
	}
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	e.load("tigergraph " + addresses(nodes) + " {\n" + quick + "\n}")
	a.allUp()
	names := byNames("m", nodes)
	script := blockOf(t, "upgrade.md", "sh", "drain $node")
	script = strings.NewReplacer("--idle 5m", "--idle 200ms", "--wait 10m", "--wait 60s").Replace(script)

	var restarted, asked, failed atomic.Int64
	back := true
	command := restartServer(t, func(address string) error {
		if address == "" {
			return nil
		}
		for _, node := range nodes {
			if node.Addr() == address {
				restarted.Add(1)
				node.Stop()
				if back {
					return node.Start()
				}
			}
		}
		return nil
	})
	stop := make(chan struct{})
	done := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				response, err := http.Post("http://"+e.address+"/restpp/query/g/q", "application/json", strings.NewReader("{}"))
				asked.Add(1)
				if err != nil {
					failed.Add(1)
					continue
				}
				if response.Body.Close(); response.StatusCode != http.StatusOK {
					failed.Add(1)
				}
			}
		}()
	}
	output, _ := a.runScript(t, command, script, names)
	close(stop)
	for range 4 {
		<-done
	}
	if restarted.Load() != 3 || failed.Load() != 0 || asked.Load() == 0 {
		t.Errorf("%d nodes were restarted, and %d of %d requests failed:\n%s", restarted.Load(), failed.Load(), asked.Load(), output)
	}
	if strings.Count(output, "each service has passed a probe") != 3 {
		t.Errorf("the commands say\n%s", output)
	}

	back = false
	restarted.Store(0)
	output, bad := a.runScript(t, command, strings.ReplaceAll(script, "--wait 60s", "--wait 5s"), names)
	if restarted.Load() != 1 || !bad {
		t.Errorf("with a node that does not come back %d were restarted, and the end is a failure: %t\n%s", restarted.Load(), bad, output)
	}
	for _, node := range nodes[1:] {
		if a.node(node.Addr()).Draining {
			t.Errorf("%s drains", node.Addr())
		}
	}
}

// The guides' scripts for another cluster bring everybody there, and back.
func TestTheGuidesSwitches(t *testing.T) {
	for _, test := range []struct{ guide, there, back, first, other string }{
		{"disaster-recovery.md", "switch dr", "switch primary", "m", "dr"},
		{"upgrade.md", "switch green", "switch blue", "m", "g"},
	} {
		t.Run(test.guide, func(t *testing.T) {
			_, nodes := startCluster(t, 6)
			first, other := nodes[:3], nodes[3:]
			e, a := newAdminEdge(t)
			site := blockOf(t, test.guide, "caddyfile", "standby "+strings.TrimPrefix(test.there, "switch "))
			_, site, _ = strings.Cut(site, "example.com {\n")
			site = strings.TrimSuffix(strings.TrimSpace(site), "}")
			var wantNames, otherNames []string
			for i := range 3 {
				wantNames = append(wantNames, fmt.Sprint(test.first, i+1))
				otherNames = append(otherNames, fmt.Sprint(test.other, i+1))
			}
			site = strings.Replace(site, strings.Join(wantNames, " "), addresses(first), 1)
			site = strings.Replace(site, strings.Join(otherNames, " "), addresses(other)+"\n"+quick, 1)
			e.load(site)
			a.allUp()
			cluster := func() string {
				t.Helper()
				node := e.newBrowser(2).get("/restpp/__echo").echo(t).Node
				for _, one := range first {
					if one.Name() == node {
						return "first"
					}
				}
				return "other"
			}
			if got := cluster(); got != "first" {
				t.Fatalf("at first queries go to the %s cluster", got)
			}
			script := blockOf(t, test.guide, "sh", test.there)
			if output, failed := a.runScript(t, "set -e", script, byNames(test.other, other)); failed || cluster() != "other" {
				t.Errorf("failed is %t, queries go to the %s cluster:\n%s", failed, cluster(), output)
			}
			script = blockOf(t, test.guide, "sh", test.back)
			names := map[string]*tgnode.Node{}
			if strings.Contains(script, "check") {
				names = byNames(test.first, first)
			}
			if output, failed := a.runScript(t, "set -e", script, names); failed || cluster() != "first" {
				t.Errorf("failed is %t, queries go to the %s cluster:\n%s", failed, cluster(), output)
			}
		})
	}
}
