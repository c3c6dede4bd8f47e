package upstream

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// Limits of the transport that nobody needs to configure. The number of connections is
// bounded by the callers: every request under way belongs to a read that the engine
// counts or to a client of the proxy.
const (
	maxIdle         = 128
	maxIdlePerHost  = 16
	idleTimeout     = 90 * time.Second
	maxHeaderBytes  = 64 << 10
	pingAfter       = 15 * time.Second // an HTTP/2 connection without a frame
	pingTimeout     = 10 * time.Second
	dialKeepAlive   = 15 * time.Second
	readBufferBytes = 64 << 10
)

// newTransport returns a transport of its own: no cookies, no redirects, no
// Accept-Encoding, and the environment's proxies (HTTPS_PROXY and its kin).
func newTransport(c Config) *http.Transport {
	dialer := net.Dialer{Timeout: c.DialTimeout, KeepAlive: dialKeepAlive}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.RootCAs},
		TLSHandshakeTimeout:    c.TLSTimeout,
		DisableCompression:     true,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		ResponseHeaderTimeout:  c.HeaderTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ReadBufferSize:         readBufferBytes,
		ForceAttemptHTTP2:      true,
		// A dead HTTP/2 connection would otherwise be reused for every later request.
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}
