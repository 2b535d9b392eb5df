package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/calls"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/console"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

// askForCluster returns what Caddy says of its nodes and clusters, and the JSON of it that
// was asked for: of the nodes, as Caddy says it, or of everything.
func askForCluster(flags caddycmd.Flags) (cluster *console.Cluster, body []byte, status int, err error) {
	cluster = new(console.Cluster)
	if body, status, err = ask(flags, http.MethodGet, "nodes", nil); err != nil {
		return nil, nil, status, err
	}
	if err := json.Unmarshal(body, &cluster.Nodes); err != nil {
		return nil, nil, exitCannotTell, notUnderstood(err)
	}
	everything := map[string]json.RawMessage{"nodes": body}
	for call, into := range map[string]any{"clusters": &cluster.Clusters, "services": &cluster.Services} {
		answer, _, err := ask(flags, http.MethodGet, call, nil)
		if err != nil {
			continue // a Caddy with an older plugin does not know it
		}
		if err := json.Unmarshal(answer, into); err != nil {
			return nil, nil, exitCannotTell, notUnderstood(err)
		}
		everything[call] = answer
	}
	if flags.Lookup("json") != nil && flags.String("json") == jsonOfAll {
		if body, err = json.Marshal(everything); err != nil {
			return nil, nil, exitCannotTell, fmt.Errorf("encoding the status: %w", err)
		}
		body = append(body, '\n')
	}
	return cluster, body, exitFine, nil
}

func notUnderstood(err error) error { return fmt.Errorf("understanding the answer: %w", err) }

// askAboutNode makes a call that changes a node, and returns what it is now.
func askAboutNode(flags caddycmd.Flags, call string, request map[string]any) (node *statuspage.NodeStatus, status int, err error) {
	body, status, err := post(flags, call, request)
	if err != nil {
		return nil, status, err
	}
	if err := json.Unmarshal(body, &node); err != nil || node == nil {
		return nil, exitCannotTell, notUnderstood(err)
	}
	return node, exitFine, nil
}

// post makes a call that changes something.
func post(flags caddycmd.Flags, call string, request map[string]any) (answer []byte, status int, err error) {
	encoded, err := json.Marshal(request)
	if err != nil {
		return nil, exitCannotTell, fmt.Errorf("encoding the request: %w", err)
	}
	return ask(flags, http.MethodPost, call, encoded)
}

// ask makes a call of the admin endpoint. The exit status is that of a failure.
func ask(flags caddycmd.Flags, method, name string, body []byte) (answer []byte, status int, err error) {
	given, err := calls.Endpoint(flags.String("address"))
	if err != nil {
		return nil, exitCannotTell, fmt.Errorf("--address: %w", err)
	}
	address, err := caddycmd.DetermineAdminAPIAddress(given, nil, flags.String("config"), flags.String("adapter"))
	if err != nil {
		return nil, exitCannotTell, fmt.Errorf("finding the admin endpoint: %w", err)
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	response, err := caddycmd.AdminAPIRequest(address, method, calls.Prefix+name, http.Header{"Connection": {"close"}}, reader)
	if err != nil {
		if refusal := refusalIn(err); refusal != "" {
			return nil, exitDown, errors.New(inFlags.Replace(refusal))
		}
		return nil, exitCannotTell, fmt.Errorf("asking Caddy at %s: %w; is it running, with this plugin and its admin endpoint on?", address, err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(response.Body)
	if err != nil {
		return nil, exitCannotTell, fmt.Errorf("reading the answer: %w", err)
	}
	return answer, exitFine, nil
}

// inFlags says with the flags of the commands what the admin endpoint says with the
// fields of its calls.
var inFlags = strings.NewReplacer("set 'force' to", "use --force to", "'for' must", "--for must", "'drain' must", "--drain must")

// refusalIn returns the message with which our calls refuse a request.
func refusalIn(err error) string {
	text := err.Error()
	var answer struct{ Error string }
	if begin := strings.IndexByte(text, '{'); begin >= 0 && json.Unmarshal([]byte(text[begin:]), &answer) == nil {
		return answer.Error
	}
	return ""
}
