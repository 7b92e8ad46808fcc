// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"net/http"
	"slices"
	"sort"
	"strings"
)

// sortRoutes puts routes with more kinds of rules first, and of these the
// ones with the longer paths.
func sortRoutes(routes []*route) {
	kinds := func(r *route) (n int) {
		for _, rules := range [][]string{r.Methods, r.Hosts, r.Paths} {
			if len(rules) > 0 {
				n++
			}
		}
		return n
	}
	longest := func(r *route) (n int) {
		for _, p := range r.Paths {
			n = max(n, len(p))
		}
		return n
	}
	sort.SliceStable(routes, func(i, j int) bool {
		a, b := routes[i], routes[j]
		if kinds(a) != kinds(b) {
			return kinds(a) > kinds(b)
		}
		return longest(a) > longest(b)
	})
}

// match finds the route of a request, nil for none, and how much of the path it
// took.
func (s *snapshot) match(req *http.Request, path string) (*route, int) {
	host := strings.ToLower(req.Host)
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	for _, r := range s.routes {
		if r.service.Enabled != nil && !*r.service.Enabled {
			continue
		}
		if len(r.Methods) > 0 && !slices.Contains(r.Methods, req.Method) {
			continue
		}
		if len(r.Hosts) > 0 && !slices.Contains(r.Hosts, host) {
			continue
		}
		if n, ok := r.matchPath(path); ok {
			return r, n
		}
	}
	return nil, 0
}

func (r *route) matchPath(path string) (length int, ok bool) {
	if len(r.patterns) == 0 {
		return 0, true
	}
	length = -1
	for _, p := range r.patterns {
		if p.regex != nil {
			if at := p.regex.FindStringIndex(path); at != nil {
				length = max(length, at[1])
			}
		} else if strings.HasPrefix(path, p.prefix) {
			length = max(length, len(p.prefix))
		}
	}
	return max(length, 0), length >= 0
}

// upstreamPath is the path that the service is asked for.
func (r *route) upstreamPath(path string, matched int) string {
	if r.StripPath == nil || *r.StripPath {
		path = path[matched:]
	}
	base := r.service.Path
	switch {
	case path == "":
		if base == "" {
			return "/"
		}
		return base
	case base == "" || base == "/":
		return "/" + strings.TrimLeft(path, "/")
	}
	return strings.TrimSuffix(base, "/") + "/" + strings.TrimLeft(path, "/")
}
