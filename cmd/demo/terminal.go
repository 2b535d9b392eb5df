package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// terminal is where the demo talks to the user.
type terminal struct {
	mu   sync.Mutex
	w    io.Writer
	last string // the latest text of eventOnce
	when time.Time
}

func newTerminal(w io.Writer) *terminal { return &terminal{w: w} }

func (t *terminal) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.print(fmt.Sprintf(format, args...))
}

func (t *terminal) print(text string) {
	_, _ = fmt.Fprintln(t.w, text) // there is nobody else to tell
}

// event tells what has just happened.
func (t *terminal) event(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = ""
	t.print(time.Now().Format(time.TimeOnly) + "  " + fmt.Sprintf(format, args...))
}

// eventOnce is event, but silent while the same happens again and again and
// nothing else does: the page asks every second.
func (t *terminal) eventOnce(format string, args ...any) {
	const quiet = 10 * time.Second
	text, now := fmt.Sprintf(format, args...), time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if text == t.last && now.Sub(t.when) < quiet {
		return
	}
	t.last, t.when = text, now
	t.print(now.Format(time.TimeOnly) + "  " + text)
}

const commands = `Commands: stop m1, start m1, queries, switch dr, switch primary, status, help, quit (or Ctrl-C).`

func (t *terminal) welcome(url, admin string, nodes []nodeStatus) {
	var b strings.Builder
	b.WriteString("\nThree stand-in TigerGraph nodes run, two of a second cluster, and Caddy is the edge in front of them.\n\n")
	fmt.Fprintf(&b, "Open      %s\n", url)
	b.WriteString("          The browser warns once: the certificate comes from the demo's own CA,\n")
	b.WriteString("          which was made just now and is trusted by nobody. Accept it for this visit.\n")
	fmt.Fprintf(&b, "Status    %s%s shows what the edge thinks of its nodes.\n", url, statusPath)
	b.WriteString("Try       Log in on the page; it shows which node holds your session.\n")
	b.WriteString("          Stop that node with the page's button, or here with \"stop m1\".\n")
	b.WriteString("          The next request is answered by another node, which asks you to log in\n")
	b.WriteString("          again: sessions live in a node's memory. Nobody else is moved.\n")
	b.WriteString("Queries   \"queries\" sends sixty from one client without a login: all nodes share them.\n")
	b.WriteString("Clusters  \"switch dr\" sends everybody to the second cluster, \"switch primary\" back.\n")
	fmt.Fprintf(&b, `Or        curl -k -i %[1]s/api/ping
          curl -k -c jar -b jar -d '{"username":"tigergraph","password":"tigergraph"}' %[1]s/api/auth/login
          curl -k -c jar -b jar %[1]s/api/auth/whoami
          go run ./cmd/caddy tigergraph status --address %[2]s
`, url, admin)
	b.WriteString("Yours     For your own cluster this is a complete Caddyfile; -print-config shows the demo's.\n\n")
	b.WriteString("          graph.example.com {\n              tigergraph m1 m2 m3\n          }\n\n")
	fmt.Fprintf(&b, "Nodes     %s\n\n%s", table(nodes, "\n          "), commands)
	t.say("%s", b.String())
}

// table returns a line for each node.
func table(nodes []nodeStatus, separator string) string {
	var lines []string
	for _, n := range nodes {
		state := "running"
		switch {
		case !n.Up:
			state = "stopped"
		case !n.Active:
			state = "waiting" // to be switched to
		}
		lines = append(lines, fmt.Sprintf("%-3s  %-15s  %s, sessions: %d, requests answered: %d", n.Name, n.Address, state, n.Sessions, n.Requests))
	}
	return strings.Join(lines, separator)
}

// converse obeys the commands on stdin until ctx ends or the user quits. The end
// of stdin does not end the demo, which may have been started without one.
func (t *terminal) converse(ctx context.Context, stdin io.Reader, nodes *fleet, client *client) {
	lines := make(chan string)
	go func() { // may hang in Read until the process ends
		defer close(lines)
		for scanner := bufio.NewScanner(stdin); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case line, ok := <-lines:
			if !ok {
				<-ctx.Done()
				return
			}
			if quit := t.obey(line, nodes, client); quit {
				return
			}
		}
	}
}

// obey carries out one command.
func (t *terminal) obey(line string, nodes *fleet, client *client) (quit bool) {
	words := strings.Fields(strings.ToLower(line))
	if len(words) == 0 {
		return false
	}
	command, arguments := words[0], words[1:]
	switch command {
	case "stop", "start":
		if len(arguments) != 1 {
			t.say("%s needs the name of one node, as in \"%s m1\"", command, command)
			return false
		}
		act := nodes.start
		if command == "stop" {
			act = nodes.stop
		}
		if _, err := act(arguments[0]); err != nil {
			t.say("%s: %v", command, err)
		}
	case "queries":
		if err := client.query(); err != nil {
			t.say("queries: %v", err)
		}
	case "switch":
		if len(arguments) != 1 {
			t.say("switch needs the name of a cluster: %s or %s", primary, standby)
			return false
		}
		if err := client.switchTo(arguments[0]); err != nil {
			t.say("switch: %v", err)
		}
	case "status":
		t.say("%s", table(nodes.status(), "\n"))
	case "help", "?":
		t.say("%s", commands)
	case "quit", "exit":
		return true
	default:
		t.say("unknown command %q. %s", command, commands)
	}
	return false
}
