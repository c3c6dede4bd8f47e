package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/shoal-project/shoal/pkg/blob"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The registry's name in tests, whatever serves it.
const reg = "reg.example"

// newClient returns a client that is closed after the test's servers are.
func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// serve starts an HTTP server and returns it with a client whose registry it is.
func serve(t *testing.T, h http.HandlerFunc) (*Client, *httptest.Server) {
	t.Helper()
	srv := start(t, h)
	return newClient(t, Config{Upstreams: map[string]string{reg: srv.URL}}), srv
}

func start(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := unstarted(t, h)
	srv.Start()
	return srv
}

func unstarted(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(srv.Close)
	return srv
}

// startTLS starts an HTTPS server and adds its certificate to a pool.
func startTLS(t *testing.T, pool *x509.CertPool, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := unstarted(t, h)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	pool.AddCert(srv.Certificate())
	return srv
}

// content returns n bytes that repeat nowhere soon, and their digest.
func content(n int) ([]byte, blob.Digest) {
	p := make([]byte, n)
	r := rand.New(rand.NewPCG(7, uint64(n)))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p, sha256.Sum256(p)
}

func anonymous() Source { return Source{Repository: Repository{Registry: reg, Name: "team/app"}} }

func bearer(t *testing.T, token string) Source {
	t.Helper()
	credential, err := NewCredential("Bearer " + token)
	if err != nil {
		t.Fatal(err)
	}
	src := anonymous()
	src.Credential = credential
	return src
}

// read reads a part of a blob to the end.
func read(ctx context.Context, c *Client, src Source, d blob.Digest, size, off, n blob.ByteCount) ([]byte, error) {
	body, err := c.ReadBlob(ctx, src, d, size, off, n)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	return io.ReadAll(body)
}

// serveContent answers as a good registry does.
func serveContent(w http.ResponseWriter, r *http.Request, p []byte) {
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", noTime, bytes.NewReader(p))
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
