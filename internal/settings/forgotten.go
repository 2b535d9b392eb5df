package settings

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
)

// numbers are what the names of a cluster's nodes differ in.
var numbers = regexp.MustCompile(`[0-9]+`)

// ofStandbys warns of a standby whose name was forgotten, so that its first node is taken
// for it: 'standby dr1 dr2 dr3' is a cluster dr1 of two nodes.
func (p *Policy) ofStandbys(upstreams []string) (warnings []Warning) {
	for _, standby := range p.Standby {
		var hosts, named []string
		for _, node := range standby.Nodes {
			hosts = append(hosts, hostOf(node))
			named = append(named, strings.TrimSuffix(strings.TrimPrefix(node, "https://"), ":14240"))
		}
		pattern := numbers.ReplaceAllString(standby.Name, "#")
		isLikeAll := pattern != standby.Name && !slices.ContainsFunc(hosts, func(host string) bool {
			return numbers.ReplaceAllString(host, "#") != pattern
		})
		isUpstream := slices.ContainsFunc(upstreams, func(dial string) bool { return hostOf(dial) == standby.Name })
		if slices.Contains(hosts, standby.Name) || !isLikeAll && !isUpstream {
			continue
		}
		name := strings.TrimRight(numbers.Split(standby.Name, 2)[0], "-_.")
		if name == "" || slices.Contains(p.Clusters(), name) {
			name = "dr"
		}
		warnings = append(warnings, Warning{"standby", fmt.Sprintf("the first word is the name of the cluster, and '%s' looks like one of its nodes: if it is, write 'standby %s %s'",
			standby.Name, name, strings.Join(append([]string{standby.Name}, named...), " "))})
	}
	return warnings
}

// hostOf returns the host in what is dialled, without the scheme and the port.
func hostOf(dial string) string {
	dial = strings.TrimPrefix(dial, "https://")
	if host, _, err := net.SplitHostPort(dial); err == nil {
		return host
	}
	return dial
}
