package daemon

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A testRegistry serves one image, library/app:v1, of random layers.
type testRegistry struct {
	*httptest.Server
	manifest []byte
	layers   [][]byte
	blobs    map[string][]byte
	sent     atomic.Int64 // bytes of layers

	mu sync.Mutex
	// hold lets a layer's body begin and then waits; nil does not.
	hold chan struct{}
	down bool // for blobs
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

func newRegistry(t *testing.T, sizes ...int) *testRegistry {
	t.Helper()
	r := &testRegistry{blobs: map[string][]byte{}}
	descriptor := func(kind string, content []byte) string {
		d := blob.Digest(sha256.Sum256(content))
		r.blobs[d.String()] = content
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, kind, d, len(content))
	}
	config := descriptor("application/vnd.oci.image.config.v1+json", []byte(`{"architecture":"amd64","os":"linux"}`))
	layers := make([]string, 0, len(sizes))
	for i, size := range sizes {
		content := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{byte(i), byte(size)}).Read(content)
		r.layers = append(r.layers, content)
		layers = append(layers, descriptor("application/vnd.oci.image.layer.v1.tar+gzip", content))
	}
	r.manifest = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, manifestType, config, strings.Join(layers, ","))
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *testRegistry) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *testRegistry) state() (hold chan struct{}, down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hold, r.down
}

func (r *testRegistry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	hold, down := r.state()
	name := q.URL.Path[strings.LastIndex(q.URL.Path, "/")+1:]
	switch {
	case strings.HasSuffix(q.URL.Path, "/v2/"):
	case strings.Contains(q.URL.Path, "/manifests/"):
		d := blob.Digest(sha256.Sum256(r.manifest))
		if name != "v1" && name != d.String() {
			http.NotFound(w, q)
			return
		}
		w.Header().Set("Content-Type", manifestType)
		w.Header().Set("Docker-Content-Digest", d.String())
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(r.manifest))
	case r.blobs[name] == nil:
		http.NotFound(w, q)
	case down && q.Method == http.MethodGet:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Docker-Content-Digest", name)
		content := r.blobs[name]
		http.ServeContent(w, q, "", time.Time{}, &countedContent{
			Reader: bytes.NewReader(content), registry: r, hold: hold, gone: q.Context().Done(), rest: len(content) / 2,
		})
	}
}

// A countedContent counts what is read of it, and waits in the middle.
type countedContent struct {
	*bytes.Reader
	registry *testRegistry
	hold     chan struct{}
	gone     <-chan struct{}
	rest     int
}

func (c *countedContent) Read(p []byte) (int, error) {
	if c.hold != nil && c.Len() <= c.rest {
		select {
		case <-c.hold:
		case <-c.gone:
			return 0, io.ErrUnexpectedEOF
		}
	}
	n, err := c.Reader.Read(p[:min(len(p), 64<<10)])
	c.registry.sent.Add(int64(n))
	return n, err
}

// WriteTo hides that of bytes.Reader, which does not count.
func (c *countedContent) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}
