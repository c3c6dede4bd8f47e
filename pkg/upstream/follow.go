package upstream

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

const (
	// maxRedirects is how many redirects one request follows.
	maxRedirects = 10
	// maxURL bounds a redirect's target, in bytes; signed URLs reach 3 KiB.
	maxURL = 16 << 10
)

// A call is one question to a registry, wherever it is answered.
type call struct {
	method     string
	registry   string
	header     http.Header // without Authorization
	credential Credential
}

// A hop is one place that a call is sent to.
type hop struct {
	url *url.URL
	// trusted says that no redirect on the way here led to another host: the credential
	// may go there, and a challenge may come from there.
	trusted bool
}

// An answer is the last response to a call. Its body must be closed.
type answer struct {
	status int
	header http.Header
	body   *body
	at     hop
	// redirected says that at is not where the call was first sent.
	redirected bool
	// verified says that the answer came over TLS from a host that proved its name.
	verified bool
}

// follow sends k to a place and to where that redirects. Errors are *UnreachableError,
// ErrRedirect, or how ctx ended.
func (c *Client) follow(ctx context.Context, k call, from hop) (*answer, error) {
	at := from
	for hops := 0; ; hops++ {
		a, err := c.send(ctx, k, at)
		if err != nil {
			return nil, err
		}
		if !redirects(a.status) {
			a.redirected = hops > 0
			return a, nil
		}
		a.body.discard()
		if hops == maxRedirects {
			return nil, fmt.Errorf("%w: %s, more than %d times", ErrRedirect, k.registry, maxRedirects)
		}
		if at, err = at.next(a.header["Location"]); err != nil {
			return nil, fmt.Errorf("%w: %s, to %w", ErrRedirect, k.registry, err)
		}
		c.stats.redirected(k.registry)
	}
}

// send makes one request. ctx also bounds the reading of the answer's body.
func (c *Client) send(ctx context.Context, k call, at hop) (*answer, error) {
	reqCtx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(reqCtx, k.method, at.url.String(), nil)
	if err != nil {
		cancel(errClosed)
		return nil, fmt.Errorf("%w: to %s", ErrRequest, k.registry) // the cause may repeat the URL
	}
	req.Header = k.header.Clone()
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if at.trusted && !k.credential.IsZero() {
		req.Header.Set("Authorization", k.credential.Authorization())
	}
	c.stats.asked(k.registry)
	base, _ := c.base(k.registry)
	resp, err := c.trusts.transport(k.registry, base, at.trusted).RoundTrip(req) //nolint:bodyclose // the answer's body closes it
	if err != nil {
		why := ended(ctx)
		cancel(errClosed)
		c.stats.failed(k.registry)
		if why != nil {
			return nil, fmt.Errorf("asking %s: %w", k.registry, why)
		}
		return nil, unreachable(k.registry, at.url.Host, err)
	}
	return &answer{
		status:   resp.StatusCode,
		header:   resp.Header,
		body:     c.guard(reqCtx, cancel, k.registry, resp),
		at:       at,
		verified: resp.TLS != nil && len(resp.TLS.VerifiedChains) > 0,
	}, nil
}

func redirects(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// A detour says what is wrong with a redirect, without repeating it.
type detour string

func (d detour) Error() string { return string(d) }

// next is where a redirect leads. Once a hop was of another host, no later one is
// trusted again, and there is no way back from https to http.
func (h hop) next(location []string) (hop, error) {
	if len(location) != 1 || location[0] == "" || len(location[0]) > maxURL {
		return hop{}, detour("a place it does not name")
	}
	to, err := h.url.Parse(location[0])
	if err != nil {
		return hop{}, detour("a malformed URL")
	}
	switch {
	case to.Scheme != "https" && to.Scheme != "http":
		return hop{}, detour("a scheme that is not HTTP")
	case to.Scheme == "http" && h.url.Scheme == "https":
		return hop{}, detour("a place without TLS")
	case to.User != nil:
		return hop{}, detour("a URL with a user name")
	case to.Opaque != "" || !ValidRegistry(to.Host):
		return hop{}, detour("a malformed host")
	}
	to.Fragment, to.RawFragment = "", ""
	return hop{url: to, trusted: h.trusted && sameHost(h.url, to)}, nil
}

// sameHost reports whether a credential for one place may go to the other: the same
// host and port, or the same host's https on its own port instead of http.
func sameHost(from, to *url.URL) bool {
	if !strings.EqualFold(from.Hostname(), to.Hostname()) {
		return false
	}
	if from.Scheme == to.Scheme {
		return port(from) == port(to)
	}
	return port(from) == "80" && port(to) == "443"
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}
