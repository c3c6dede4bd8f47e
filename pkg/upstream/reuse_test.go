package upstream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/shoal-project/shoal/pkg/blob"
)

// Connections are kept across ranges, redirects, refusals and forwarded answers.
func TestConnectionsAreReused(t *testing.T) {
	p, d := content(500_000)
	var connections atomic.Int64
	srv := unstarted(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/manifests/v1"):
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errors":[]}`)
		case strings.HasPrefix(r.URL.Path, "/v2/team/app/blobs/"+d.String()):
			http.Redirect(w, r, "/storage", http.StatusFound)
		case r.URL.Path == "/storage":
			serveContent(w, r, p)
		default:
			http.NotFound(w, r)
		}
	})
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	srv.Start()
	c := newClient(t, Config{Upstreams: map[string]string{reg: srv.URL}})
	for i := range blob.ByteCount(5) {
		body, err := c.ReadBlob(t.Context(), anonymous(), d, 500_000, i*100_000, 100_000)
		if err != nil {
			t.Fatal(err)
		}
		// As the store reads: exactly the bytes, and no further Read that would see EOF.
		if _, err := io.ReadFull(body, make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		_ = body.Close()
		if _, err := c.ReadBlob(t.Context(), anonymous(), blob.Digest{1}, 10, 0, 10); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		for _, method := range []string{"HEAD", "GET"} {
			r := Request{Method: method, Endpoint: EndpointManifest, Repository: anonymous().Repository, Reference: reference(t, "v1")}
			if got, err := forward(t, c, r); err != nil || got.code != http.StatusUnauthorized {
				t.Fatal(got, err)
			}
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for requests one after the other", n)
	}
}

func TestManyReadsAtOnce(t *testing.T) {
	p, d := content(64_000)
	r := newRedirected(t, p)
	src := bearer(t, "x")
	var g errgroup.Group
	for i := range blob.ByteCount(64) {
		g.Go(func() error {
			if i%16 == 0 {
				r.locations.Purge() // as if it had expired in the middle
			}
			got, err := read(t.Context(), r.Client, src, d, 64_000, i*1000, 1000)
			if err == nil && !bytes.Equal(got, p[i*1000:(i+1)*1000]) {
				return errors.New("wrong bytes")
			}
			_ = r.RangesSupported(reg)
			_ = r.Stats()
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if got := r.Stats()[reg].Bytes; got < 64_000 {
		t.Errorf("counted %d bytes", got)
	}
}
