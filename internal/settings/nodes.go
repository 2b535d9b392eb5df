package settings

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/address"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/spelling"
)

// Nodes are the nodes that a proxy has as upstreams, by what people call them.
type Nodes struct {
	written, known *address.Index
	dials          map[string]string // by what was written
	// Dynamic is whether there may be others, of which nobody knows yet.
	Dynamic bool
	// Unknown is told of an option that names none of the known ones, while there may be
	// others.
	Unknown func(option, node string)
}

// NewNodes returns the nodes with these addresses, complete, by what was written.
func NewNodes(written, complete []string) *Nodes {
	n := &Nodes{written: address.NewIndex(nil), known: address.NewIndex(nil), dials: make(map[string]string)}
	for i, upstream := range written {
		n.dials[upstream] = complete[i]
		n.written.Add(upstream)
		n.known.Add(complete[i])
	}
	return n
}

// Find returns the addresses of the node that an option names, and refuses one that is
// none. Dynamic upstreams are not known yet, so that there is only a warning.
func (n *Nodes) Find(option, node string) ([]string, error) {
	found, err := n.written.Find(node)
	for i, dial := range found {
		found[i] = n.dials[dial]
	}
	if err != nil {
		found, err = n.known.Find(node)
	}
	unknown := address.UnknownError{}
	if n.Dynamic && errors.As(err, &unknown) {
		n.Unknown(option, node)
		return []string{unknown.Node}, nil
	}
	if errors.As(err, &unknown) {
		return nil, fmt.Errorf("%s: '%s' is not an upstream; the upstreams are %s", option, node, spelling.List(unknown.Nodes))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", option, err)
	}
	return found, nil
}

// CheckActive refuses nodes that are all those of standbys.
func (p *Policy) CheckActive(nodes *Nodes) error {
	if len(nodes.dials) == 0 || nodes.Dynamic {
		return nil
	}
	for _, dial := range nodes.dials {
		if p.ClusterOf(dial) == p.Clusters()[0] {
			return nil
		}
	}
	return fmt.Errorf("every upstream is a standby's: none is left for the cluster '%s'", p.Clusters()[0])
}

// NameNodes replaces the nodes that options name by what a function finds.
func (p *Policy) NameNodes(find func(option, node string) ([]string, error)) error {
	weights := make(map[string]int, len(p.Weights))
	for _, node := range slices.Sorted(maps.Keys(p.Weights)) {
		found, err := find("weight", node)
		if err != nil {
			return err
		}
		for _, dial := range found {
			if _, twice := weights[dial]; twice {
				return fmt.Errorf("the weight of '%s' is already specified", dial)
			}
			weights[dial] = p.Weights[node]
		}
	}
	if p.Weights != nil {
		p.Weights = weights
	}
	replace := func(option string, nodes []string) ([]string, error) {
		var all []string
		for _, node := range nodes {
			found, err := find(option, node)
			if err != nil {
				return nil, err
			}
			for _, dial := range found {
				if slices.Contains(all, dial) {
					return nil, fmt.Errorf("%s names '%s' twice", option, dial)
				}
				all = append(all, dial)
			}
		}
		return all, nil
	}
	var err error
	if p.Backup, err = replace("backup", p.Backup); err != nil {
		return err
	}
	if p.Drain, err = replace("drain", p.Drain); err != nil {
		return err
	}
	p.Standby = slices.Clone(p.Standby)
	for i := range p.Standby {
		if p.Standby[i].Nodes, err = replace("standby", p.Standby[i].Nodes); err != nil {
			return err
		}
	}
	return p.checkNamedNodes()
}

// CompleteUpstream expands an upstream's address where it has placeholders whose
// value is known already, as those of the environment, and gives it the port that it
// then lacks. Others are known with each request only.
func CompleteUpstream(dial string, expand func(string) string) (string, error) {
	if !strings.Contains(dial, "{") {
		return dial, nil
	}
	expanded := expand(dial)
	if strings.Contains(expanded, "{") {
		return dial, nil
	}
	if expanded == "" {
		return "", fmt.Errorf("the upstream '%s' is empty: is its variable set?", dial)
	}
	a, err := address.Parse(expanded)
	if err != nil {
		return "", fmt.Errorf("the upstream '%s': %w", dial, err)
	}
	if a.Scheme != "" || a.Last != "" {
		return "", fmt.Errorf("the upstream '%s' is '%s': write a scheme or a range of ports into the Caddyfile itself", dial, expanded)
	}
	return a.Dial(), nil
}
