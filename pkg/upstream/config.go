package upstream

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// ErrConfig is wrapped by every error about a Config.
var ErrConfig = errors.New("invalid upstream configuration")

// A Config configures a Client. The zero value is usable.
type Config struct {
	// Upstreams maps a registry's name, as images name it, to the base URL it is reached
	// at: scheme, host and port. A registry that is not listed is reached at
	// https://NAME, and docker.io at https://registry-1.docker.io. An http:// URL is
	// taken at its word: see Warnings.
	Upstreams map[string]string
	// DialTimeout bounds connecting. Zero means 5 s.
	DialTimeout time.Duration
	// TLSTimeout bounds the TLS handshake. Zero means 10 s.
	TLSTimeout time.Duration
	// HeaderTimeout bounds the wait for the headers of one answer; an answer after
	// redirects has waited once for each. Zero means 30 s.
	HeaderTimeout time.Duration
	// StallTimeout bounds the wait for the next byte of a body. Zero means 30 s.
	StallTimeout time.Duration
	// RootCAs are trusted for TLS. Nil means the system's.
	RootCAs *x509.CertPool
	// CertsDir is a folder in the layout of containerd's and Docker's certs.d: CAs that are trusted
	// for one registry and what it redirects to, besides RootCAs. Files are read at the
	// first request and once a minute. Empty means none. skip_verify is not followed.
	CertsDir string
	// ClientCerts has client certificates of CertsDir shown to their registry. Whoever may use
	// the Client then acts as this node.
	ClientCerts bool
	// OnCertificates is told once of everything in CertsDir that is not followed: errors wrap
	// ErrCertificates. It must not block or call the Client. Nil ignores it.
	OnCertificates func(registry string, err error)
	// UserAgent is sent with every request. Empty means "shoal".
	UserAgent string
	// RoundTripper replaces the transport, for tests: the timeouts on dialling, TLS and
	// headers, RootCAs and CertsDir are then its own matter.
	RoundTripper http.RoundTripper
}

func (c Config) withDefaults() Config {
	c.DialTimeout = defaulted(c.DialTimeout, 5*time.Second)
	c.TLSTimeout = defaulted(c.TLSTimeout, 10*time.Second)
	c.HeaderTimeout = defaulted(c.HeaderTimeout, 30*time.Second)
	c.StallTimeout = defaulted(c.StallTimeout, 30*time.Second)
	if c.OnCertificates == nil {
		c.OnCertificates = func(string, error) {}
	}
	if c.UserAgent == "" {
		c.UserAgent = "shoal"
	}
	return c
}

func defaulted(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// Validate reports what New would refuse. Errors wrap ErrConfig.
func (c Config) Validate() error {
	_, err := c.bases()
	if err != nil {
		return err
	}
	for _, d := range []time.Duration{c.DialTimeout, c.TLSTimeout, c.HeaderTimeout, c.StallTimeout} {
		if d < 0 {
			return fmt.Errorf("%w: a timeout is negative", ErrConfig)
		}
	}
	if strings.ContainsFunc(c.UserAgent, isControl) {
		return fmt.Errorf("%w: the user agent has control characters", ErrConfig)
	}
	return nil
}

// Warnings lists, one sentence each and sorted, what works but should not stay so.
func (c Config) Warnings() []string {
	var warnings []string
	for _, registry := range slices.Sorted(maps.Keys(c.Upstreams)) {
		base, err := parseBase(registry, c.Upstreams[registry])
		if err == nil && base.Scheme == "http" {
			warnings = append(warnings, fmt.Sprintf(
				"upstream %s is reached without TLS at %s: whoever is on the way can read its credentials, change its answers and ask clients for their passwords.",
				registry, base))
		}
	}
	return warnings
}

// bases returns the base URL of every configured registry.
func (c Config) bases() (map[string]*url.URL, error) {
	bases := make(map[string]*url.URL, len(c.Upstreams))
	for _, registry := range slices.Sorted(maps.Keys(c.Upstreams)) {
		base, err := parseBase(registry, c.Upstreams[registry])
		if err != nil {
			return nil, err
		}
		name := strings.ToLower(registry)
		if bases[name] != nil {
			return nil, fmt.Errorf("%w: registry %s is given twice", ErrConfig, name)
		}
		bases[name] = base
	}
	return bases, nil
}

// ParseUpstream reads "REGISTRY=URL", an entry of Config.Upstreams as people write it.
// Errors wrap ErrConfig and say in one sentence what is wrong.
func ParseUpstream(s string) (registry, base string, err error) {
	registry, base, ok := strings.Cut(s, "=")
	if !ok {
		return "", "", fmt.Errorf("%w: write an upstream as REGISTRY=URL, such as docker.io=https://registry-1.docker.io", ErrConfig)
	}
	u, err := parseBase(registry, base)
	if err != nil {
		return "", "", err
	}
	return strings.ToLower(registry), u.String(), nil
}

// parseBase checks one entry. No error repeats the URL, which may hold a password.
func parseBase(registry, base string) (*url.URL, error) {
	if !ValidRegistry(registry) {
		return nil, fmt.Errorf("%w: %.64q is not the name of a registry (host or host:port)", ErrConfig, registry)
	}
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Opaque != "":
		return nil, fmt.Errorf("%w: the upstream of %s is not a URL", ErrConfig, registry)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%w: the upstream of %s must begin with https:// or http://", ErrConfig, registry)
	case u.User != nil:
		return nil, fmt.Errorf("%w: the upstream of %s holds a user name; credentials come from the clients", ErrConfig, registry)
	case !ValidRegistry(u.Host):
		return nil, fmt.Errorf("%w: the upstream of %s has no valid host", ErrConfig, registry)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("%w: the upstream of %s must be scheme, host and port only", ErrConfig, registry)
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}, nil
}

// defaultBase is where a registry that is not configured is reached.
func defaultBase(registry string) *url.URL {
	if registry == "docker.io" {
		registry = "registry-1.docker.io"
	}
	return &url.URL{Scheme: "https", Host: registry}
}
