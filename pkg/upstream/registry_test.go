package upstream

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/manifest"
)

func TestEmbeddedRegistry(t *testing.T) {
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	t.Cleanup(srv.Close)
	conformance(t, strings.TrimPrefix(srv.URL, "http://"))
}

// The reference implementation, where its Debian package is installed.
func TestDistribution(t *testing.T) {
	binary, err := exec.LookPath("/usr/bin/docker-registry")
	if err != nil {
		t.Skip("docker-registry is not installed")
	}
	host := closedPort(t)
	config := filepath.Join(t.TempDir(), "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", t.TempDir(), host)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, "serve", config)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if <-exited; t.Failed() {
			t.Log(output.String())
		}
	})
	waitFor(t, host, exited)
	conformance(t, host)
}

// waitFor returns when something listens at host.
func waitFor(t *testing.T, host string, exited <-chan struct{}) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for range 1500 {
		if conn, err := net.Dial("tcp", host); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-poll.C:
		case <-exited:
			t.Fatal("the registry ended")
		}
	}
	t.Fatal("the registry does not listen")
}

// conformance pushes an image and pulls it through a Client.
func conformance(t *testing.T, host string) {
	t.Helper()
	push(t, host)
	c := newClient(t, Config{Upstreams: map[string]string{reg: "http://" + host}})
	src := anonymous()
	ask := func(method string, e Endpoint, ref string) *forwarded {
		t.Helper()
		r := Request{Method: method, Endpoint: e, Repository: src.Repository, Accept: []string{"application/vnd.docker.distribution.manifest.v2+json"}}
		if ref != "" {
			r.Reference = reference(t, ref)
		}
		got, err := forward(t, c, r)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := ask("GET", EndpointPing, ""); got.code != 200 {
		t.Errorf("ping: %+v", got)
	}
	if got := ask("GET", EndpointTags, ""); got.code != 200 || !strings.Contains(got.body, `"v1"`) {
		t.Errorf("tags: %+v", got)
	}
	if got := ask("GET", EndpointManifest, "v2"); got.code != 404 || len(got.body) == 0 {
		t.Errorf("no such tag: %+v", got)
	}
	head := ask("HEAD", EndpointManifest, "v1")
	digest := head.header.Get("Docker-Content-Digest")
	if head.code != 200 || head.length <= 0 || digest == "" || head.header.Get("Content-Type") == "" {
		t.Fatalf("HEAD: %+v", head)
	}
	got := ask("GET", EndpointManifest, digest)
	if got.code != 200 || int64(len(got.body)) != head.length || blob.Digest(sha256.Sum256([]byte(got.body))).String() != digest {
		t.Fatalf("GET: %+v", got)
	}
	m, err := manifest.Parse([]byte(got.body))
	if err != nil || len(m.Ahead()) != 4 || m.MediaType() != got.header.Get("Content-Type") {
		t.Fatalf("manifest %+v, %v", m, err)
	}
	for _, d := range m.Ahead() {
		readEveryWay(t, c, src, d)
		if got := ask("HEAD", EndpointBlob, d.Digest.String()); got.code != 200 || got.length != int64(d.Size) {
			t.Errorf("HEAD of a blob: %+v", got)
		}
	}
	if _, err := c.ReadBlob(t.Context(), src, blob.Digest{1}, 10, 0, 10); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such blob: %v", err)
	}
	if _, err := c.ReadBlob(t.Context(), src, m.Ahead()[1].Digest, m.Ahead()[1].Size+1, 10, 10); err == nil {
		t.Error("a read with the wrong size succeeded")
	}
}

func push(t *testing.T, host string) {
	t.Helper()
	image, err := random.Image(300_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(host+"/team/app:v1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	if err := remote.Write(tag, image, remote.WithTransport(transport), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// readEveryWay reads a blob whole and in parts and compares with its digest.
func readEveryWay(t *testing.T, c *Client, src Source, d manifest.Descriptor) {
	t.Helper()
	whole, err := read(t.Context(), c, src, d.Digest, d.Size, 0, d.Size)
	if err != nil || blob.Digest(sha256.Sum256(whole)) != d.Digest {
		t.Fatalf("whole: %d of %d bytes, %v", len(whole), d.Size, err)
	}
	for off := blob.ByteCount(0); off < d.Size; off += 70_001 {
		n := min(70_001, d.Size-off)
		part, err := read(t.Context(), c, src, d.Digest, d.Size, off, n)
		if err != nil || !bytes.Equal(part, whole[off:off+n]) {
			t.Fatalf("part at %d: %d of %d bytes, %v", off, len(part), n, err)
		}
	}
	if !c.RangesSupported(reg) {
		t.Error("the registry has no ranges")
	}
}
