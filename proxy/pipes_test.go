package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// newPipedKit is newKit for a synctest bubble: registry, proxy and client speak over pipes, and
// every wait is one of the bubble's clock.
func newPipedKit(t *testing.T, change func(*Config, *Deps)) *kit {
	t.Helper()
	k := &kit{t: t, registry: unservedRegistry(t), store: &memStore{held: map[blob.Digest][]byte{}}, blobs: newBlobs(t)}
	up, err := upstream.New(upstream.Config{
		Upstreams:    map[string]string{testRegistry: "http://registry.test"},
		RoundTripper: servePiped(t, "registry.test", &http.Server{Handler: k.registry}),
	})
	if err != nil {
		t.Fatal(err)
	}
	c := Config{}
	d := Deps{Upstream: up, Blobs: k.blobs, Store: k.store, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&c, &d)
	}
	if k.proxy, err = New(c, d); err != nil {
		t.Fatal(err)
	}
	k.server = &httptest.Server{URL: "http://localhost"}
	k.client = &http.Client{Transport: servePiped(t, "localhost", NewServer(c, k.proxy, d.Log))}
	return k
}

// servePiped serves until the test ends, and returns what reaches the server under the name, and nobody under another.
func servePiped(t *testing.T, name string, server *http.Server) *http.Transport {
	t.Helper()
	l := newPipeListener()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	transport := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		if !strings.HasPrefix(address, name+":") {
			return nil, syscall.ECONNREFUSED
		}
		near, far := net.Pipe()
		select {
		case l.conns <- far:
			return near, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return transport
}
