package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// A hostList says which Host headers are meant for this server. It is fixed.
//
// A page in a browser on this node can be made to reach a loopback port under a name of
// its own (DNS rebinding); its requests then carry that name, and are refused.
type hostList struct {
	names map[string]bool
	// anyAddress says that the server listens on every address of this machine. An address in
	// a Host header is the one that the client connected to: rebinding takes a name.
	anyAddress bool
}

// newHostList accepts the host of listen ("host:port" or empty) and hosts, besides loopback.
func newHostList(listen string, hosts []string) hostList {
	l := hostList{names: make(map[string]bool, len(hosts)+1)}
	for _, h := range hosts {
		l.names[foldHost(h)] = true
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return l
	}
	addr, err := netip.ParseAddr(host)
	l.anyAddress = host == "" || err == nil && addr.IsUnspecified()
	if !l.anyAddress {
		l.names[foldHost(host)] = true
	}
	return l
}

// allows reports whether a request with this Host header is meant for this server.
func (l hostList) allows(header string) bool {
	host := hostOf(header)
	if l.knows(host) {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil && l.anyAddress
}

// knows reports whether host is one that this server certainly has.
func (l hostList) knows(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Unmap().IsLoopback() {
		return true
	}
	return host != "" && l.names[host]
}

// hostOf is the host of "host:port" or "host", folded.
func hostOf(s string) string {
	if h, _, err := net.SplitHostPort(s); err == nil {
		s = h
	}
	return foldHost(s)
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
	case fromPage(r):
		return refused(http.StatusForbidden, "DENIED", "The request comes from a web page, and this server is for registry clients.")
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

// fromPage reports whether a browser says that a page had it send the request (Fetch Metadata Request
// Headers; RFC 6454, section 7). A page anywhere may have a browser on this node load an image from
// this port, whatever it may read of the answer, and would have the node fetch from registries.
func fromPage(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return len(r.Header.Values("Origin")) > 0 || site != "" && site != "none"
}

// confine has a browser take an answer for data. What a registry sends may call itself a page, and
// would else run as one of this server's own.
func confine(h http.Header) {
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
}

// leadsBack reports whether the registry is this server itself: asking it would be a loop.
func (p *Proxy) leadsBack(registry string) bool {
	_, own, err := net.SplitHostPort(p.config.Listen)
	if err != nil {
		return false
	}
	_, port, err := net.SplitHostPort(registry)
	return err == nil && port == own && p.hosts.knows(hostOf(registry))
}
