package fleet

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// An Egress is what left a registry.
type Egress struct {
	Bytes    int64 // of bodies
	Requests int64
	Blobs    int64 // GETs of blobs
}

// A Registry is a real registry in this process that counts what leaves it.
type Registry struct {
	URL    string
	server *http.Server
	done   chan struct{}
	layers int // generated so far, so that no two images share one; of the one who pushes

	bytes, requests, blobs atomic.Int64
}

// StartRegistry serves an empty registry on loopback that keeps its blobs below dir.
func StartRegistry(ctx context.Context, dir string) (*Registry, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start the registry: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the registry: %w", err)
	}
	r := &Registry{URL: "http://" + listener.Addr().String(), done: make(chan struct{})}
	handler := registry.New(
		registry.Logger(log.New(io.Discard, "", 0)),
		registry.WithBlobHandler(registry.NewDiskBlobHandler(dir)),
	)
	r.server = &http.Server{Handler: r.count(handler), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(r.done)
		_ = r.server.Serve(listener) // ends with ErrServerClosed in Stop
	}()
	return r, nil
}

// Stop ends the registry and every connection to it.
func (r *Registry) Stop() {
	_ = r.server.Close()
	<-r.done
}

// count counts every answer's body.
func (r *Registry) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") {
			r.blobs.Add(1)
		}
		next.ServeHTTP(&countedWriter{ResponseWriter: w, bytes: &r.bytes}, req)
	})
}

// Reset forgets what was counted so far.
func (r *Registry) Reset() {
	r.bytes.Store(0)
	r.requests.Store(0)
	r.blobs.Store(0)
}

// Egress returns what was counted since the start or the last Reset.
func (r *Registry) Egress() Egress {
	return Egress{Bytes: r.bytes.Load(), Requests: r.requests.Load(), Blobs: r.blobs.Load()}
}

type countedWriter struct {
	http.ResponseWriter
	bytes *atomic.Int64
}

func (w *countedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes.Add(int64(n))
	return n, err
}
