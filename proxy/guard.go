package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// A hostList holds the names and addresses that a Host header may carry. It is fixed.
//
// A page in a browser on this node can be made to reach a loopback port under a name of
// its own (DNS rebinding); its requests then carry that name, and are refused.
type hostList map[string]bool

// newHostList accepts the host of listen ("host:port" or empty) and hosts, besides loopback.
func newHostList(listen string, hosts []string) hostList {
	l := make(hostList, len(hosts)+1)
	for _, h := range hosts {
		l[foldHost(h)] = true
	}
	if host, _, err := net.SplitHostPort(listen); err == nil && host != "" {
		l[foldHost(host)] = true
	}
	return l
}

// allows reports whether a request with this Host header is meant for this server.
func (l hostList) allows(header string) bool {
	host := header
	if h, _, err := net.SplitHostPort(header); err == nil {
		host = h
	}
	host = foldHost(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Unmap().IsLoopback() {
		return true
	}
	return host != "" && l[host]
}

// foldHost brings a host name or address into the one form that is compared.
func foldHost(h string) string {
	h = strings.TrimSuffix(strings.ToLower(h), ".")
	return strings.TrimSuffix(strings.TrimPrefix(h, "["), "]")
}

// guard refuses what no client of a registry sends. Nil means: go on.
func (p *Proxy) guard(r *http.Request) *failure {
	switch {
	case !p.hosts.allows(r.Host):
		return refused(http.StatusForbidden, "DENIED", "The Host header names another server than this one.")
	case len(r.RequestURI) > p.config.MaxURL || len(r.URL.Path)+len(r.URL.RawQuery) > p.config.MaxURL:
		return refused(http.StatusRequestURITooLong, "UNSUPPORTED", "The request target is too long.")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return refused(http.StatusMethodNotAllowed, "UNSUPPORTED", "Shoal serves pulls only: GET and HEAD.")
	case r.ContentLength != 0:
		return refused(http.StatusBadRequest, "UNSUPPORTED", "A pull carries no request body.")
	case len(r.Header.Values("Authorization")) > 1:
		return refused(http.StatusBadRequest, "UNSUPPORTED", "More than one Authorization header came.")
	}
	return nil
}

// leadsBack reports whether the registry is this server itself: asking it would be a loop.
func (p *Proxy) leadsBack(registry string) bool {
	_, own, err := net.SplitHostPort(p.config.Listen)
	if err != nil {
		return false
	}
	_, port, err := net.SplitHostPort(registry)
	return err == nil && port == own && p.hosts.allows(registry)
}
