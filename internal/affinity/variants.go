package affinity

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// Variants returns lines of Set-Cookie that end the cookies of this name which differ
// in domain or path: browsers keep those apart. They are for an answer to a request for
// this host and path, as the browser writes them: only cookies whose domain and path
// are parts of these can have come with it.
func Variants(today http.Cookie, host, path string) (lines []string) {
	if strings.HasPrefix(today.Name, "__Host-") { // which there can be but one of
		return nil
	}
	domains := append(domainsOf(host), today.Domain, "")
	paths := append(pathsOf(path), today.Path, "/")
	for _, domain := range domains {
		for _, path := range paths {
			variant := today
			variant.Domain, variant.Path, variant.MaxAge = domain, path, -1
			if domain == today.Domain && path == today.Path {
				continue
			}
			if line := variant.String(); !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// domainsOf returns the domains that a host may set cookies for: its own and those
// above it, but for the last label alone.
func domainsOf(host string) (domains []string) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if net.ParseIP(strings.Trim(host, "[]")) != nil {
		return nil
	}
	for strings.Contains(host, ".") && len(domains) < mostDomains {
		if domain := (http.Cookie{Name: "n", Domain: host}); domain.Valid() == nil {
			domains = append(domains, host)
		}
		_, host, _ = strings.Cut(host, ".")
	}
	return domains
}

// pathsOf returns the paths that a cookie which comes with a request for this one, as
// the browser writes it, is likely to have: its beginnings, each with a slash behind it
// and without.
func pathsOf(path string) (paths []string) {
	for end := 1; end <= len(path) && len(paths) < mostPaths; end++ {
		if end < len(path) && path[end] != '/' {
			continue
		}
		start := path[:end]
		if cookie := (http.Cookie{Name: "n", Path: start}); cookie.Valid() != nil || !strings.HasPrefix(start, "/") {
			break
		}
		paths = append(paths, start)
		if end < len(path) {
			paths = append(paths, start+"/")
		}
	}
	return paths
}

// These keep the header of an answer short.
const (
	mostDomains = 4
	mostPaths   = 4
)
