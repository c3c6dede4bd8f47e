package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// maxTrusts is how many registries' certificates are kept. Clients name registries.
	maxTrusts = 256
	// trustFor is how long they are used before the files are looked at again.
	trustFor = time.Minute
)

// A trust is how TLS to one registry is done. Its transports are nil where the shared one will do.
type trust struct {
	read         time.Time
	certificates certificates
	// own shows the client certificates; elsewhere, for hosts that the registry redirects to,
	// knows its CAs and shows none.
	own, elsewhere *http.Transport
	identified     bool   // own has client certificates
	problem        string // that was told already
}

func (t *trust) close() {
	for _, transport := range []*http.Transport{t.own, t.elsewhere} {
		if transport != nil {
			transport.CloseIdleConnections()
		}
	}
}

// trusts keeps the trust of each registry, by Config.CertsDir. Safe for concurrent use.
type trusts struct {
	cfg    Config
	shared http.RoundTripper

	mu    sync.Mutex
	known *lru.Cache[string, *trust]
}

func newTrusts(cfg Config) (*trusts, error) {
	known, err := lru.NewWithEvict(maxTrusts, func(_ string, t *trust) { t.close() })
	if err != nil {
		return nil, fmt.Errorf("remembering certificates: %w", err)
	}
	t := &trusts{cfg: cfg, known: known, shared: cfg.RoundTripper}
	if t.shared == nil {
		t.shared = newTransport(cfg)
	}
	return t, nil
}

// close closes the connections that no request uses.
func (t *trusts) close() {
	if shared, ok := t.shared.(interface{ CloseIdleConnections() }); ok {
		shared.CloseIdleConnections()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known.Purge()
}

// of returns how TLS to a registry at base is done.
func (t *trusts) of(registry string, base *url.URL) *trust {
	if t.cfg.CertsDir == "" || t.cfg.RoundTripper != nil || base.Scheme != "https" {
		return &trust{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.known.Get(registry)
	if ok && time.Since(known.read) < trustFor {
		return known
	}
	if known == nil {
		known = &trust{}
	}
	next, err := t.renew(registry, base, known)
	next.read, next.problem = time.Now(), ""
	if err != nil {
		if next.problem = err.Error(); next.problem != known.problem {
			t.cfg.OnCertificates(registry, err)
		}
	}
	t.known.Add(registry, next)
	return next
}

// renew reads the files anew. Where they cannot be used the old ones stay in use, with an error; an
// error may also be about a part that is not followed.
func (t *trusts) renew(registry string, base *url.URL, old *trust) (*trust, error) {
	same := *old
	folder, err := folderOf(t.cfg.CertsDir, registry)
	if err != nil {
		return &same, err
	}
	var found certificates
	var ignored error
	if folder != "" {
		found, ignored = readCertificates(folder, base, t.cfg.ClientCerts)
		if ignored != nil && len(found.ca)+len(found.keys) == 0 {
			return &same, ignored
		}
	}
	if reflect.DeepEqual(found, old.certificates) {
		return &same, ignored
	}
	next, err := t.build(found)
	if err != nil {
		return &same, errors.Join(ignored, fmt.Errorf("%w (in %s)", err, folder))
	}
	old.close()
	return next, ignored
}

// build makes the transports for certificates.
func (t *trusts) build(c certificates) (*trust, error) {
	next := &trust{certificates: c}
	if len(c.ca)+len(c.keys) == 0 {
		return next, nil
	}
	roots, err := c.pool(t.cfg.RootCAs)
	if err != nil {
		return nil, err
	}
	pairs, err := c.pairs()
	if err != nil {
		return nil, err
	}
	cfg := t.cfg
	cfg.RootCAs = roots
	next.own, next.elsewhere = newTransport(cfg), newTransport(cfg)
	next.own.TLSClientConfig.Certificates = pairs
	next.identified = len(pairs) > 0
	return next, nil
}

// transport returns what carries a request of the registry to a place: to its own host, or to
// another that it redirected to.
func (t *trusts) transport(registry string, base *url.URL, own bool) http.RoundTripper {
	trust := t.of(registry, base)
	switch {
	case trust.own == nil:
		return t.shared
	case own:
		return trust.own
	}
	return trust.elsewhere
}

// ShowsCertificate reports whether requests to the registry carry a client certificate of this
// node's own: what the registry then lets anybody have, it lets this node have.
func (c *Client) ShowsCertificate(registry string) bool {
	base, _ := c.base(registry)
	return c.trusts.of(registry, base).identified
}
