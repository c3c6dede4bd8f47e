package upstream

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// maxLocations is how many redirect targets are remembered.
	maxLocations = 1024
	// maxRangeless is how many registries without ranges are remembered, and for how long.
	maxRangeless    = 256
	rangelessMemory = 30 * time.Minute
)

// A Client asks registries. Its methods are safe for concurrent use.
type Client struct {
	cfg       Config
	bases     map[string]*url.URL
	trusts    *trusts
	locations *lru.Cache[locationKey, location]
	rangeless *lru.Cache[string, time.Time] // when a registry was last seen to ignore a range
	stats     stats
}

// New returns a client for a valid Config. Close it when no request is under way.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg.withDefaults()}
	var err error
	if c.bases, err = c.cfg.bases(); err != nil {
		return nil, err
	}
	if c.locations, err = lru.New[locationKey, location](maxLocations); err != nil {
		return nil, fmt.Errorf("remembering redirects: %w", err)
	}
	if c.rangeless, err = lru.New[string, time.Time](maxRangeless); err != nil {
		return nil, fmt.Errorf("remembering registries without ranges: %w", err)
	}
	if c.trusts, err = newTrusts(c.cfg); err != nil {
		return nil, err
	}
	return c, nil
}

// Close closes the connections that no request uses.
func (c *Client) Close() { c.trusts.close() }

// base is where a registry is reached, and whether somebody configured that.
func (c *Client) base(registry string) (_ *url.URL, configured bool) {
	if u := c.bases[strings.ToLower(registry)]; u != nil {
		return u, true
	}
	return defaultBase(strings.ToLower(registry)), false
}

// TLSVerified reports whether the registry's challenges may be passed on to clients,
// which answer them with passwords: it is reached over TLS, always verified, or was
// configured with an http:// URL (Config.Warnings says so). Forward passes challenges by
// this rule, and looks at the connection that the answer really came over.
func (c *Client) TLSVerified(registry string) bool {
	base, configured := c.base(registry)
	return ValidRegistry(registry) && (base.Scheme == "https" || configured)
}

// RangesSupported reports whether reading a part of a blob costs no more than the part.
// It is false for a while after the registry answered a range with the whole blob: reads
// of parts still work then, but each transfers everything before its end.
func (c *Client) RangesSupported(registry string) bool {
	seen, ok := c.rangeless.Get(strings.ToLower(registry))
	return !ok || time.Since(seen) > rangelessMemory
}

// noteRanges remembers how a registry answered a range.
func (c *Client) noteRanges(registry string, supported bool) {
	if supported {
		c.rangeless.Remove(registry)
		return
	}
	c.rangeless.Add(registry, time.Now())
}
