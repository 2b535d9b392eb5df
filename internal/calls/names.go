package calls

import (
	"errors"
	"net/http"
	"slices"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/address"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/spelling"
)

// Find returns the address of the node that people call by this name, out of those that
// are known.
func Find(name string, known []string) (node string, err error) {
	found, err := address.NewIndex(known).Find(name)
	unknown, ambiguous := address.UnknownError{}, address.AmbiguousError{}
	switch {
	case err == nil && len(found) == 1:
		return found[0], nil
	case err == nil || errors.As(err, &ambiguous):
		return "", Refuse(http.StatusNotFound, "there are several nodes %q; expected one of %s", name, spelling.List(known))
	case errors.As(err, &unknown) && len(known) == 0:
		return "", Refuse(http.StatusNotFound, "there is no node %q; the configuration has none", name)
	case errors.As(err, &unknown):
		return "", Refuse(http.StatusNotFound, "there is no node %q; expected one of %s", name, spelling.List(known))
	}
	return "", Refuse(http.StatusNotFound, "there is no such node: %w", err)
}

// ExpectCluster refuses the name of a cluster that is not known.
func ExpectCluster(name string, known []string) error {
	switch {
	case slices.Contains(known, name):
		return nil
	case len(known) == 0:
		return Refuse(http.StatusNotFound, "there is no cluster %q; the configuration has none", name)
	}
	var once []string
	for _, cluster := range known {
		if !slices.Contains(once, cluster) {
			once = append(once, cluster)
		}
	}
	return Refuse(http.StatusNotFound, "there is no cluster %q; expected one of %s", name, spelling.List(once))
}
