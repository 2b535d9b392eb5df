package affinity

import (
	"slices"
	"strings"
)

// Scope is where browsers show a cookie of a site.
type Scope struct {
	// Hosts are those of the site, perhaps with wildcards for labels; none if it may
	// be any.
	Hosts []string
	// Domain and Path are those of the cookie; without a domain it is the host's own.
	Domain, Path string
}

// Meets reports whether a browser may show the cookies of both to one of the sites.
func (s Scope) Meets(other Scope) bool {
	return (within(s.Path, other.Path) || within(other.Path, s.Path)) && (s.reaches(other) || other.reaches(s))
}

// reaches reports whether a browser may show the cookie to a host of the other site.
func (s Scope) reaches(other Scope) bool {
	if len(other.Hosts) == 0 {
		return true
	}
	hosts := s.Hosts
	if s.Domain == "" {
		return len(hosts) == 0 || pairs(hosts, other.Hosts, func(host, other string) bool {
			return includes(host, other) || includes(other, host)
		})
	}
	return pairs([]string{strings.TrimPrefix(s.Domain, ".")}, other.Hosts, func(domain, host string) bool {
		domain, host = strings.ToLower(domain), strings.ToLower(host)
		return host == domain || strings.HasSuffix(host, "."+domain)
	})
}

// pairs reports whether it is so of any pair of two lists.
func pairs(list, others []string, is func(one, other string) bool) bool {
	return slices.ContainsFunc(list, func(one string) bool {
		return slices.ContainsFunc(others, func(other string) bool { return is(one, other) })
	})
}

// includes reports whether a host, perhaps with wildcards for labels, includes another.
func includes(pattern, host string) bool {
	labels, others := strings.Split(strings.ToLower(pattern), "."), strings.Split(strings.ToLower(host), ".")
	return slices.EqualFunc(labels, others, func(label, other string) bool { return label == "*" || label == other })
}

// within reports whether a path is, or is below, another.
func within(path, other string) bool {
	below, is := strings.CutPrefix(path, other)
	return is && (below == "" || strings.HasSuffix(other, "/") || below[0] == '/')
}
